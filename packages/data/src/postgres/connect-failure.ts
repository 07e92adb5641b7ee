import type { HoldfastError } from "@holdfast/kernel";
import pg from "pg";
import { AuthenticationError, ConnectError } from "../errors.ts";
import { describeServer, type ServerAddress } from "./server-address.ts";

const NETWORK_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there: is the server running, and is this its port?",
  ENOTFOUND: "the host name is unknown",
  EAI_AGAIN: "the host name could not be looked up",
  ENOENT: "there is no such socket: is the server running?",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
  ECONNRESET: "the connection was closed while it was being set up",
  ETIMEDOUT: "the host does not answer",
};

/** The typed error for a connection that could not be opened. */
export const fromConnectFailure = (error: unknown, address: ServerAddress): HoldfastError => {
  const server = describeServer(address);
  const init = { cause: error };
  if (error instanceof pg.DatabaseError) {
    const sqlState = error.code ?? "";
    if (sqlState.startsWith("28")) return new AuthenticationError(server, address.user, init);
    if (sqlState === "3D000") {
      return new ConnectError(server, `there is no database ${address.database}`, {
        ...init,
        retryable: false,
      });
    }
    return new ConnectError(server, `${error.message} (SQLSTATE ${sqlState})`, init);
  }
  const code = error instanceof Error && "code" in error ? String(error.code) : undefined;
  // The server asks for a password and the driver, having none, fails without any code; so does a connection that
  // breaks while it is set up, which is another matter.
  const asksForPassword = error instanceof Error && /password/i.test(error.message);
  if (code === undefined && address.password === undefined && asksForPassword) {
    return new AuthenticationError(server, address.user, init);
  }
  const reason = NETWORK_REASONS[code ?? ""] ?? (error instanceof Error ? error.message : String(error));
  return new ConnectError(server, reason, init);
};
