import { InvalidInputError } from "@holdfast/kernel";
import { formatLsn, parseLsn } from "../cluster/log-position.ts";

/** Where a session stands. */
export interface SessionPosition {
  readonly systemId: string;
  readonly timeline: number;
  /** A replica that has replayed this has all that the session has seen. */
  readonly lsn: bigint;
  /**
   * A failover that keeps this loses nothing that the session has seen: smaller than `lsn` where a synchronous replica
   * confirms commits, because the log also holds what nobody was told of yet.
   */
  readonly durable: bigint;
}

const TOKEN = /^(\d{1,20}):(\d{1,10}):([0-9A-F]+\/[0-9A-F]+):([0-9A-F]+\/[0-9A-F]+)$/;

/** `system:timeline:position:durable position`. */
export const formatToken = ({ systemId, timeline, lsn, durable }: SessionPosition): string =>
  `${systemId}:${timeline}:${formatLsn(lsn)}:${formatLsn(durable)}`;

/** @throws InvalidInputError unless `formatToken` made it. */
export const parseToken = (token: string): SessionPosition => {
  const match = TOKEN.exec(token);
  if (match === null) throw new InvalidInputError("token", token, "a token that a session gave");
  return {
    systemId: match[1] ?? "",
    timeline: Number(match[2]),
    lsn: parseLsn(match[3] ?? "", "token"),
    durable: parseLsn(match[4] ?? "", "token"),
  };
};
