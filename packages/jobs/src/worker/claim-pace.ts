/** Claims beyond the free cores are worth it only where a shard takes less than a round trip or so. */
const SHORT_MS = 25;
/** How much work is claimed ahead per core: it hides the round trip and delays nobody noticeably. */
const AHEAD_MS = 50;
const AHEAD_MAX_PER_CORE = 64;
/** Weight of the newest duration: a change of workload shows within some ten shards. */
const WEIGHT = 0.2;

/**
 * How many shards to claim ahead of the free cores, from how long shards took lately. Without it a worker of
 * no-op shards waits for a round trip per shard; with long shards it claims nothing ahead, so that other
 * workers get them.
 */
export class ClaimPace {
  #averageMs: number | undefined;

  observe(durationMs: number): void {
    this.#averageMs =
      this.#averageMs === undefined ? durationMs : this.#averageMs + WEIGHT * (durationMs - this.#averageMs);
  }

  aheadCount(cores: number): number {
    const averageMs = this.#averageMs;
    if (averageMs === undefined || averageMs >= SHORT_MS) return 0;
    return cores * Math.min(AHEAD_MAX_PER_CORE, Math.floor(AHEAD_MS / Math.max(averageMs, 0.01)));
  }
}
