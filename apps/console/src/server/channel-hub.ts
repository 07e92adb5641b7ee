import type { JobsClient } from "@holdfast/jobs/client";
import { type Clock, type Logger, newId, type Random, TaskGroup } from "@holdfast/kernel";
import type { ChannelPosition } from "../messages.ts";

/** How often the cluster and the list of jobs are looked at while somebody watches them. */
const REFRESH_EVERY_MS = 1_000;
/** How many jobs the `jobs` channel shows. */
const JOBS_SHOWN = 100;

export interface Snapshot {
  readonly position: ChannelPosition;
  readonly data: unknown;
}

interface SnapshotChannel {
  readonly listeners: Set<(snapshot: Snapshot) => void>;
  offset: bigint;
  text: string;
  snapshot: Snapshot | undefined;
  running: boolean;
}

/**
 * Shares one look at the cluster among all pages: a snapshot channel is refreshed only while somebody listens,
 * and listeners hear only of changes.
 */
export class ChannelHub {
  readonly client: JobsClient;
  readonly #clock: Clock;
  readonly #group: TaskGroup;
  readonly #epoch: string;
  readonly #channels: Readonly<Record<string, SnapshotChannel>>;

  constructor(options: {
    readonly client: JobsClient;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
  }) {
    this.client = options.client;
    this.#clock = options.clock;
    this.#group = new TaskGroup({ logger: options.logger });
    // Positions of another console process mean nothing here.
    this.#epoch = newId("console", options.random);
    this.#channels = { cluster: emptyChannel(), jobs: emptyChannel() };
  }

  hasSnapshots(channel: string): boolean {
    return Object.hasOwn(this.#channels, channel);
  }

  /** Calls back with the newest snapshot and each change of it; returns the function that ends it. */
  listen(
    name: string,
    after: ChannelPosition | undefined,
    listener: (snapshot: Snapshot) => void,
  ): () => void {
    const channel = this.#channels[name];
    if (channel === undefined) throw new Error(`no snapshot channel is named ${name}`);
    channel.listeners.add(listener);
    const known = channel.snapshot;
    const isCurrent =
      after !== undefined && after.epoch === this.#epoch && after.offset === known?.position.offset;
    if (known !== undefined && !isCurrent) listener(known);
    if (!channel.running) {
      channel.running = true;
      this.#group.spawn(`refresh ${name}`, (signal) => this.#refresh(name, channel, signal));
    }
    return () => {
      channel.listeners.delete(listener);
    };
  }

  async close(): Promise<void> {
    await this.#group.stop();
  }

  async #refresh(name: string, channel: SnapshotChannel, signal: AbortSignal): Promise<void> {
    try {
      while (channel.listeners.size > 0) {
        await this.#look(name, channel, signal);
        await this.#clock.sleep(REFRESH_EVERY_MS, { signal });
      }
    } finally {
      channel.running = false;
      channel.snapshot = undefined;
      channel.text = "";
    }
  }

  async #look(name: string, channel: SnapshotChannel, signal: AbortSignal): Promise<void> {
    let data: unknown;
    try {
      data =
        name === "cluster"
          ? await this.client.cluster({ signal })
          : await this.client.list({ signal, limit: JOBS_SHOWN });
    } catch (error) {
      if (signal.aborted) throw error;
      // The pages keep what they have; the next look may succeed.
      return;
    }
    const text = JSON.stringify(data);
    if (text === channel.text) return;
    channel.text = text;
    channel.offset += 1n;
    channel.snapshot = { position: { epoch: this.#epoch, offset: channel.offset.toString() }, data };
    for (const listener of channel.listeners) listener(channel.snapshot);
  }
}

const emptyChannel = (): SnapshotChannel => ({
  listeners: new Set(),
  offset: 0n,
  text: "",
  snapshot: undefined,
  running: false,
});
