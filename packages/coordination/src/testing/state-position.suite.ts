import { describe, expect, it } from "vitest";
import type { StateUpdate } from "../state-sync/replica-follower.ts";
import type { StateChange } from "../state-sync/states.ts";
import { changesOf, openReplicas, type StateSyncHarness, setsOf } from "./state-fixtures.ts";

/** How readers of shared state go on from their position, and what they are told where they cannot. */
export const statePositionSuite = (setUp: () => Promise<StateSyncHarness>): void => {
  describe("shared state: positions", () => {
    it("takes a fresh snapshot when the changes it needs are gone, and tells what is different", async () => {
      await using test = await openReplicas(setUp);
      const writer = test.make();
      await writer.set("kept", 1);
      await writer.set("gone", 1);
      const replica = await test.started();
      await replica.stop();
      await writer.delete("gone");
      await writer.set("new", 2);
      // Two more pages of changes than are kept.
      await test.store.log.trim("state/ns", { upTo: 4n });
      const seen: StateUpdate[] = [];
      replica.onUpdate((update) => seen.push(update));
      await replica.start();
      expect(seen).toMatchObject([
        { kind: "set", key: "new", value: 2, isResync: true },
        { kind: "deleted", key: "gone", isResync: true },
      ]);
      expect(await replica.getAll()).toEqual(
        new Map([
          ["kept", 1],
          ["new", 2],
        ]),
      );
    });

    it("begins anew when the store lost the namespace: another epoch, nothing of the old one is shown", async () => {
      await using test = await openReplicas(setUp);
      const replica = await test.started();
      await replica.set("old", 1);
      await replica.set("both", 1);
      await test.until(() => expect(replica.position?.offset).toBe(2n));
      const before = replica.position;
      const seen: StateUpdate[] = [];
      replica.onUpdate((update) => seen.push(update));
      await test.store.log.delete(["state/ns"]);
      const writer = test.make();
      await writer.set("both", 2);
      await test.until(() => expect(replica.position?.epoch).not.toBe(before?.epoch));
      await test.until(async () => expect(await replica.getAll()).toEqual(new Map([["both", 2]])));
      expect(setsOf(seen)).toEqual([2]);
      expect(seen).toContainEqual(expect.objectContaining({ kind: "deleted", key: "old", isResync: true }));
      expect(await test.states.changes("ns", { after: before as never })).toMatchObject({ kind: "reset" });
    });

    it("reports a change that it cannot read, and goes on after it", async () => {
      await using test = await openReplicas(setUp);
      const replica = await test.started();
      const seen: StateUpdate[] = [];
      replica.onUpdate((update) => seen.push(update));
      await replica.set("a", 1);
      await test.store.log.append([
        { stream: "state/ns", payload: "garbage" },
        { stream: "state/ns", payload: { k: "b", x: "no number" } },
      ]);
      await replica.set("c", 2);
      await test.until(() => expect(setsOf(seen)).toEqual([1, 2]));
      expect(replica.stats()).toMatchObject({ corrupt: 2, snapshots: 1 });
      expect((await changesOf(test.states, "ns")).filter(({ kind }) => kind === "corrupt")).toEqual([
        { kind: "corrupt", key: undefined, revision: 2n },
        { kind: "corrupt", key: "b", revision: 3n },
      ]);
    });

    it("is watched from a position: what was missed, then what comes, each change once", async () => {
      await using test = await openReplicas(setUp);
      const writer = test.make();
      await writer.set("a", 1);
      const { head } = await test.states.snapshot("ns");
      await writer.set("b", 2);
      const controller = new AbortController();
      const seen: StateChange[] = [];
      const watching = (async () => {
        for await (const read of writer.watch({ after: head, signal: controller.signal })) {
          if (read.kind === "changes") seen.push(...read.changes);
        }
      })().catch((error: unknown) => error);
      await test.until(() => expect(seen).toHaveLength(1));
      await writer.delete("a");
      await writer.increment("n");
      await test.until(() => expect(seen).toHaveLength(3));
      expect(seen.map(({ kind, key, revision }) => [kind, key, Number(revision)])).toEqual([
        ["set", "b", 2],
        ["deleted", "a", 3],
        ["set", "n", 4],
      ]);
      controller.abort(new Error("enough"));
      expect(await watching).toMatchObject({ message: "enough" });
    });
  });
};
