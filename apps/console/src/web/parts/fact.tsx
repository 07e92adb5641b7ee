import type { ReactNode } from "react";

/** A small figure with its name, several in a row. */
export const Fact = ({
  label,
  value,
  isWrong = false,
}: {
  readonly label: string;
  readonly value: string;
  readonly isWrong?: boolean;
}): ReactNode => (
  <div>
    <dt>{label}</dt>
    <dd className={isWrong ? "wrong" : undefined}>{value}</dd>
  </div>
);
