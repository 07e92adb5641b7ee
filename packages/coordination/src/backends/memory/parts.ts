import type { Random } from "@holdfast/kernel";
import type { WakeUps } from "../../wake-ups.ts";
import type { StoreClock } from "./store-clock.ts";
import type { TokenLine } from "./token-line.ts";
import type { Transactor } from "./transactor.ts";

/** What leases, log and queues of one memory store share. */
export interface MemoryParts {
  readonly transactor: Transactor;
  readonly storeClock: StoreClock;
  readonly tokens: TokenLine;
  readonly wakeUps: WakeUps;
  readonly random: Random;
}
