import type { ReactNode } from "react";
import type { Part } from "../../../data-view.ts";
import { formatClock, formatSentence } from "../../format.ts";

/** One part of the data tier: shown, absent with its reason, or failed alone beside the others, with what it was before. */
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
      <>
        <p className="problem note" role="alert">
          This cannot be read now: {formatSentence(part.message)}
          {part.last === null ? null : ` What follows is as of ${formatClock(part.last.seenAt)}.`}
        </p>
        {part.last === null ? null : <div className="old">{children(part.last.value)}</div>}
      </>
    )}
  </section>
);
