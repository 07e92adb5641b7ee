// Fifty processes contend over locks, queues, state and a log while they are killed, frozen and cut off, the servers
// restarted and Redis failed over; prints one JSON line with seeds, counts and violations.
// node bench/soak/coordination.mjs --minutes 30 --seed 1 [--workers 50].
// Needs PostgreSQL and Redis, and the packages to be built.
import { runFromSource } from "./run-histories.mjs";

await runFromSource("history-main", "history-worker");
