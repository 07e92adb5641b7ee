import { type Database, openCluster, openPostgres } from "@holdfast/data";
import { type Clock, type Logger, systemRandom } from "@holdfast/kernel";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";

export interface NodeDatabaseFlags {
  readonly database?: string;
  readonly patroni?: string[];
}

/** Where Patroni is, by flag or by environment; none: the database is one server, or hosts that are listed. */
const patroniOf = (session: Session, { patroni }: NodeDatabaseFlags): readonly string[] =>
  patroni ??
  (session.env.HOLDFAST_PATRONI ?? "")
    .split(",")
    .map((url) => url.trim())
    .filter((url) => url !== "");

/** A list of hosts in a URL, as libpq has it. */
const namesSeveralHosts = (url: string): boolean => /^[^/]*\/\/(?:[^@/]*@)?[^/?]*,/.test(url);

/**
 * Opens what a node keeps its jobs in: one server, or a cluster that is followed through its failovers when Patroni or
 * several hosts are named.
 * @throws UsageError without an address.
 */
export const openNodeDatabase = async (
  session: Session,
  flags: NodeDatabaseFlags,
  options: { readonly application: string; readonly clock: Clock; readonly logger: Logger },
): Promise<Database> => {
  const url = flags.database ?? session.env.HOLDFAST_DATABASE;
  if (url === undefined)
    throw new UsageError("--database is needed: a PostgreSQL 15 or newer (or set HOLDFAST_DATABASE)");
  const { application, clock, logger } = options;
  const shared = { url, applicationName: `holdfast ${application}`, clock, random: systemRandom, logger };
  const urls = patroniOf(session, flags);
  if (urls.length === 0 && !namesSeveralHosts(url)) return openPostgres(shared);
  return openCluster({
    ...shared,
    discovery: urls.length === 0 ? { kind: "hosts" } : { kind: "patroni", urls },
    signal: session.signal,
  });
};
