import type { Abortable } from "@holdfast/kernel";
import type { Leader } from "@holdfast/protocol/contract";
import type { JobRow } from "../model/job-table.ts";
import { type LiveNode, type NodeLease, nextLookMs, nodeIdOf } from "../node/node-lease.ts";

/** Which managers of the datacenter are alive, as last read from the store. */
export class NodeDirectory {
  readonly #lease: () => NodeLease | undefined;
  readonly #self: () => { readonly nodeId: string; readonly address: string };
  #live: readonly LiveNode[] = [];

  constructor(
    lease: () => NodeLease | undefined,
    self: () => { readonly nodeId: string; readonly address: string },
  ) {
    this.#lease = lease;
    this.#self = self;
  }

  /** Reads the live nodes anew. @throws what the store throws; the list stays as it was. */
  async refresh(options: Abortable = {}): Promise<readonly LiveNode[]> {
    this.#live = (await this.#lease()?.live(options)) ?? [];
    return this.#live;
  }

  /** This node and the other live managers, each once, ordered by node id. */
  managers(): readonly { readonly nodeId: string; readonly address: string }[] {
    const byId = new Map(
      this.#live.filter(({ role }) => role === "manager").map((node) => [node.nodeId, node]),
    );
    const { nodeId, address } = this.#self();
    const all = [...byId.values()].filter((node) => node.nodeId !== nodeId);
    return [{ nodeId, address }, ...all.map((node) => ({ nodeId: node.nodeId, address: node.address }))].sort(
      (a, b) => (a.nodeId < b.nodeId ? -1 : 1),
    );
  }

  /** How long to wait before looking again: see {@link nextLookMs}. */
  nextLookMs(everyMs: number): number {
    return nextLookMs(this.#live, { self: this.#lease()?.ownerId, everyMs });
  }

  isSelf(ownerId: string): boolean {
    return ownerId === this.#lease()?.ownerId;
  }

  /**
   * The leader that a row names; its address is empty when that node is not known to be alive. An ended job
   * is led by nobody any more: whoever is asked answers for it.
   */
  leaderOf(row: Pick<JobRow, "owner" | "fence" | "finishedAt">): Leader {
    const fence = row.fence.toString();
    if (this.isSelf(row.owner) || row.finishedAt !== undefined) return { ...this.#self(), fence };
    const node = this.#live.find(({ ownerId }) => ownerId === row.owner);
    return { nodeId: nodeIdOf(row.owner), address: node?.address ?? "", fence };
  }

  isAlive(ownerId: string): boolean {
    return this.isSelf(ownerId) || this.#live.some((node) => node.ownerId === ownerId);
  }
}
