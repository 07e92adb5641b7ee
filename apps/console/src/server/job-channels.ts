import { fromWirePosition, type Position, toWirePosition } from "@holdfast/coordination";
import type { JobsClient, WatchItem } from "@holdfast/jobs/client";
import { type Abortable, type Clock, isHoldfastError, type Logger, type TaskGroup } from "@holdfast/kernel";
import type {
  ChannelBounds,
  ChannelEvent,
  ChannelFollower,
  ChannelRead,
  Following,
} from "@holdfast/live/server";
import { JOB_CHANNEL_PREFIX } from "../messages.ts";

/** How long until a job is followed again whose node failed, milliseconds. */
const RETRY_MS = 1_000;

type JobEventItem = Extract<WatchItem, { kind: "event" }>;

/** The logs of jobs as channels `job:ID`, under the positions that the logs give their events. Nothing is kept here. */
export class JobChannels {
  readonly #client: JobsClient;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  /** What followers have been given; a node that is asked may still know less. */
  readonly #newest = new Map<string, Position>();

  constructor(parts: {
    readonly client: JobsClient;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly tasks: TaskGroup;
  }) {
    this.#client = parts.client;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
    this.#tasks = parts.tasks;
  }

  /** How much of the history is left shows only in reading it: a position from before is told so there. */
  async bounds(channel: string, options: Abortable = {}): Promise<ChannelBounds> {
    const view = await this.#client.get(jobIdOf(channel), options);
    const head = fromWirePosition(view.head);
    const newest = this.#newest.get(channel);
    const isLater = newest?.epoch === head.epoch && newest.offset > head.offset;
    return { head: isLater ? newest : head, trimmedTo: 0n };
  }

  async read(
    channel: string,
    options: Abortable & { readonly after: Position; readonly limit: number },
  ): Promise<ChannelRead> {
    const { after, limit, signal } = options;
    const bounds = await this.bounds(channel, { signal });
    const { head } = bounds;
    const events: ChannelEvent[] = [];
    if (after.epoch === head.epoch && after.offset >= head.offset) return { kind: "events", events, bounds };
    let reason: Extract<WatchItem, { kind: "reset" }>["reason"] | undefined;
    for await (const item of this.#watch(channel, after, signal)) {
      if (item.kind === "reset") {
        // What follows is for the next read.
        if (events.length > 0) break;
        reason = item.reason;
      } else {
        const event = toEvent(channel, item);
        if (reason !== undefined)
          return { kind: "reset", reason, bounds: { ...bounds, head: before(event) } };
        events.push(event);
        if (events.length >= limit || event.position.offset >= head.offset) break;
      }
    }
    return reason === undefined ? { kind: "events", events, bounds } : { kind: "reset", reason, bounds };
  }

  async follow(channel: string, follower: ChannelFollower, options: Abortable = {}): Promise<Following> {
    const bounds = await this.bounds(channel, options);
    const stopped = new AbortController();
    this.#tasks.spawn(`follow ${channel}`, async (signal) => {
      const either = AbortSignal.any([signal, stopped.signal]);
      try {
        await this.#tail(channel, bounds.head, follower, either);
      } finally {
        this.#newest.delete(channel);
      }
    });
    return { bounds, close: () => stopped.abort(new Error("nobody follows the job any more")) };
  }

  /** Ends after the result of the job, or when the job is gone. */
  async #tail(
    channel: string,
    from: Position,
    follower: ChannelFollower,
    signal: AbortSignal,
  ): Promise<void> {
    let after = from;
    for (;;) {
      let reason: Extract<WatchItem, { kind: "reset" }>["reason"] | undefined;
      try {
        for await (const item of this.#watch(channel, after, signal)) {
          if (signal.aborted) return;
          if (item.kind === "reset") {
            reason = item.reason;
            continue;
          }
          const event = toEvent(channel, item);
          if (reason !== undefined) follower.onReset(reason, { head: before(event), trimmedTo: 0n });
          reason = undefined;
          after = event.position;
          this.#newest.set(channel, after);
          follower.onEvents([event]);
        }
        return;
      } catch (err) {
        if (signal.aborted || (isHoldfastError(err) && !err.retryable)) return;
        this.#logger.warn({ err, channel }, "a job cannot be followed; trying again");
        await this.#clock.sleep(RETRY_MS, { signal });
      }
    }
  }

  async *#watch(
    channel: string,
    after: Position,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Exclude<WatchItem, { kind: "connection" }>> {
    const options = { after: toWirePosition(after), ...(signal === undefined ? {} : { signal }) };
    for await (const item of this.#client.watch(jobIdOf(channel), options)) {
      if (item.kind !== "connection") yield item;
    }
  }
}

const jobIdOf = (channel: string): string => channel.slice(JOB_CHANNEL_PREFIX.length);

const before = ({ position }: ChannelEvent): Position => ({ ...position, offset: position.offset - 1n });

const toEvent = (channel: string, { position, event }: JobEventItem): ChannelEvent => ({
  channel,
  event: event.type,
  payloadText: JSON.stringify(event),
  id: `${position.epoch}-${position.offset}`,
  position: fromWirePosition(position),
  ts: event.at,
});
