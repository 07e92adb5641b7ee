import type { JobRow, JobStore, JobTable, JobUpdate } from "@holdfast/jobs";
import type { JobStatus } from "@holdfast/protocol/contract";
import { isTerminal } from "./terminal.ts";

type Tx = unknown;

/** What the transactions have made of a job so far. */
interface Known {
  readonly owner: string;
  readonly fence: bigint;
  readonly status: JobStatus;
}

type Write =
  | { readonly kind: "insert"; readonly row: JobRow }
  | { readonly kind: "update"; readonly update: JobUpdate }
  | { readonly kind: "take-over"; readonly row: JobRow; readonly previousOwner: string };

/**
 * Looks at every transaction of a job store as it commits, and notes each that may never be: a fence with two owners
 * or one that does not grow by one, a job that changes after its end or goes on after its cancel, one that is
 * stored twice.
 */
export const watchStore = <Store extends JobStore<Tx>>(
  store: Store,
  options: { readonly name: string; readonly violations: string[] },
): Store => {
  const known = new Map<string, Known>();
  const pending = new WeakMap<object, Write[]>();
  const note = (jobId: string, what: string): void => {
    options.violations.push(`${options.name}: ${jobId} ${what}`);
  };
  const writesOf = (tx: Tx): Write[] => {
    const writes = pending.get(tx as object);
    if (writes === undefined) throw new Error("a write outside of any transaction");
    return writes;
  };
  const apply = (write: Write): void => {
    const jobId = write.kind === "update" ? write.update.jobId : write.row.jobId;
    const before = known.get(jobId);
    if (write.kind === "insert") {
      if (before !== undefined) note(jobId, "was stored twice");
      const { owner, fence, status } = write.row;
      known.set(jobId, { owner, fence, status });
      return;
    }
    if (before === undefined) {
      note(jobId, "changed although it was never stored");
      return;
    }
    if (isTerminal(before.status)) note(jobId, `changed after it had ended ${before.status}`);
    if (write.kind === "take-over") {
      const { owner, fence, status } = write.row;
      if (fence !== before.fence + 1n) note(jobId, `went from fence ${before.fence} to ${fence}`);
      if (write.previousOwner !== before.owner)
        note(jobId, `was taken from ${write.previousOwner}, not ${before.owner}`);
      if (status !== before.status) note(jobId, `went from ${before.status} to ${status} in a take-over`);
      known.set(jobId, { owner, fence, status });
      return;
    }
    const { fence, status } = write.update;
    if (fence !== before.fence) note(jobId, `was written under fence ${fence} instead of ${before.fence}`);
    const isRevived = before.status === "cancelling" && status !== "cancelling" && !isTerminal(status);
    if (isRevived) note(jobId, `went from cancelling back to ${status}`);
    known.set(jobId, { ...before, status });
  };

  const jobs: JobTable<Tx> = boundTo(store.jobs, {
    insert: async (rows, tx) => {
      const outcomes = await store.jobs.insert(rows, tx);
      for (const { kind, row } of outcomes)
        if (kind === "inserted") writesOf(tx).push({ kind: "insert", row });
      return outcomes;
    },
    update: async (updates, tx) => {
      const outcomes = await store.jobs.update(updates, tx);
      updates.forEach((update, index) => {
        if (outcomes[index] === true) writesOf(tx).push({ kind: "update", update });
      });
      return outcomes;
    },
    takeOver: async (request, tx) => {
      const taken = await store.jobs.takeOver(request, tx);
      for (const one of taken) writesOf(tx).push({ kind: "take-over", ...one });
      return taken;
    },
  });
  const coordination = boundTo(store.coordination, {
    transaction: async (body, request) => {
      let writes: Write[] = [];
      const result = await store.coordination.transaction((tx) => {
        // A transaction that is tried again begins anew.
        writes = [];
        pending.set(tx as object, writes);
        return body(tx);
      }, request);
      for (const write of writes) apply(write);
      return result;
    },
  });
  return boundTo(store, { jobs, coordination } as Partial<Store>);
};

/** `target` with some of its members replaced; the others still see it as their own. */
const boundTo = <T extends object>(target: T, members: Partial<T>): T =>
  new Proxy(target, {
    get: (_target, name) => {
      if (Object.hasOwn(members, name)) return members[name as keyof T];
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
