import type { LogLine } from "@holdfast/jobs/projection";
import { type ReactNode, useEffect, useRef } from "react";
import { formatClock } from "../format.ts";

/** The newest log lines; stays at the end unless the reader scrolled up. */
export const LogTail = ({ lines }: { readonly lines: readonly LogLine[] }): ReactNode => {
  const list = useRef<HTMLOListElement>(null);
  const followsEnd = useRef(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines are the reason to scroll
  useEffect(() => {
    const element = list.current;
    if (element !== null && followsEnd.current) element.scrollTop = element.scrollHeight;
  }, [lines]);
  if (lines.length === 0)
    return (
      <p className="muted">
        No log lines yet. Workflows write them with <code>ctx.log</code>.
      </p>
    );
  return (
    <ol
      className="log"
      ref={list}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable region must be reachable by keyboard
      tabIndex={0}
      aria-label="Log"
      onScroll={({ currentTarget }) => {
        followsEnd.current =
          currentTarget.scrollHeight - currentTarget.scrollTop - currentTarget.clientHeight < 24;
      }}
    >
      {lines.map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have no identity of their own and are only appended
        <li key={index} className={line.level}>
          <time>{formatClock(line.at)}</time>
          <span className="where">
            {line.worker} #{line.shard}
          </span>
          <span>{line.message}</span>
        </li>
      ))}
    </ol>
  );
};
