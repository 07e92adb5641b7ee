import { PatroniAnswerError } from "./cluster-errors.ts";
import type { TimelineSwitch } from "./timeline-history.ts";

/** Roles of `/cluster`, in the words of Patroni 2 to 4. */
export type PatroniRole = "leader" | "standby_leader" | "sync_standby" | "quorum_standby" | "replica";

export interface PatroniMember {
  readonly name: string;
  readonly role: PatroniRole;
  /** `running`, `streaming`, `in archive recovery`, `starting`, `stopped` … */
  readonly state: string;
  /** Undefined for a member that has not said yet where its PostgreSQL listens. */
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly apiUrl: string | undefined;
  readonly timeline: number | undefined;
  /** Bytes behind the position that the leader published last; undefined when Patroni does not know. */
  readonly lagBytes: bigint | undefined;
  readonly tags: Readonly<Record<string, unknown>>;
  readonly pendingRestart: boolean;
}

export interface PatroniCluster {
  readonly members: readonly PatroniMember[];
  /** Automatic failover is switched off. */
  readonly isPaused: boolean;
  readonly scheduledSwitchover:
    | { readonly at: string; readonly from: string | undefined; readonly to: string | undefined }
    | undefined;
}

const ROLES: readonly PatroniRole[] = [
  "leader",
  "standby_leader",
  "sync_standby",
  "quorum_standby",
  "replica",
];

type Fields = Readonly<Record<string, unknown>>;

const fieldsOf = (value: unknown, what: string, server: string): Fields => {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw new PatroniAnswerError(server, `${what} is not an object`);
};

const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;

const countOf = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;

const portOf = (value: unknown): number | undefined => {
  const port = countOf(value);
  return port !== undefined && port >= 1 && port <= 65_535 ? port : undefined;
};

/** Patroni 4 gives `replay_lag` as well, which says more than `lag`. */
const lagOf = (member: Fields): bigint | undefined => {
  const lag = countOf(member["replay_lag"]) ?? countOf(member["lag"]);
  return lag === undefined ? undefined : BigInt(lag);
};

const memberOf = (value: unknown, server: string): PatroniMember => {
  const member = fieldsOf(value, "a member", server);
  const name = textOf(member["name"]);
  if (name === undefined) throw new PatroniAnswerError(server, "a member has no name");
  const role = ROLES.find((each) => each === member["role"]);
  if (role === undefined) {
    throw new PatroniAnswerError(
      server,
      `member ${name} has the unknown role ${JSON.stringify(member["role"])}`,
    );
  }
  return {
    name,
    role,
    state: textOf(member["state"]) ?? "unknown",
    host: textOf(member["host"]),
    port: portOf(member["port"]),
    apiUrl: textOf(member["api_url"]),
    timeline: countOf(member["timeline"]),
    lagBytes: role === "leader" || role === "standby_leader" ? 0n : lagOf(member),
    tags: typeof member["tags"] === "object" && member["tags"] !== null ? (member["tags"] as Fields) : {},
    pendingRestart: member["pending_restart"] === true,
  };
};

/** Reads the answer to `GET /cluster`. @throws PatroniAnswerError naming what is wrong with it. */
export const readCluster = (document: unknown, server: string): PatroniCluster => {
  const cluster = fieldsOf(document, "the document", server);
  const members = cluster["members"];
  if (!Array.isArray(members)) throw new PatroniAnswerError(server, "it has no list of members");
  const scheduled = cluster["scheduled_switchover"];
  const read = members.map((member) => memberOf(member, server));
  const names = new Set(read.map(({ name }) => name));
  if (names.size < read.length) throw new PatroniAnswerError(server, "two members have the same name");
  return {
    members: read,
    isPaused: cluster["pause"] === true,
    scheduledSwitchover: scheduled === undefined ? undefined : scheduleOf(scheduled, server),
  };
};

const scheduleOf = (value: unknown, server: string): PatroniCluster["scheduledSwitchover"] => {
  const scheduled = fieldsOf(value, "the scheduled switchover", server);
  return {
    at: textOf(scheduled["at"]) ?? "",
    from: textOf(scheduled["from"]),
    to: textOf(scheduled["to"]),
  };
};

/** Reads the answer to `GET /history`: lists of timeline, position, reason and, from Patroni 1.6, time and leader. */
export const readHistory = (document: unknown, server: string): readonly TimelineSwitch[] => {
  if (!Array.isArray(document)) throw new PatroniAnswerError(server, "the history is not a list");
  return document
    .map((line): TimelineSwitch => {
      const [timeline, lsn, reason, at, leader] = Array.isArray(line) ? line : [];
      const number = countOf(timeline);
      const fork = countOf(lsn);
      if (number === undefined || fork === undefined) {
        throw new PatroniAnswerError(server, `${JSON.stringify(line)} is no line of a history`);
      }
      const instant = typeof at === "string" ? Date.parse(at) : Number.NaN;
      return {
        timeline: number,
        forkLsn: BigInt(fork),
        reason: textOf(reason) ?? "",
        at: Number.isNaN(instant) ? undefined : instant,
        leader: textOf(leader),
      };
    })
    .sort((a, b) => a.timeline - b.timeline);
};

/** What the leaders' names over several answers say. */
export const leadersOf = (answers: readonly PatroniCluster[]): readonly PatroniMember[] => {
  const byName = new Map<string, PatroniMember>();
  for (const { members } of answers) {
    for (const member of members) {
      const isLeader = member.role === "leader" || member.role === "standby_leader";
      if (isLeader && (member.timeline ?? 0) >= (byName.get(member.name)?.timeline ?? 0)) {
        byName.set(member.name, member);
      }
    }
  }
  return [...byName.values()];
};
