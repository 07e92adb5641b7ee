import { TERMINAL_STATUSES } from "@holdfast/jobs";
import type { JobStatus } from "@holdfast/protocol/contract";

export const isTerminal = (status: JobStatus): boolean =>
  (TERMINAL_STATUSES as readonly JobStatus[]).includes(status);
