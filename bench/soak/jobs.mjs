// Three gates and two datacenters as processes on hosts of their own (network namespaces: needs root and iproute2),
// disturbed in every way under a stream of jobs, then held against what is promised.
//
//   node bench/soak/jobs.mjs --minutes 10 --seed 1 [--rate 1]
//
// Prints a line of JSON for each disturbance, and the report as the last one. Ends with 1 when a promise was broken.
import { runProgram } from "./run-program.mjs";

runProgram("bench/src/soak/jobs-soak.ts");
