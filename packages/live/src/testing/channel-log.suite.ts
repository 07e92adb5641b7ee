import { hasCode } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { ChannelEvent, ChannelLog, EventDraft } from "../server/channel-log.ts";

/** A fresh log for one test. */
export interface ChannelLogHarness extends AsyncDisposable {
  readonly log: ChannelLog;
  /** A second log over the same store, as another server has it; undefined where there is none. */
  readonly other?: ChannelLog;
  /** Events of a channel that the harness's log keeps at least; tests publish more to push the oldest out. */
  readonly historyMaxCount: number;
  /** Resolves when `condition` holds: at once for a log that delivers within `publish`. */
  until(condition: () => boolean): Promise<void>;
}

let count = 0;
const draft = (channel: string, event: string, rest: Partial<EventDraft> = {}): EventDraft => {
  count += 1;
  return { channel, event, payloadText: "{}", id: `id-${count}`, ...rest };
};

const collect = async (
  log: ChannelLog,
  channel: string,
): Promise<{ readonly events: ChannelEvent[]; readonly resets: string[]; close(): void }> => {
  const events: ChannelEvent[] = [];
  const resets: string[] = [];
  const following = await log.follow(channel, {
    onEvents: (some) => events.push(...some),
    onReset: (reason) => resets.push(reason),
  });
  return { events, resets, close: () => following.close() };
};

const namesOf = (events: readonly ChannelEvent[]): readonly string[] => events.map(({ event }) => event);

