// Publishes on many channels to many clients of several live servers over one Redis with Sentinels, while connections
// are cut, servers killed and Redis restarted and failed over; then looks for what anybody missed without having been
// told. Not a bench: it compares us with what we say.
//
//   node bench/soak/live.mjs --minutes 10 --seed 1 [--clients 200] [--channels 50] [--servers 3]
//
// Prints the report as a line of JSON. Ends with 1 when a client was silently short.
import { runProgram } from "./run-program.mjs";

runProgram("packages/live/test/processes/loss-soak.ts");
