import type { ReactNode } from "react";

const TONES: Readonly<Record<string, string>> = {
  completed: "good",
  healthy: "good",
  active: "good",
  failed: "bad",
  timeout: "bad",
  unhealthy: "bad",
  offline: "bad",
  cancelled: "warn",
  cancelling: "warn",
  partial: "warn",
  degraded: "warn",
  busy: "warn",
  draining: "warn",
  running: "live",
  dispatching: "live",
  completing: "live",
  assigned: "live",
};

/** A status in words and colour; the colour never says anything that the word does not. */
export const StatusBadge = ({ status }: { readonly status: string }): ReactNode => (
  <span className={`badge ${TONES[status] ?? "idle"}`}>{status}</span>
);
