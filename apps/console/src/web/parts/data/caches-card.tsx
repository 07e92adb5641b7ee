import type { ReactNode } from "react";
import type { CachePart, CachesPart, Part } from "../../../data-view.ts";
import { formatCount, formatShare } from "../../format.ts";
import { StatusBadge } from "../status-badge.tsx";
import { Table } from "../table.tsx";
import { DataCard } from "./data-card.tsx";

/** Every cache that lives in the named Redis, whatever process it is in. */
export const CachesCard = ({ caches }: { readonly caches: Part<CachesPart> }): ReactNode => (
  <DataCard title="Caches" part={caches} aside={serverOf(caches)}>
    {({ server, caches: found }) => (
      <>
        {(server?.warnings ?? []).map((warning) => (
          <p className="warning" key={warning}>
            {warning}
          </p>
        ))}
        {found.length === 0 ? (
          <p className="muted note">No cache has reported within the last 20 s.</p>
        ) : (
          <Table
            columns={[
              "Cache",
              "Hits",
              ...COUNTS.map(({ title }) => ({ number: title })),
              "Shared store",
              "Process",
            ]}
          >
            {found.map((cache) => (
              <CacheRow key={`${cache.cache} ${cache.instance}`} cache={cache} />
            ))}
          </Table>
        )}
      </>
    )}
  </DataCard>
);

const serverOf = (caches: Part<CachesPart>): string | undefined => {
  const server = caches.kind === "shown" ? caches.value.server : null;
  return server === null ? undefined : `Redis ${server.version}, ${server.mode}, ${server.evictionPolicy}`;
};

const COUNTS: readonly {
  readonly title: string;
  readonly of: (cache: CachePart) => number;
  readonly isWrong?: boolean;
}[] = [
  { title: "Reads", of: ({ readCount }) => readCount },
  { title: "Own copy", of: ({ nearHitCount }) => nearHitCount },
  { title: "Shared", of: ({ sharedHitCount }) => sharedHitCount },
  { title: "Stale", of: ({ staleHitCount }) => staleHitCount },
  { title: "Missed", of: ({ missCount, bypassCount }) => missCount + bypassCount },
  { title: "Refused fills", of: ({ fillRefusedCount }) => fillRefusedCount },
  { title: "Wrong", of: ({ inconsistentCount }) => inconsistentCount, isWrong: true },
];

const CacheRow = ({ cache }: { readonly cache: CachePart }): ReactNode => (
  <tr>
    <td>{cache.cache}</td>
    <td>
      {cache.readCount === 0 ? (
        <span className="muted">not read yet</span>
      ) : (
        <span className="rate">
          <span className="meter" aria-hidden="true">
            <span className="good" style={{ width: `${100 * cache.hitRate}%` }} />
          </span>
          {formatShare(cache.hitRate)}
        </span>
      )}
    </td>
    {COUNTS.map(({ title, of, isWrong = false }) => (
      <td key={title} className={isWrong && of(cache) > 0 ? "number wrong" : "number"}>
        {formatCount(of(cache))}
      </td>
    ))}
    <td>
      <StatusBadge status={STORE[cache.breaker] ?? cache.breaker} />
    </td>
    <td className="mono">{cache.instance.split(":").slice(0, 2).join(":")}</td>
  </tr>
);

/** The breaker's state in words of what it means. */
const STORE: Readonly<Record<string, string>> = {
  closed: "reached",
  open: "bypassed",
  "half-open": "tried again",
};
