import type { ReactNode } from "react";

const TONES: Readonly<Record<string, string>> = {
  completed: "good",
  healthy: "good",
  active: "good",
  streaming: "good",
  "streaming, sync": "good",
  "streaming, quorum": "good",
  "streaming, async": "good",
  "streaming, potential": "good",
  reached: "good",
  failed: "bad",
  timeout: "bad",
  unhealthy: "bad",
  offline: "bad",
  down: "bad",
  foreign: "bad",
  "no-primary": "bad",
  "split-brain": "bad",
  "write-blocked": "bad",
  bypassed: "bad",
  cancelled: "warn",
  cancelling: "warn",
  partial: "warn",
  degraded: "warn",
  "replica-lag": "warn",
  "no-replica": "warn",
  "read-only": "warn",
  "tried again": "warn",
  busy: "warn",
  draining: "warn",
  running: "live",
  "switching-over": "live",
  dispatching: "live",
  completing: "live",
  assigned: "live",
};

/** A status in words and colour; the colour never says anything that the word does not. */
export const StatusBadge = ({ status }: { readonly status: string }): ReactNode => (
  <span className={`badge ${TONES[status] ?? "idle"}`}>{status}</span>
);
