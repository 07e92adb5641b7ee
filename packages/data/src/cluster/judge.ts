import type { ClusterCondition, NodeStatus } from "./cluster-status.ts";
import type { NodeReport } from "./node-probe.ts";
import type { Lag } from "./primary-log.ts";

/** A server as the rounds know it: what it said last, and what Patroni says of it. */
export interface ObservedNode {
  readonly name: string;
  readonly address: string;
  /** The answer of this round; undefined when there was none. */
  readonly report: NodeReport | undefined;
  /** The last answer ever, and when it came (monotonic milliseconds). */
  readonly lastReport: NodeReport | undefined;
  readonly reportedAt: number | undefined;
  readonly problem: string | undefined;
  /** When it was seen to turn from a replica into a primary (monotonic milliseconds); undefined where nobody saw that. */
  readonly writableSince: number | undefined;
  /** Patroni's tag `noloadbalance`, or a state in which it does not stream. */
  readonly isHeldBack: boolean;
  readonly patroniLag: "known" | "unknown" | "not-asked";
}

export interface Bounds {
  readonly lagMaxMs: number;
  readonly lagMaxBytes: bigint;
}

export interface Judgement {
  readonly nodes: readonly NodeStatus[];
  readonly primary: string | undefined;
  readonly condition: ClusterCondition;
}

export interface JudgeInput {
  readonly nodes: readonly ObservedNode[];
  readonly systemId: string | undefined;
  /** The newest timeline that was ever seen. */
  readonly timeline: number | undefined;
  /**
   * Names that Patroni gives as the holder of the leader's key, those of the newest timeline only; undefined when no
   * Patroni was asked or none answered.
   */
  readonly leaders: readonly string[] | undefined;
  /** When Patroni was asked for that. */
  readonly leadersAskedAt: number;
  readonly bounds: Bounds;
  readonly now: number;
  /** How far a replica on the primary's timeline was behind when it answered. */
  readonly lagOf: (report: NodeReport, reportedAt: number) => Lag | undefined;
}

/**
 * Decides who is the primary, who takes reads, and what to call the whole. The rules:
 * - only servers of our own database system count;
 * - the primary says itself that it takes writes, is on the newest timeline ever seen, and is the only one such;
 * - where Patroni answers, it must also name that server, and no other, as the holder of the leader's key. Only what it
 *   said before the server took over says nothing: nobody promotes without the key, and asking again takes its time;
 * - where no Patroni answers, every server must have been asked once, or failed to answer: an old primary that goes on
 *   is known only by a newer timeline elsewhere.
 */
export const judge = (input: JudgeInput): Judgement => {
  const { systemId, timeline, leaders } = input;
  const ours = input.nodes.filter(({ report }) => report !== undefined && report.systemId === systemId);
  const writable = ours.filter(({ report }) => report?.inRecovery === false && report.timeline === timeline);
  // One server may be reached under two names, through a proxy for example.
  const instances = new Set(writable.map(({ report }) => report?.instance));
  const isSplit = instances.size > 1 || (leaders !== undefined && leaders.length > 1);
  const isEarly = leaders === undefined && input.nodes.some(isUnseen);
  const primary = isSplit || isEarly ? undefined : writable.find((node) => isByRight(node, input));
  const nodes = input.nodes.map((node) => statusOf(node, primary, input));
  const condition = conditionOf(nodes, primary, isSplit ? [...writable.map(nameOf), ...(leaders ?? [])] : []);
  return { nodes, primary: primary?.name, condition };
};

const isByRight = ({ name, writableSince }: ObservedNode, { leaders, leadersAskedAt }: JudgeInput): boolean =>
  leaders === undefined ||
  leaders.includes(name) ||
  leadersAskedAt < (writableSince ?? Number.NEGATIVE_INFINITY);

const isUnseen = ({ lastReport, problem }: ObservedNode): boolean =>
  lastReport === undefined && problem === undefined;

const nameOf = ({ name }: { readonly name: string }): string => name;

