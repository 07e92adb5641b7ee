import { type LogPosition, parseLsn } from "./log-position.ts";

/** A promotion: the log of `timeline` ended at `forkLsn`, and the next timeline began there. */
export interface TimelineSwitch {
  /** The timeline that was left. */
  readonly timeline: number;
  readonly forkLsn: bigint;
  readonly reason: string;
  /** Milliseconds since the epoch, by the promoting server's clock; undefined where it is not recorded. */
  readonly at: number | undefined;
  /** The node that was promoted; undefined where it is not recorded. */
  readonly leader: string | undefined;
}

/** What became of a position of an older timeline. */
export type Continuity = "kept" | "lost" | "unknown";

/**
 * Whether the log up to `position` is part of `timeline`.
 * @param position `lsn` must be the end of what matters: anything up to and including it counts.
 */
export const continuityOf = (
  history: readonly TimelineSwitch[],
  position: LogPosition,
  timeline: number,
): Continuity => {
  if (position.timeline === timeline) return "kept";
  // A timeline that we have not heard of yet cannot be judged from an older one.
  if (position.timeline > timeline) return "unknown";
  const left = history.find((each) => each.timeline === position.timeline);
  if (left === undefined) return "unknown";
  return position.lsn <= left.forkLsn ? "kept" : "lost";
};

/**
 * Reads a timeline history file of PostgreSQL: lines of timeline, fork position and reason, oldest first. Lines of
 * another form are left out, as PostgreSQL itself takes them for comments.
 */
export const parseHistoryFile = (text: string): readonly TimelineSwitch[] =>
  text.split("\n").flatMap((line) => {
    const match = /^\s*(\d+)\s+([0-9A-F]+\/[0-9A-F]+)\s*(.*)$/i.exec(line);
    if (match === null) return [];
    return [
      {
        timeline: Number(match[1]),
        forkLsn: parseLsn(match[2] ?? ""),
        reason: (match[3] ?? "").trim(),
        at: undefined,
        leader: undefined,
      },
    ];
  });

/** `a` and `b` together, oldest first, each timeline once; what `b` knows beyond `a` (time, leader) is kept. */
export const mergeHistories = (
  a: readonly TimelineSwitch[],
  b: readonly TimelineSwitch[],
): readonly TimelineSwitch[] => {
  const byTimeline = new Map(a.map((each) => [each.timeline, each]));
  for (const each of b) {
    const known = byTimeline.get(each.timeline);
    byTimeline.set(
      each.timeline,
      known === undefined ? each : { ...known, at: known.at ?? each.at, leader: known.leader ?? each.leader },
    );
  }
  return [...byTimeline.values()].sort((x, y) => x.timeline - y.timeline);
};
