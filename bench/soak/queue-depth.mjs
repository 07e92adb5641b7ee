// How many tasks a second are added and run at the same time while ten thousand, a million and five million wait, and
// while another session of PostgreSQL holds an old snapshot for ten minutes, of which a queue beside it takes half.
//
//   node bench/soak/queue-depth.mjs --on postgres|redis [--depths 10000,1000000] [--rounds 7] [--snapshot-minutes 10]
//
// Prints a line of JSON for each queue. Ends with 1 when one of them keeps less than 0.9 of what the first does.
import { runProgram } from "./run-program.mjs";

runProgram("bench/src/soak/queue-depth-soak.ts");
