// Takes the leader of a real three-node cluster down again and again, in seven ways, and now and then out of
// its clients' reach, while sessions write and read, then hands leadership over as planned (20 times), and checks every
// promise against the table afterwards. Not a bench: it compares us with what we say.
//
//   node bench/soak/failover.mjs --failovers 50 --seed 1 [--switchovers 20] [--minutes 60] [--workers 6] [--fault "cut from etcd"]
//
// Prints a line of JSON for each failover and each switchover, and the report as the last one. Ends with 1 when a promise was broken.
import { runProgram } from "./run-program.mjs";

runProgram("packages/data/test/processes/failover-soak.ts");
