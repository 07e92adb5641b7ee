import type { Abortable, Logger } from "@holdfast/kernel";
import { type Json, parseJson } from "../json.ts";
import type { TaskFailure, TaskQueue, TaskRef } from "./task-queue.ts";

/** Stored JSON, or the text itself where it cannot be read: for who looks at a damaged task. */
export const jsonOrText = (text: string): Json => {
  const json = parseJson(text);
  return json === undefined ? text : json;
};

/**
 * How a claim ends whose task cannot be read.
 * @throws `error` when it is about something else.
 */
export const damagedTask = ({ id, token }: TaskRef, error: unknown): TaskFailure => {
  if (!(error instanceof SyntaxError)) throw error;
  return { id, token, retry: false, error: { code: "DAMAGED", message: error.message } };
};

/** What cannot be read would be claimed again and again; in dead letter somebody can look at it. */
export const buryDamaged = async <Tx>(
  queue: TaskQueue<Tx>,
  damaged: readonly TaskFailure[],
  { logger, ...options }: Abortable & { readonly logger: Logger; readonly tx?: Tx },
): Promise<void> => {
  if (damaged.length === 0) return;
  const taskIds = damaged.map(({ id }) => id);
  logger.error({ queue: queue.name, taskIds }, "found damaged tasks; they are in dead letter now");
  await queue.fail(damaged, options);
};
