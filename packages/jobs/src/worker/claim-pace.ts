/** Claims beyond the free cores are worth it only where a shard takes less than a round trip or so. */
const SHORT_MS = 25;
/** So many short shards in a row make a pattern; a single one may be luck or a crash. */
const SHORT_MIN_COUNT = 8;
/** How much work is claimed ahead per core: it hides the round trip and delays nobody noticeably. */
const AHEAD_MS = 50;
const AHEAD_MAX_PER_CORE = 64;
/** Weight of the newest duration: a change of workload shows within some ten shards. */
const WEIGHT = 0.2;

/**
 * How many shards to claim ahead of the free cores, from how long shards took lately. Without it a worker of
 * no-op shards waits for a round trip per shard; with long shards it claims nothing ahead, so that other
 * workers get them. One long shard or one failure ends claiming ahead until eight short ones came in a row.
 */
export class ClaimPace {
  #averageMs = 0;
  #shortCount = 0;

  observe(outcome: "completed" | "failed", durationMs: number): void {
    if (outcome === "failed" || durationMs >= SHORT_MS) {
      this.#shortCount = 0;
      return;
    }
    this.#averageMs =
      this.#shortCount === 0 ? durationMs : this.#averageMs + WEIGHT * (durationMs - this.#averageMs);
    this.#shortCount += 1;
  }

  aheadCount(cores: number): number {
    if (this.#shortCount < SHORT_MIN_COUNT) return 0;
    return cores * Math.min(AHEAD_MAX_PER_CORE, Math.floor(AHEAD_MS / Math.max(this.#averageMs, 0.01)));
  }
}
