import type { CachePosition, PositionSource } from "@holdfast/data";

interface Commit {
  readonly position: bigint;
  readonly key: string;
  readonly value: string;
}

/**
 * A primary with one replica that replays when it is told to. A failover makes the replica the primary, at the place
 * in the history that it had reached; what it had not replayed is lost, and its positions are given again.
 */
export class ModelDatabase implements PositionSource {
  #log: Commit[] = [];
  #replayed = 0n;
  #epoch = 1n;

  get at(): CachePosition {
    return { epoch: this.#epoch, position: this.#log.at(-1)?.position ?? 0n };
  }

  get replica(): CachePosition {
    return { epoch: this.#epoch, position: this.#replayed };
  }

  async current(): Promise<CachePosition> {
    return this.at;
  }

  commit(key: string, value: string): CachePosition {
    this.#log.push({ position: this.at.position + 1n, key, value });
    return this.at;
  }

  replay(): void {
    this.#replayed = this.at.position;
  }

  failOver(): void {
    this.#log = this.#log.filter(({ position }) => position <= this.#replayed);
    this.#epoch += 1n;
  }

  read(key: string): string | undefined {
    return this.#log.findLast((commit) => commit.key === key)?.value;
  }

  readReplica(key: string): string | undefined {
    return this.#log.findLast((commit) => commit.key === key && commit.position <= this.#replayed)?.value;
  }
}
