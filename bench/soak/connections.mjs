// Kills, freezes, cuts off, half-opens and slows one node of three, then two, again and again under a constant load on
// real sockets, and checks what the client promises. Not a bench: it compares us with what we say.
//
//   node bench/soak/connections.mjs [--minutes 5] [--seed 1] [--rate 200]
//
// Prints a line of JSON for each lap through all faults, and the report as the last one. Ends with 1 when a promise was
// broken.
import { runProgram } from "./run-program.mjs";

runProgram("packages/connection/test/processes/cluster-soak.ts");
