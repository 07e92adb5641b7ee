import type { JobSpec } from "@holdfast/protocol/contract";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { InsertOutcome, JobStore, NewJobRow } from "../model/job-table.ts";

export interface JobTableSuiteOptions {
  /** Opens an empty store. Closed by the suite. */
  readonly open: () => Promise<JobStore>;
}

const specOf = (workflowIds: readonly string[]): JobSpec => ({
  name: "suite",
  workflows: workflowIds.map((id) => ({
    id,
    name: id,
    workflow: "noop",
    input: { text: 'käse "quoted" \\ {1,2} 日本 \u0000', list: [1, 2.5, null, true] },
    dependsOn: [],
    priority: "auto",
  })),
  timeoutMs: 1000,
  datacenters: [],
  datacenterCount: 1,
  policy: "require-all",
  reporting: [],
  labels: {},
});

/** What every `JobTable` must do, whatever keeps the rows. Call inside a test file. */
export const testJobTable = (name: string, options: JobTableSuiteOptions): void => {
  describe(`job table: ${name}`, () => {
    let store: JobStore;
    let counter = 0;

    beforeAll(async () => {
      store = await options.open();
    });
    afterAll(async () => {
      await store[Symbol.asyncDispose]();
    });

    const fresh = (change: Partial<NewJobRow> = {}): NewJobRow => {
      counter += 1;
      const id = `job-${String(counter).padStart(4, "0")}`;
      return {
        jobId: id,
        idempotencyKey: `key-${id}`,
        payloadHash: "hash",
        owner: "node-a#1",
        status: "queued",
        name: `Job ${counter}`,
        labels: { team: "red" },
        spec: specOf([`wf-${counter}-1`, `wf-${counter}-2`]),
        state: { version: 1, note: "first" },
        ...change,
      };
    };
    const insert = (...rows: NewJobRow[]): Promise<readonly InsertOutcome[]> =>
      store.coordination.transaction((tx) => store.jobs.insert(rows, tx));
    const get = async (jobId: string) => (await store.jobs.get([jobId]))[0];
    /** Nothing of earlier tests is left to be taken over or listed. */
    const clear = async (): Promise<void> => {
      const { rows } = await store.jobs.list({ limit: 1000 });
      const open = rows.filter((row) => row.finishedAt === undefined);
      await store.coordination.transaction(async (tx) => {
        const updates = open.map(({ jobId, fence }) => ({ jobId, fence, status: "cancelled" as const }));
        await store.jobs.update(updates, tx);
        await store.jobs.purge({ olderThanMs: 0, limit: 1000 }, tx);
      });
    };

    it("keeps a row as it was given, under fence 1 and the store's time", async () => {
      const row = fresh();
      const before = await store.coordination.now();
      const [outcome] = await insert(row);
      expect(outcome?.kind).toBe("inserted");
      const found = await get(row.jobId);
      expect(found).toMatchObject({ ...row, fence: 1n, finishedAt: undefined });
      expect(found?.submittedAt).toBeGreaterThanOrEqual(Math.floor(before));
      expect(found?.submittedAt).toBeLessThanOrEqual(await store.coordination.now());
    });

    it("answers a second insert of the id or the idempotency key with the first row", async () => {
      const row = fresh();
      await insert(row);
      const [sameId] = await insert({ ...fresh(), jobId: row.jobId, name: "other" });
      const [sameKey] = await insert({ ...fresh(), idempotencyKey: row.idempotencyKey });
      for (const outcome of [sameId, sameKey]) {
        expect(outcome?.kind).toBe("exists");
        expect(outcome?.row).toMatchObject({ jobId: row.jobId, name: row.name });
      }
    });

    it("inserts many at once, in order, and sees duplicates among them", async () => {
      const first = fresh();
      await insert(first);
      const second = fresh();
      const outcomes = await insert(second, first, fresh({ jobId: second.jobId }), fresh());
      expect(outcomes.map(({ kind }) => kind)).toEqual(["inserted", "exists", "exists", "inserted"]);
      expect(outcomes[2]?.row.name).toBe(second.name);
    });

    it("keeps ids of ten thousand characters and of any script apart", async () => {
      const long = "x".repeat(9_999);
      const rows = [`${long}a`, `${long}b`, "ñ中文🎉", ""].map((jobId) => fresh({ jobId }));
      await insert(...rows);
      const found = await store.jobs.get(rows.map(({ jobId }) => jobId));
      expect(found.map(({ jobId }) => jobId)).toEqual(rows.map(({ jobId }) => jobId));
    });

    it("changes a row only under its fence", async () => {
      const [one, two] = [fresh(), fresh()];
      await insert(one, two);
      const changed = await store.coordination.transaction((tx) =>
        store.jobs.update(
          [
            { jobId: one.jobId, fence: 1n, status: "running", state: { version: 1, note: "second" } },
            { jobId: two.jobId, fence: 2n, status: "running", state: null },
            { jobId: "no such job", fence: 1n, status: "running", state: null },
          ],
          tx,
        ),
      );
      expect(changed).toEqual([true, false, false]);
      expect(await get(one.jobId)).toMatchObject({ status: "running", state: { note: "second" } });
      expect(await get(two.jobId)).toMatchObject({ status: "queued", state: { note: "first" } });
    });

    it("leaves the state alone when an update brings none", async () => {
      const row = fresh();
      await insert(row);
      await store.coordination.transaction((tx) =>
        store.jobs.update([{ jobId: row.jobId, fence: 1n, status: "running" }], tx),
      );
      expect(await get(row.jobId)).toMatchObject({ status: "running", state: row.state });
    });

    it.each([
      "completed",
      "partial",
      "failed",
      "cancelled",
      "timeout",
    ] as const)("changes nothing after %s", async (status) => {
      const row = fresh();
      await insert(row);
      const update = (to: typeof status | "running") =>
        store.coordination.transaction((tx) =>
          store.jobs.update([{ jobId: row.jobId, fence: 1n, status: to, state: { to } }], tx),
        );
      expect(await update(status)).toEqual([true]);
      expect(await update("running")).toEqual([false]);
      expect(await update(status)).toEqual([false]);
      const found = await get(row.jobId);
      expect(found).toMatchObject({ status, state: { to: status } });
      expect(found?.finishedAt).toBeGreaterThanOrEqual(found?.submittedAt ?? Number.POSITIVE_INFINITY);
    });

    it("leaves no trace of a transaction that fails", async () => {
      const [kept, lost] = [fresh(), fresh()];
      await insert(kept);
      const failure = new Error("stop");
      await expect(
        store.coordination.transaction(async (tx) => {
          await store.jobs.insert([lost], tx);
          await store.jobs.update([{ jobId: kept.jobId, fence: 1n, status: "failed", state: null }], tx);
          throw failure;
        }),
      ).rejects.toBe(failure);
      expect(await get(lost.jobId)).toBeUndefined();
      expect(await get(kept.jobId)).toMatchObject({ status: "queued", state: kept.state });
      expect((await insert(lost))[0]?.kind).toBe("inserted");
    });

    it("commits together with a log entry, a task and a fence", async () => {
      const row = fresh();
      const failure = new Error("stop");
      const submit = (fail: boolean) =>
        store.coordination.transaction(async (tx) => {
          await store.jobs.insert([row], tx);
          await store.coordination.log.append([{ stream: row.jobId, payload: { type: "x" } }], { tx });
          await store.coordination
            .queue("suite")
            .enqueue([{ id: row.jobId, type: "t", payload: {} }], { tx });
          if (fail) throw failure;
        });
      await expect(submit(true)).rejects.toBe(failure);
      expect(await store.coordination.queue("suite").get(row.jobId)).toBeUndefined();
      await submit(false);
      expect(await store.coordination.queue("suite").get(row.jobId)).toMatchObject({ state: "pending" });
      expect((await store.coordination.log.bounds(row.jobId)).head.offset).toBe(1n);
    });

    it("hands unfinished jobs of dead owners to a new one, oldest first, under a larger fence", async () => {
      await clear();
      const rows = [fresh(), fresh(), fresh({ owner: "node-b#1" }), fresh({ status: "completed" })];
      for (const row of rows) await insert(row);
      const take = (limit: number) =>
        store.coordination.transaction((tx) =>
          store.jobs.takeOver({ owner: "node-c#1", liveOwners: ["node-b#1", "node-c#1"], limit }, tx),
        );
      const [first] = [await take(1)];
      expect(first).toHaveLength(1);
      expect(first[0]).toMatchObject({
        previousOwner: "node-a#1",
        row: { jobId: rows[0]?.jobId, owner: "node-c#1", fence: 2n },
      });
      expect((await take(10)).map(({ row }) => row.jobId)).toEqual([rows[1]?.jobId]);
      expect(await take(10)).toEqual([]);
      expect((await get(rows[2]?.jobId ?? ""))?.owner).toBe("node-b#1");
      expect((await get(rows[3]?.jobId ?? ""))?.fence).toBe(1n);
    });

    it("refuses the former owner once the job was taken over", async () => {
      await clear();
      const row = fresh();
      await insert(row);
      await store.coordination.transaction((tx) =>
        store.jobs.takeOver({ owner: "node-c#1", liveOwners: ["node-c#1"], limit: 1 }, tx),
      );
      const update = (fence: bigint) =>
        store.coordination.transaction((tx) =>
          store.jobs.update([{ jobId: row.jobId, fence, status: "completed", state: null }], tx),
        );
      expect(await update(1n)).toEqual([false]);
      expect(await update(2n)).toEqual([true]);
    });

    it("lets one of two takers win", async () => {
      await clear();
      const rows = Array.from({ length: 20 }, () => fresh());
      await insert(...rows);
      const live = ["node-c#1", "node-d#1"];
      const taken = await Promise.all(
        live.map((owner) =>
          store.coordination.transaction((tx) =>
            store.jobs.takeOver({ owner, liveOwners: live, limit: 20 }, tx),
          ),
        ),
      );
      const owners = new Map<string, string>();
      for (const { row } of taken.flat()) {
        expect(owners.has(row.jobId)).toBe(false);
        owners.set(row.jobId, row.owner);
      }
      const after = await store.jobs.get(rows.map(({ jobId }) => jobId));
      for (const row of after) {
        const owner = owners.get(row.jobId);
        expect(row.owner).toBe(owner ?? "node-a#1");
        expect(row.fence).toBe(owner === undefined ? 1n : 2n);
      }
      expect(owners.size).toBeGreaterThan(0);
    });

    it("lists newest first, page by page, without gap or repeat", async () => {
      await clear();
      const rows = Array.from({ length: 7 }, () => fresh());
      await insert(...rows.slice(0, 3));
      for (const row of rows.slice(3)) await insert(row);
      const ids: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await store.jobs.list({ limit: 2, ...(cursor === undefined ? {} : { cursor }) });
        ids.push(...page.rows.map(({ jobId }) => jobId));
        cursor = page.nextCursor;
      } while (cursor !== undefined);
      expect(ids).toHaveLength(7);
      expect(new Set(ids)).toEqual(new Set(rows.map(({ jobId }) => jobId)));
      const times = (await store.jobs.list({ limit: 10 })).rows.map(({ submittedAt }) => submittedAt);
      expect(times).toEqual([...times].sort((a, b) => b - a));
    });

    it("finds jobs by status and by a part of name or id, literally", async () => {
      await clear();
      const rows = [
        fresh({ name: "Import places", status: "running" }),
        fresh({ name: "100% load_test" }),
        fresh({ name: "other" }),
      ];
      await insert(...rows);
      const names = async (filter: Parameters<JobStore["jobs"]["list"]>[0]) =>
        (await store.jobs.list(filter)).rows.map((row) => row.name);
      expect(await names({ limit: 10, statuses: ["running"] })).toEqual(["Import places"]);
      expect(await names({ limit: 10, search: "IMPORT" })).toEqual(["Import places"]);
      expect(await names({ limit: 10, search: "0% load_" })).toEqual(["100% load_test"]);
      expect(await names({ limit: 10, search: rows[2]?.jobId ?? "" })).toEqual(["other"]);
      expect(await names({ limit: 10, search: "%" })).toEqual(["100% load_test"]);
      expect(await names({ limit: 10, statuses: [] })).toEqual([]);
    });

    it("refuses a cursor or a limit that makes no sense", async () => {
      await expect(store.jobs.list({ limit: 10, cursor: "nonsense" })).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
      });
      await expect(store.jobs.list({ limit: 0 })).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    });

    it("counts by status", async () => {
      await clear();
      await insert(fresh(), fresh(), fresh({ status: "completed" }));
      expect(await store.jobs.counts()).toEqual({ queued: 2, completed: 1 });
    });

    it("purges ended jobs only, those that ended first before others, and names their workflows", async () => {
      await clear();
      const [first, second, open] = [
        fresh({ status: "completed" }),
        fresh({ status: "failed" }),
        fresh({ status: "running" }),
      ];
      for (const row of [first, second, open]) await insert(row);
      const purge = (olderThanMs: number, limit: number) =>
        store.coordination.transaction((tx) => store.jobs.purge({ olderThanMs, limit }, tx));
      expect(await purge(3_600_000, 10)).toEqual([]);
      expect(await purge(0, 1)).toEqual([
        { jobId: first.jobId, workflowIds: first.spec.workflows.map(({ id }) => id) },
      ]);
      expect((await purge(0, 10)).map(({ jobId }) => jobId)).toEqual([second.jobId]);
      expect((await store.jobs.list({ limit: 10 })).rows.map(({ jobId }) => jobId)).toEqual([open.jobId]);
      // The id and the key are free again.
      expect((await insert(first))[0]?.kind).toBe("inserted");
    });
  });
};
