import { ShardServerUnsupportedError } from "./shard-errors.ts";

/** Which PostgreSQL each line of Citus works with, by its release notes. The newest first. */
const MATRIX: readonly {
  readonly from: readonly [number, number, number];
  readonly postgres: readonly [number, number];
}[] = [
  { from: [14, 0, 0], postgres: [16, 18] },
  { from: [13, 0, 1], postgres: [15, 17] },
  { from: [13, 0, 0], postgres: [14, 17] },
  { from: [12, 1, 0], postgres: [14, 16] },
  { from: [12, 0, 0], postgres: [14, 15] },
  { from: [11, 1, 0], postgres: [13, 15] },
];

/**
 * @param citus For example "13.2.2" or "13.2-1".
 * @param postgresMajor For example 15.
 * @throws ShardServerUnsupportedError naming a version that would do.
 */
export const checkCitusVersion = (citus: string, postgresMajor: number): void => {
  const [major = 0, minor = 0, patch = 0] = citus.split(/[.-]/).map(Number);
  const value = (version: readonly [number, number, number]): number =>
    (version[0] * 1_000 + version[1]) * 1_000 + version[2];
  const line = MATRIX.find(({ from }) => value([major, minor, patch]) >= value(from));
  const fitting = MATRIX.find(({ postgres: [low, high] }) => postgresMajor >= low && postgresMajor <= high);
  const advice =
    fitting === undefined
      ? "no version of Citus that we know does"
      : `use Citus ${fitting.from.join(".")} or newer of that line`;
  if (line === undefined)
    throw new ShardServerUnsupportedError(
      `Citus ${citus} is older than 11.1; for PostgreSQL ${postgresMajor} ${advice}`,
    );
  const [low, high] = line.postgres;
  // A newer line than we know may support a newer PostgreSQL.
  const isUnknown = line === MATRIX[0] && major > line.from[0];
  if (postgresMajor < low || (postgresMajor > high && !isUnknown)) {
    throw new ShardServerUnsupportedError(
      `Citus ${citus} supports PostgreSQL ${low} to ${high}, the server is ${postgresMajor}: ${advice}`,
    );
  }
};
