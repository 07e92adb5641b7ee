import { encodeValue, FRAME_MAX_BYTES } from "@holdfast/protocol";
import type { Assignment } from "@holdfast/protocol/contract";

/** What names, ids, the leader and the frame around an assignment may take; they take some 10 KiB at most. */
const ENVELOPE_BYTES = 512 * 1024;

/**
 * The input of a workflow and what it gets of its dependencies, as they are sent: 7.5 MiB, so that one assignment
 * always fits a frame of 8 MiB.
 */
export const ASSIGNMENT_MAX_BYTES = FRAME_MAX_BYTES - ENVELOPE_BYTES;

/** Bytes of a value as it is sent, before compression. */
export const sentBytes = (value: unknown): number => encodeValue(value).length;

/** Shard, attempt and the ends of the task's id and token: all in which assignments of one workflow differ. */
const DIFFERENCE_MAX_BYTES = 64;

/**
 * Measures the assignments of one claim. `group` is the task's: of each only one assignment is encoded, since
 * hundreds may carry the same megabytes.
 */
export const assignmentSizes = (): ((assignment: Assignment, group: string | undefined) => number) => {
  const known = new Map<string, number>();
  return (assignment, group = assignment.taskId) => {
    const bytes = known.get(group) ?? sentBytes(assignment) + DIFFERENCE_MAX_BYTES;
    known.set(group, bytes);
    return bytes;
  };
};
