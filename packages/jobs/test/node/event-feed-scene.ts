import type { Peer } from "@holdfast/connection";
import type { CoordinationStore, LogEntry, WirePosition } from "@holdfast/coordination";
import { createMemoryStore } from "@holdfast/coordination/memory";
import { silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { JobEventsPush, JobStatus } from "@holdfast/protocol/contract";
import { JobNotFoundError } from "../../src/errors.ts";
import { jobStream } from "../../src/model/job-stream.ts";
import { EventFeed, type EventFeedOptions } from "../../src/node/event-feed.ts";

/** A connection whose buffer the test fills and drains. */
export class ScriptedPeer {
  readonly id: string;
  readonly remote;
  isOpen = true;
  bufferedBytes = 0;
  /** Bytes that each push adds to the buffer. */
  pushCostBytes = 0;
  readonly pushes: JobEventsPush[] = [];
  readonly #onDrain = new Set<() => void>();
  readonly #onClose = new Set<(error: Error | undefined) => void>();

  constructor(id: string, role = "client") {
    this.id = id;
    this.remote = {
      nodeId: id,
      role,
      version: "1.4",
      features: [],
      scopes: ["read", "operate"] as const,
      address: id,
    };
  }

  push(_definition: unknown, payload: JobEventsPush): boolean {
    if (!this.isOpen) return false;
    this.pushes.push(payload);
    this.bufferedBytes += this.pushCostBytes;
    return true;
  }
  onDrain(listener: () => void): () => void {
    this.#onDrain.add(listener);
    return () => this.#onDrain.delete(listener);
  }
  onClose(listener: (error: Error | undefined) => void): () => void {
    this.#onClose.add(listener);
    return () => this.#onClose.delete(listener);
  }
  drain(): void {
    this.bufferedBytes = 0;
    for (const listener of [...this.#onDrain]) listener();
  }
  drop(): void {
    this.isOpen = false;
    for (const listener of [...this.#onClose]) listener(undefined);
  }
  /** Messages of the log events that subscription `id` got, in order. */
  texts(id: string): string[] {
    return this.pushes
      .filter(({ subscriptionId }) => subscriptionId === id)
      .flatMap(({ events }) =>
        events.map(({ event }) => (event.type === "log" ? event.message : event.type)),
      );
  }
  ended(id: string): boolean {
    return this.pushes.some(({ subscriptionId, end }) => subscriptionId === id && end);
  }
  get asPeer(): Peer {
    return this as unknown as Peer;
  }
}

/** One line of a job's log. */
export const logEvent = (message: string) => ({
  type: "log" as const,
  at: 0,
  workflowId: "wf-1",
  shard: 0,
  worker: "w",
  level: "info" as const,
  message,
});

/** A feed over a memory store, whose jobs and leaders the test says. */
export const setUpFeed = (options: Partial<EventFeedOptions> = {}) => {
  const clock = new VirtualClock();
  const store: CoordinationStore<unknown> = createMemoryStore({ clock }) as CoordinationStore<unknown>;
  const led = new Set<string>();
  const statuses = new Map<string, JobStatus>();
  let reads = 0;
  const log = {
    read: (...args: Parameters<typeof store.log.read>) => {
      reads += 1;
      return store.log.read(...args);
    },
    tail: store.log.tail.bind(store.log),
    bounds: store.log.bounds.bind(store.log),
  };
  const feed = new EventFeed({
    log,
    clock,
    logger: silentLogger,
    leads: (jobId) => led.has(jobId),
    lookup: async (jobId) => {
      const status = statuses.get(jobId);
      if (status === undefined) throw new JobNotFoundError(jobId, "node");
      return { status, leader: { nodeId: "n", address: "n:1", fence: "1" } };
    },
    ...options,
  });
  const append = async (jobId: string, ...messages: string[]): Promise<LogEntry[]> => {
    if (!statuses.has(jobId)) statuses.set(jobId, "running");
    const payloads = messages.map((message) =>
      message === "RESULT" ? { type: "job.result", at: 0, result: {} } : logEvent(message),
    );
    if (messages.includes("RESULT")) statuses.set(jobId, "completed");
    const positions = await store.log.append(
      payloads.map((payload) => ({ stream: jobStream(jobId), payload })),
    );
    const entries = positions.map((position, index) => ({
      stream: jobStream(jobId),
      position,
      payload: payloads[index] as LogEntry["payload"],
      appendedAt: 0,
    }));
    if (led.has(jobId)) feed.publish(jobId, entries);
    await clock.advance(0);
    return entries;
  };
  const follow = async (peer: ScriptedPeer, jobId: string, subscriptionId: string, after?: WirePosition) => {
    const answer = await feed.follow(
      { jobId, subscriptionId, after },
      { peer: peer.asPeer, signal: new AbortController().signal, timeoutMs: 10_000 },
    );
    await clock.advance(0);
    return answer;
  };
  return {
    clock,
    store,
    feed,
    led,
    statuses,
    append,
    follow,
    readCount: () => reads,
    [Symbol.asyncDispose]: async () => {
      await feed.close();
      await store.close();
    },
  };
};

/** `count` messages, from number `from` on. */
export const texts = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) => `m${from + index}`);
