import type { Permits } from "../pool/pool-options.ts";

interface Holder {
  heldCount: number;
  /** Tries again to open what is waited for. */
  wake: () => void;
  /** Lets one idle resource go; false when it has none. */
  giveUpIdle: () => boolean;
}

/**
 * One limit over the pools of several nodes. Each node is guaranteed its equal share, rounded down; what is left
 * goes to whoever asks first. A node below its share takes the idle resource of one above it, now or once there is one.
 */
export class SharedPermits {
  readonly #maxCount: number;
  readonly #holders = new Set<Holder>();
  /** Got nothing when they asked last. */
  readonly #refused = new Set<Holder>();
  #isWaking = false;

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  get takenCount(): number {
    let count = 0;
    for (const { heldCount } of this.#holders) count += heldCount;
    return count;
  }

  /** The permits of one more node, and how to withdraw it once its pool is closed. */
  join(pool: { wake(): void; giveUpIdle(): boolean }): { readonly permits: Permits; leave(): void } {
    const holder: Holder = { heldCount: 0, wake: () => pool.wake(), giveUpIdle: () => pool.giveUpIdle() };
    this.#holders.add(holder);
    return {
      permits: {
        take: () => this.#take(holder),
        give: () => {
          holder.heldCount -= 1;
          this.#wakeOthers();
        },
        idle: () => {
          if (this.#refused.size > 0 && holder.heldCount > this.#share) this.#wakeOthers();
        },
      },
      leave: () => {
        this.#holders.delete(holder);
        this.#refused.delete(holder);
        this.#wakeOthers();
      },
    };
  }

  #take(holder: Holder): boolean {
    if (!this.#isFreeFor(holder) && !this.#reclaimFor(holder)) {
      this.#refused.add(holder);
      return false;
    }
    this.#refused.delete(holder);
    holder.heldCount += 1;
    return true;
  }

  get #share(): number {
    return Math.floor(this.#maxCount / Math.max(1, this.#holders.size));
  }

  #isFreeFor(holder: Holder): boolean {
    const freeCount = this.#maxCount - this.takenCount;
    if (freeCount <= 0) return false;
    const share = this.#share;
    if (holder.heldCount < share) return true;
    let reservedCount = 0;
    for (const other of this.#holders) {
      if (other !== holder) reservedCount += Math.max(0, share - other.heldCount);
    }
    return freeCount > reservedCount;
  }

  /** Takes an idle resource away from a node above its share, or, when there are more nodes than permits, from any. */
  #reclaimFor(holder: Holder): boolean {
    const share = this.#share;
    if (holder.heldCount >= Math.max(1, share)) return false;
    const richest = [...this.#holders]
      .filter((other) => other !== holder && other.heldCount > share)
      .sort((a, b) => b.heldCount - a.heldCount);
    return richest.some((other) => other.giveUpIdle()) && this.takenCount < this.#maxCount;
  }

  #wakeOthers(): void {
    // Waking may open, fail and give back at once; one round is enough.
    if (this.#isWaking) return;
    this.#isWaking = true;
    queueMicrotask(() => {
      this.#isWaking = false;
      // Who still wants one asks again.
      this.#refused.clear();
      for (const holder of [...this.#holders]) holder.wake();
    });
  }
}
