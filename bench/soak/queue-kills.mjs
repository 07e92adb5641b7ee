// A million tasks are worked off by workers of which 200 are killed, and some frozen beyond their leases; prints one
// JSON line with counts, how soon interrupted tasks ran again, and violations. node bench/soak/queue-kills.mjs
// --on postgres|redis --seed 1 [--tasks 1000000] [--kills 200] [--workers 4] [--lease-ms 2500].
// Needs PostgreSQL or Redis, and the packages to be built.
import { runFromSource } from "./run-histories.mjs";

await runFromSource("kills-main", "kills-worker");
