import type { Peer } from "@holdfast/connection";
import { type JobEventsPush, jobEventsAll } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { PushLane } from "./push-lane.ts";

const setUp = (options: { readonly bufferedMaxBytes?: number; readonly pushMaxBytes?: number } = {}) => {
  const messages: string[][] = [];
  const state = { isOpen: true, bufferedBytes: 0, takes: true };
  const peer = {
    get isOpen() {
      return state.isOpen;
    },
    get bufferedBytes() {
      return state.bufferedBytes;
    },
    push: (definition: unknown, payload: unknown) => {
      if (!state.takes || !state.isOpen) return false;
      const feeds =
        definition === jobEventsAll
          ? (payload as { readonly feeds: readonly JobEventsPush[] }).feeds
          : [payload as JobEventsPush];
      messages.push(feeds.map(({ subscriptionId }) => subscriptionId));
      return true;
    },
  } as unknown as Peer;
  let flushedCount = 0;
  const lane = new PushLane(peer, {
    bufferedMaxBytes: 1_000,
    pushMaxBytes: 100,
    onFlushed: () => {
      flushedCount += 1;
    },
    ...options,
  });
  const push = (subscriptionId: string): JobEventsPush => ({
    subscriptionId,
    jobId: "j",
    events: [],
    end: false,
  });
  const together = (id: string, sizeBytes = 10) => lane.pushTogether(push(id), sizeBytes);
  return {
    lane,
    state,
    messages,
    together,
    flushedCount: () => flushedCount,
    alone: (id: string) => lane.push(push(id)),
  };
};

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("the pushes of one connection", () => {
  it("leave in one message when they are made in one turn", async () => {
    const { messages, together } = setUp();
    for (const id of ["a", "b", "c"]) expect(together(id)).toBe(true);
    expect(messages).toEqual([]);
    await turn();
    expect(messages).toEqual([["a", "b", "c"]]);
    together("d");
    await turn();
    expect(messages).toEqual([["a", "b", "c"], ["d"]]);
  });

  it("never overtake each other, together or alone", async () => {
    const { messages, together, alone } = setUp();
    together("a");
    alone("b");
    together("c");
    await turn();
    expect(messages).toEqual([["a"], ["b"], ["c"]]);
  });

  it("are split where a message would get too large", async () => {
    const { messages, together } = setUp();
    for (const id of ["a", "b", "c"]) together(id, 60);
    await turn();
    expect(messages).toEqual([["a"], ["b"], ["c"]]);
  });

  it("wait, in order, while the connection refuses them, and count as buffered meanwhile", async () => {
    const { lane, state, messages, together, alone } = setUp();
    state.takes = false;
    for (const id of ["a", "b"]) expect(together(id, 40)).toBe(true);
    await turn();
    expect(alone("c")).toBe(false);
    expect(messages).toEqual([]);
    state.bufferedBytes = 950;
    expect(lane.hasRoom).toBe(false);
    expect(together("d")).toBe(false);
    state.bufferedBytes = 0;
    state.takes = true;
    lane.flush();
    expect(messages).toEqual([["a", "b"]]);
    expect(lane.hasRoom).toBe(true);
  });

  it("say when there is room again after a turn that had more to say than may wait", async () => {
    const { messages, together, flushedCount } = setUp({ bufferedMaxBytes: 50 });
    expect(together("a", 60)).toBe(true);
    expect(together("b", 60)).toBe(false);
    expect(flushedCount()).toBe(0);
    await turn();
    expect(messages).toEqual([["a"]]);
    expect(flushedCount()).toBe(1);
    expect(together("b", 60)).toBe(true);
  });

  it("are let go with the connection", async () => {
    const { lane, state, messages, together } = setUp();
    together("a");
    state.isOpen = false;
    await turn();
    expect(messages).toEqual([]);
    expect(lane.hasRoom).toBe(true);
    expect(together("b")).toBe(false);
  });
});
