import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";
import { allowsOrigin } from "@holdfast/live/server";

/** Whose pages may use the console through the browser of whoever visits them. */
export interface OwnPages {
  /** Origins beside the console's own, exactly as browsers send them. */
  readonly allowedOrigins: readonly string[];
  /** Whether only names of this machine count: where no token is asked for, the name is all that tells pages apart. */
  readonly onlyLocalNames: boolean;
}

/**
 * Whether the console was asked for under a name of its own. Whoever owns any other name can make it lead here after
 * their page was loaded, and that page then counts as one of ours: its Origin is what the browser asks for.
 */
export const isOwnName = (
  host: string | undefined,
  { allowedOrigins, onlyLocalNames }: OwnPages,
): boolean => {
  // Browsers always send one.
  if (!onlyLocalNames || host === undefined) return true;
  const name = host.replace(/:\d*$/, "").toLowerCase();
  return (
    name === "localhost" ||
    name.endsWith(".localhost") ||
    isIP(name.replace(/^\[|\]$/g, "")) !== 0 ||
    allowedOrigins.some((origin) => origin === `http://${host}` || origin === `https://${host}`)
  );
};

/** Whether a request that changes something may be carried out: browsers send some without asking first. */
export const mayChange = (headers: IncomingHttpHeaders, { allowedOrigins }: OwnPages): boolean =>
  allowsOrigin(headers, { origins: allowedOrigins, sameOrigin: true, missingOrigin: "allow" });
