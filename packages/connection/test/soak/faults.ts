import type { TestServer } from "@holdfast/testkit/servers";

interface Fault {
  readonly begin: (node: TestServer) => Promise<void> | void;
  readonly end: (node: TestServer) => Promise<void> | void;
}

const heal = (node: TestServer): Promise<void> => node.network.heal();

/** What a node may suffer, and how it recovers. */
export const FAULTS = {
  /** The process dies: connections are reset, new ones refused. */
  kill: { begin: (node) => node.kill(), end: (node) => node.start() },
  /** The process stands still: connections are taken, and nothing is answered. */
  freeze: { begin: (node) => node.freeze(), end: (node) => node.thaw() },
  /** Requests arrive and are carried out, answers do not come back. */
  cut: { begin: (node) => node.network.set({ cut: true }, "toClient"), end: heal },
  /** The node has forgotten every connection without a word; new ones work. */
  halfOpen: { begin: (node) => node.network.halfOpen("client"), end: heal },
  /** Every byte takes its time. */
  slow: { begin: (node) => node.network.set({ latencyMs: 120, jitterMs: 40 }), end: heal },
} as const satisfies Readonly<Record<string, Fault>>;

export type FaultName = keyof typeof FAULTS;