/** What every backend of the live server guarantees. */
export const channelLogSuite = (setUp: () => Promise<ChannelLogHarness>): void => {
  describe("channel log", () => {
    it("numbers the events of each channel 1, 2, 3 … and reads them back as they were", async () => {
      await using harness = await setUp();
      const { log } = harness;
      const origin = { client: "c", mutation: "m" };
      const published = await log.publish([
        draft("a", "a1", { payloadText: '{"x":"ü"}', origin }),
        draft("b", "b1"),
        draft("a", "a2"),
      ]);
      expect(published.map(({ position }) => position.offset)).toEqual([1n, 1n, 2n]);
      const { epoch } = published[0]?.position ?? { epoch: 0n };
      const read = await log.read("a", { after: { epoch, offset: 0n } });
      if (read.kind !== "events") throw new Error(read.reason);
      expect(namesOf(read.events)).toEqual(["a1", "a2"]);
      expect(read.events[0]).toMatchObject({ payloadText: '{"x":"ü"}', origin, channel: "a" });
      expect(read.bounds.head).toEqual({ epoch, offset: 2n });
    });

    it("reads on from a position in pages, without gap or repeat", async () => {
      await using harness = await setUp();
      const { log } = harness;
      const names = Array.from({ length: 10 }, (_, index) => `e${index}`);
      await log.publish(names.map((name) => draft("a", name)));
      let after = { epoch: (await log.bounds("a")).head.epoch, offset: 0n };
      const seen: string[] = [];
      for (;;) {
        const read = await log.read("a", { after, limit: 3 });
        if (read.kind !== "events") throw new Error(read.reason);
        const last = read.events.at(-1);
        if (last === undefined) break;
        seen.push(...namesOf(read.events));
        after = last.position;
      }
      expect(seen).toEqual(names);
    });

    it("gives a channel without events a position from which everything later is read", async () => {
      await using harness = await setUp();
      const { log } = harness;
      const { head } = await log.bounds("empty");
      expect(head.offset).toBe(0n);
      await log.publish([draft("empty", "first"), draft("empty", "second")]);
      const read = await log.read("empty", { after: head });
      if (read.kind !== "events") throw new Error(read.reason);
      expect(namesOf(read.events)).toEqual(["first", "second"]);
    });

    it("follows from the bounds it returned, each event once, and no other channel", async () => {
      await using harness = await setUp();
      const { log } = harness;
      await log.publish([draft("a", "before")]);
      const followed = await collect(log, "a");
      await log.publish([draft("a", "one"), draft("b", "other"), draft("a", "two")]);
      await log.publish([draft("a", "three")]);
      await harness.until(() => followed.events.length >= 3);
      expect(namesOf(followed.events)).toEqual(["one", "two", "three"]);
      expect(followed.resets).toEqual([]);
    });

    it("lets one follower leave without taking the others with it", async () => {
      await using harness = await setUp();
      const { log } = harness;
      const leaving = await collect(log, "a");
      const staying = await collect(log, "a");
      leaving.close();
      leaving.close();
      await log.publish([draft("a", "one")]);
      await harness.until(() => staying.events.length >= 1);
      expect(leaving.events).toEqual([]);
    });

    it("delivers what another server publishes, exactly once on both", async () => {
      await using harness = await setUp();
      const { log, other } = harness;
      // A log of one process has no other server.
      if (other === undefined) return;
      const here = await collect(log, "a");
      const there = await collect(other, "a");
      await log.publish([draft("a", "from here")]);
      await other.publish([draft("a", "from there")]);
      await harness.until(() => here.events.length >= 2 && there.events.length >= 2);
      expect(namesOf(here.events)).toEqual(["from here", "from there"]);
      expect(namesOf(there.events)).toEqual(["from here", "from there"]);
    });

    it("tells a reader from before the history that its position is lost, never skips silently", async () => {
      await using harness = await setUp();
      const { log, historyMaxCount } = harness;
      const { head } = await log.bounds("a");
      const names = Array.from({ length: historyMaxCount * 2 + 50 }, (_, index) => `e${index}`);
      for (const name of names) await log.publish([draft("a", name)]);
      const read = await log.read("a", { after: head });
      expect(read).toMatchObject({ kind: "reset", reason: "trimmed" });
      const kept = await log.read("a", {
        after: { epoch: read.bounds.head.epoch, offset: read.bounds.trimmedTo },
        limit: 1_000,
      });
      if (kept.kind !== "events") throw new Error(kept.reason);
      expect(kept.events.length).toBeGreaterThanOrEqual(historyMaxCount);
      expect(namesOf(kept.events)).toEqual(names.slice(-kept.events.length));
    });

    it("refuses positions of another epoch and from after the head", async () => {
      await using harness = await setUp();
      const { log } = harness;
      const [published] = await log.publish([draft("a", "one")]);
      const { epoch } = published?.position ?? { epoch: 0n };
      const foreign = await log.read("a", { after: { epoch: epoch + 1n, offset: 1n } });
      expect(foreign).toMatchObject({ kind: "reset", reason: "epoch-changed" });
      const ahead = await log.read("a", { after: { epoch, offset: 9n } });
      expect(ahead).toMatchObject({ kind: "reset", reason: "ahead-of-head" });
    });

    it("publishes once for one idempotency key of a channel, and gives the first answer again", async () => {
      await using harness = await setUp();
      const { log } = harness;
      const [first] = await log.publish([draft("a", "one", { idempotencyKey: "k" })]);
      const [again] = await log.publish([draft("a", "one", { idempotencyKey: "k" })]);
      const [elsewhere] = await log.publish([draft("b", "one", { idempotencyKey: "k" })]);
      expect(again).toEqual({ ...first, isRepeat: true });
      expect(elsewhere?.isRepeat).toBe(false);
      expect((await log.bounds("a")).head.offset).toBe(1n);
    });

    it("fails every use after close", async () => {
      await using harness = await setUp();
      const { log } = harness;
      await log.check();
      await log.close();
      await log.close();
      const isClosed = (error: unknown): boolean => hasCode(error, "KERNEL_CLOSED");
      await expect(log.publish([draft("a", "one")])).rejects.toSatisfy(isClosed);
      await expect(log.bounds("a")).rejects.toSatisfy(isClosed);
      await expect(log.read("a", { after: { epoch: 1n, offset: 0n } })).rejects.toSatisfy(isClosed);
      await expect(collect(log, "a")).rejects.toSatisfy(isClosed);
      await expect(log.check()).rejects.toSatisfy(isClosed);
    });
  });
};
