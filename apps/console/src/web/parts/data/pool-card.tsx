import type { ReactNode } from "react";
import type { Part, PoolPart, ServerPart } from "../../../data-view.ts";
import { formatCount, formatDuration, formatShare } from "../../format.ts";
import { Fact } from "../fact.tsx";

/** The sessions of this process, and what the server says of all of them. */
export const PoolCard = ({
  pool,
  server,
}: {
  readonly pool: PoolPart;
  readonly server: Part<ServerPart>;
}): ReactNode => {
  const ended = pool.committedCount + pool.rolledBackCount + pool.unknownCount;
  return (
    <section className="card">
      <h2>
        Pool
        <span className="aside">
          {formatCount(pool.busyCount)} busy · {formatCount(pool.idleCount)} idle ·{" "}
          {formatCount(pool.waitingCount)} waiting
        </span>
      </h2>
      <Sessions pool={pool} />
      <dl className="facts">
        <Fact label="Statements" value={formatCount(pool.statementCount)} />
        <Fact label="Failed" value={formatCount(pool.statementFailedCount)} />
        <Fact label="Transactions" value={formatCount(ended)} />
        <Fact label="Rolled back" value={formatCount(pool.rolledBackCount)} />
        <Fact
          label="Outcome unknown"
          value={formatCount(pool.unknownCount)}
          isWrong={pool.unknownCount > 0}
        />
        <Fact label="Waited in all" value={formatDuration(pool.acquireWaitTotalMs)} />
        <Fact
          label="Gave up waiting"
          value={formatCount(pool.acquireTimeoutCount)}
          isWrong={pool.acquireTimeoutCount > 0}
        />
        <Fact label="Sessions opened" value={formatCount(pool.sessionOpenedCount)} />
        <Fact label="Broken or read-only" value={formatCount(pool.brokenCount)} />
      </dl>
      {server.kind === "failed" ? (
        <p className="problem" role="alert">
          The server does not answer: {server.message}
        </p>
      ) : null}
      {server.kind === "shown" ? <Server server={server.value} /> : null}
    </section>
  );
};

const Sessions = ({ pool }: { readonly pool: PoolPart }): ReactNode => {
  const share = (count: number): string =>
    `${Math.min(100, (100 * count) / Math.max(1, pool.sessionMaxCount))}%`;
  return (
    <div
      className="meter"
      role="img"
      aria-label={`${pool.busyCount} of ${pool.sessionMaxCount} sessions busy, ${pool.idleCount} idle`}
    >
      <span className="busy" style={{ width: share(pool.busyCount) }} />
      <span className="idle" style={{ width: share(pool.idleCount) }} />
    </div>
  );
};

const Server = ({ server }: { readonly server: ServerPart }): ReactNode => {
  const extensions = Object.entries(server.extensions)
    .filter(([name]) => name !== "plpgsql")
    .map(([name, version]) => `${name} ${version}`);
  return (
    <dl className="facts">
      <Fact label="Database" value={`${server.database} as ${server.user}`} />
      <Fact label="Encrypted" value={server.tls ?? "no"} />
      <Fact
        label="All sessions of the server"
        value={`${formatCount(server.connectionCount)} / ${formatCount(server.connectionMaxCount)}`}
      />
      <Fact
        label="Pages found in memory"
        value={server.pageHitRate === null ? "–" : formatShare(server.pageHitRate)}
      />
      <Fact label="Runs since" value={new Date(server.startedAt).toLocaleString("en-GB")} />
      <Fact label="Extensions" value={extensions.length === 0 ? "none" : extensions.join(", ")} />
    </dl>
  );
};
