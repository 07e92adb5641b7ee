import type { Position } from "@holdfast/coordination";
import type { JobsClient } from "@holdfast/jobs/client";
import {
  type Abortable,
  type Clock,
  ClosedError,
  type Logger,
  type Random,
  TaskGroup,
} from "@holdfast/kernel";
import { ForbiddenError } from "@holdfast/live/model";
import {
  type ChannelBounds,
  type ChannelFollower,
  type ChannelLog,
  type ChannelRead,
  type EventDraft,
  type Following,
  MemoryChannelLog,
  type Published,
} from "@holdfast/live/server";
import { JOB_CHANNEL_PREFIX } from "../messages.ts";
import type { DataSource } from "./data-source.ts";
import { JobChannels } from "./job-channels.ts";
import { withSilent } from "./silent-datacenters.ts";
import { StateChannel } from "./state-channel.ts";

const JOBS_SHOWN = 100;
const READ_LIMIT_DEFAULT = 100;

/** Whether a channel shows the cluster, so that nobody may publish into it. */
export const isClusterChannel = (channel: string): boolean =>
  channel === "cluster" || channel === "jobs" || channel === "data" || channel.startsWith(JOB_CHANNEL_PREFIX);

/**
 * All channels of the console: `cluster`, `data` and `jobs` are states, `job:ID` the job's own log, and every other name an
 * application's channel, whose events live in the memory of this process.
 */
export class ConsoleChannels implements ChannelLog {
  readonly #states: Readonly<Record<string, StateChannel>>;
  readonly #jobs: JobChannels;
  readonly #others: MemoryChannelLog;
  readonly #tasks: TaskGroup;
  #isClosed = false;

  constructor(options: {
    readonly client: JobsClient;
    readonly data?: DataSource | undefined;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
  }) {
    const { client, data, clock, random, logger } = options;
    const tasks = new TaskGroup({ logger });
    const state = (name: string, look: (signal: AbortSignal) => Promise<unknown>): StateChannel =>
      new StateChannel({ name, look, clock, random, tasks });
    this.#states = {
      cluster: state("cluster", async (signal) => withSilent(await client.cluster({ signal }))),
      // Null where there is none to look at.
      data: state("data", async (signal) => (await data?.look(signal)) ?? null),
      jobs: state("jobs", (signal) => client.list({ signal, limit: JOBS_SHOWN })),
    };
    this.#jobs = new JobChannels({ client, clock, logger, tasks });
    this.#others = new MemoryChannelLog({ clock, random });
    this.#tasks = tasks;
  }

  async publish(drafts: readonly EventDraft[], options: Abortable = {}): Promise<readonly Published[]> {
    this.#enter();
    for (const { channel } of drafts) {
      if (isClusterChannel(channel))
        throw new ForbiddenError(`channel "${channel}" shows the cluster; nobody else may publish into it`);
    }
    return this.#others.publish(drafts, options);
  }

  async read(
    channel: string,
    options: Abortable & { readonly after: Position; readonly limit?: number },
  ): Promise<ChannelRead> {
    this.#enter();
    const state = this.#stateOf(channel);
    if (state !== undefined) return state.read(options.after);
    const { limit = READ_LIMIT_DEFAULT } = options;
    return isClusterChannel(channel)
      ? this.#jobs.read(channel, { ...options, limit })
      : this.#others.read(channel, options);
  }

  async bounds(channel: string, options: Abortable = {}): Promise<ChannelBounds> {
    this.#enter();
    const state = this.#stateOf(channel);
    if (state !== undefined) return state.bounds;
    return (isClusterChannel(channel) ? this.#jobs : this.#others).bounds(channel, options);
  }

  async follow(channel: string, follower: ChannelFollower, options: Abortable = {}): Promise<Following> {
    this.#enter();
    const state = this.#stateOf(channel);
    if (state !== undefined) return state.follow(follower);
    return (isClusterChannel(channel) ? this.#jobs : this.#others).follow(channel, follower, options);
  }

  async check(options: Abortable = {}): Promise<void> {
    this.#enter();
    await this.#others.check(options);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#tasks.stop();
    await this.#others.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #stateOf(channel: string): StateChannel | undefined {
    return Object.hasOwn(this.#states, channel) ? this.#states[channel] : undefined;
  }

  #enter(): void {
    if (this.#isClosed) throw new ClosedError("the console's channels");
  }
}
