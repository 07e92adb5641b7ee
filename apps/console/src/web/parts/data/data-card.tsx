import type { ReactNode } from "react";
import type { Part } from "../../../data-view.ts";

/** One part of the data tier: shown, absent with its reason, or failed alone beside the others. */
export const DataCard = <T,>({
  title,
  part,
  aside,
  children,
}: {
  readonly title: string;
  readonly part: Part<T>;
  readonly aside?: string | undefined;
  readonly children: (value: T) => ReactNode;
}): ReactNode => (
  <section className="card">
    <h2>
      {title}
      {aside === undefined ? null : <span className="aside">{aside}</span>}
    </h2>
    {part.kind === "shown" ? (
      children(part.value)
    ) : part.kind === "absent" ? (
      <p className="muted note">{part.why}</p>
    ) : (
      <p className="problem note" role="alert">
        This could not be read: {part.message}
      </p>
    )}
  </section>
);
