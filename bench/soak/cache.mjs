// Writes and reads through several caches over one Redis while it is killed, frozen, cut off, robbed of its guards and
// failed over, and checks the whole history against the cache's guarantee. Not a bench: it compares us with what we say.
//
//   node bench/soak/cache.mjs --minutes 10 --seed 1 [--redis single|sentinel|both]
//
// Prints a line of JSON for each run, and the report as the last one. Ends with 1 when a read broke the guarantee.
import { runProgram } from "./run-program.mjs";

runProgram("packages/data/test/processes/cache-soak.ts");
