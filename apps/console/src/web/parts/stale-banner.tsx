import type { ReactNode } from "react";
import { formatAge, formatClock, formatSentence } from "../format.ts";
import { useNow } from "../use-live.ts";
import { type StateName, useStale } from "../use-snapshot.ts";

const WHAT_IS_AWAY: Readonly<Record<StateName, string>> = {
  cluster: "The state of the cluster cannot be read now",
  jobs: "The list of jobs cannot be read now",
  data: "The data tier cannot be looked at now",
};

/** Says since when what the page shows is old, what is away, and what happens next; nothing while all is live. */
export const StaleBanner = (): ReactNode => {
  const stale = useStale();
  const now = useNow(1_000, stale.length > 0);
  if (stale.length === 0) return null;
  return (
    <output className="banner warning stale">
      {stale.map(({ name, seenAt, message }) => (
        <span key={name}>
          <strong>
            As of {formatClock(seenAt)}, {formatAge(now - seenAt)}.
          </strong>{" "}
          {WHAT_IS_AWAY[name]}: {formatSentence(message)}
        </span>
      ))}
      <span>It is asked again by itself, and the page goes on with the answer.</span>
    </output>
  );
};