const statusOf = (node: ObservedNode, primary: ObservedNode | undefined, input: JudgeInput): NodeStatus => {
  const { report, lastReport } = node;
  const isForeign = report !== undefined && report.systemId !== input.systemId;
  const health = isForeign
    ? "foreign"
    : report !== undefined
      ? "healthy"
      : node.problem === undefined
        ? "unknown"
        : "failed";
  const known = report ?? lastReport;
  const role = known === undefined ? undefined : known.inRecovery ? "replica" : "primary";
  const lag = health === "healthy" ? lagOf(node, primary, input) : undefined;
  return {
    name: node.name,
    address: node.address,
    health,
    role,
    timeline: known?.timeline,
    lsn: known?.lsn,
    receivedLsn: known?.receivedLsn,
    lagBytes: lag?.bytes,
    lagMs: lag?.ms,
    takesReads: health === "healthy" && takesReads(node, primary, lag, input),
    isStale: role === "primary" && known !== undefined && known.timeline < (input.timeline ?? 0),
    checkedAgoMs: node.reportedAt === undefined ? undefined : input.now - node.reportedAt,
    problem: isForeign ? `it belongs to database system ${report?.systemId}` : node.problem,
  };
};

const lagOf = (node: ObservedNode, primary: ObservedNode | undefined, input: JudgeInput): Lag | undefined => {
  const own = node.report;
  const first = primary?.report;
  if (own === undefined || first === undefined) return undefined;
  if (own.instance === first.instance) return { bytes: 0n, ms: 0 };
  // A replica of an older timeline has left the primary's log, or has not joined it yet.
  if (!own.inRecovery || own.timeline !== first.timeline) return undefined;
  return input.lagOf(own, node.reportedAt ?? input.now);
};

const takesReads = (
  node: ObservedNode,
  primary: ObservedNode | undefined,
  lag: Lag | undefined,
  { bounds, timeline }: JudgeInput,
): boolean => {
  if (node === primary) return true;
  if (node.report?.inRecovery !== true || node.isHeldBack) return false;
  // Without a primary nobody can say how far behind it is: it serves what it has, and says from which timeline.
  if (primary === undefined) return true;
  if (node.report.timeline !== timeline || node.patroniLag === "unknown") return false;
  if (lag?.ms === undefined) return false;
  return lag.ms <= bounds.lagMaxMs && lag.bytes <= bounds.lagMaxBytes;
};

const conditionOf = (
  nodes: readonly NodeStatus[],
  primary: ObservedNode | undefined,
  split: readonly string[],
): ClusterCondition => {
  const readers = nodes.filter((node) => node.takesReads);
  const takesReads = readers.length > 0;
  if (split.length > 0) {
    return { kind: "split-brain", takesWrites: false, takesReads, nodes: [...new Set(split)].sort() };
  }
  if (primary === undefined) {
    return takesReads
      ? { kind: "no-primary", takesWrites: false, takesReads: true }
      : nodes.some(({ health }) => health === "healthy")
        ? { kind: "no-primary", takesWrites: false, takesReads: false }
        : { kind: "down", takesWrites: false, takesReads: false };
  }
  if (primary.report?.synchronous?.attachedCount === 0) {
    return { kind: "write-blocked", takesWrites: false, takesReads: true };
  }
  const others = nodes.filter(({ name }) => name !== primary.name);
  const replicas = others.filter(({ health, role }) => health === "healthy" && role === "replica");
  if (replicas.length === 0) return { kind: "no-replica", takesWrites: true, takesReads: true };
  const fit = others.filter((node) => node.takesReads);
  if (fit.length === 0 && replicas.some(({ lagBytes }) => lagBytes !== undefined)) {
    return { kind: "replica-lag", takesWrites: true, takesReads: true, nodes: replicas.map(nameOf) };
  }
  const unfit = others.filter((node) => !node.takesReads).map(nameOf);
  return unfit.length === 0
    ? { kind: "healthy", takesWrites: true, takesReads: true }
    : { kind: "degraded", takesWrites: true, takesReads: true, nodes: unfit };
};

/**
 * The replica that would lose least: healthy, on the newest timeline, and of those the one that has received most;
 * by name when they are equal. Undefined when there is none.
 */
export const bestCandidate = (
  nodes: readonly NodeStatus[],
  timeline: number | undefined,
): NodeStatus | undefined => {
  const fit = nodes.filter(
    (node) => node.health === "healthy" && node.role === "replica" && node.timeline === timeline,
  );
  return fit.sort(
    (a, b) =>
      Number((b.receivedLsn ?? 0n) > (a.receivedLsn ?? 0n)) -
        Number((a.receivedLsn ?? 0n) > (b.receivedLsn ?? 0n)) || a.name.localeCompare(b.name),
  )[0];
};
