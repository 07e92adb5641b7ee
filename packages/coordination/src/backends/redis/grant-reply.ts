import type { Json } from "../../json.ts";
import type { GrantOptions, GrantOutcome, LeaseInfo } from "../../lease/leases.ts";

/** The token, or of the holder: owner, token, remaining ms, metadata, and the store's time in µs. */
export type GrantReply = string | readonly string[];

export const toOutcome = (
  reply: GrantReply,
  name: string,
  { owner, ttlMs }: Pick<GrantOptions, "owner" | "ttlMs">,
): GrantOutcome =>
  typeof reply === "string"
    ? { kind: "granted", grant: { name, owner, token: BigInt(reply), ttlMs } }
    : { kind: "held", holder: toInfo(name, reply) };

export const toInfo = (
  name: string,
  [owner = "", token = "0", remaining = "0", metadata = "null"]: readonly string[],
): LeaseInfo => ({
  name,
  owner,
  token: BigInt(token),
  remainingMs: Math.max(0, Number(remaining)),
  metadata: JSON.parse(metadata) as Json,
});
