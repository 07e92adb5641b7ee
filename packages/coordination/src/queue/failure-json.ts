import { toWireError } from "@holdfast/kernel";
import type { Json } from "../json.ts";

/** What a handler threw, as a task's history keeps it. */
export const failureJson = (error: unknown): Json => {
  const { code, message, retryable, details } = toWireError(error);
  try {
    return JSON.parse(
      JSON.stringify({ code, message, retryable, ...(details === undefined ? {} : { details }) }),
    );
  } catch {
    return { code, message, retryable };
  }
};
