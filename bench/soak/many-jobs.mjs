// A thousand jobs with ten thousand workflows through one cell with its console, and what is left of them: memory,
// timers, sockets, leases, tasks; and how the console answered meanwhile.
//
//   node bench/soak/many-jobs.mjs [--jobs 1000] [--laps 10]
//
// Prints a line of JSON for each lap, and the report as the last one. Ends with 1 when something was left.
import { runProgram } from "./run-program.mjs";

runProgram("bench/src/soak/many-jobs-soak.ts", { nodeArgs: ["--expose-gc"] });
