import type { ReactNode } from "react";

export const ProgressBar = ({
  fraction,
  tone,
  label,
}: {
  /** 0 to 1; undefined when it cannot be told. */
  readonly fraction: number | undefined;
  readonly tone: "live" | "good" | "bad" | "warn" | "idle";
  readonly label: string;
}): ReactNode => {
  const percent = fraction === undefined ? undefined : Math.floor(fraction * 100);
  return (
    <div
      className={`progress ${tone} ${percent === undefined ? "unknown" : ""}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
    >
      <span style={{ width: `${percent ?? 100}%` }} />
    </div>
  );
};
