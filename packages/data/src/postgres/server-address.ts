import { readFile } from "node:fs/promises";
import type { ConnectionOptions } from "node:tls";
import { InvalidInputError } from "@holdfast/kernel";

/** Where a server is and who we are there. */
export interface ServerAddress {
  /** A host name or address, or the directory of a Unix socket (begins with "/"). */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  /** Never shown in a message. */
  readonly password: string | undefined;
  readonly tls: ConnectionOptions | undefined;
  readonly applicationName: string | undefined;
}

/** `host:port/database`, for messages. */
export const describeServer = ({ host, port, database }: ServerAddress): string =>
  `${host}:${port}/${database}`;

/** What may stand behind the question mark. Others are refused, so that a misspelt one is not ignored. */
const PARAMETERS = ["sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "host"];

/**
 * Reads `postgres://user:password@host:port/database?sslmode=…`, as libpq understands it. Missing parts: host
 * 127.0.0.1, port 5432, user postgres, database the user's name. `sslmode` is disable (default), require
 * (encrypted, the server is not identified), verify-ca or verify-full; `sslrootcert`, `sslcert` and `sslkey` name
 * files. The forms of libpq that quietly go without encryption (allow, prefer) are refused.
 *
 * @throws InvalidInputError naming the part, never showing the password.
 */
export const parseServerUrl = async (text: string): Promise<ServerAddress> => {
  const url = parseUrl(text);
  if (url.protocol !== "postgres:" && url.protocol !== "postgresql:") {
    throw new InvalidInputError("url", url.protocol, "a URL that begins with postgres:// or postgresql://");
  }
  for (const name of url.searchParams.keys()) {
    if (!PARAMETERS.includes(name)) {
      throw new InvalidInputError("url", name, `given only these parameters: ${PARAMETERS.join(", ")}`);
    }
  }
  const user = decode("user", url.username) || "postgres";
  return {
    host: url.searchParams.get("host") ?? (url.hostname.replace(/^\[(.*)\]$/, "$1") || "127.0.0.1"),
    port: url.port === "" ? 5432 : Number(url.port),
    database: decode("database", url.pathname.slice(1)) || user,
    user,
    password: decode("password", url.password) || undefined,
    tls: await tlsOptions(url.searchParams),
    applicationName: url.searchParams.get("application_name") ?? undefined,
  };
};

const parseUrl = (text: string): URL => {
  try {
    return new URL(text);
  } catch {
    // The parser's error quotes the whole text, password included, so it is not passed on.
    throw new InvalidInputError("url", "(hidden)", "of the form postgres://user:password@host:port/database");
  }
};

const decode = (part: string, text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new InvalidInputError(`url.${part}`, "(hidden)", "percent-encoded, for example %40 for @");
  }
};

const tlsOptions = async (parameters: URLSearchParams): Promise<ConnectionOptions | undefined> => {
  const mode = parameters.get("sslmode") ?? "disable";
  if (mode === "disable") return undefined;
  if (mode !== "require" && mode !== "verify-ca" && mode !== "verify-full") {
    throw new InvalidInputError("url.sslmode", mode, "disable, require, verify-ca or verify-full");
  }
  const [ca, cert, key] = await Promise.all(
    ["sslrootcert", "sslcert", "sslkey"].map((name) => readOptional(name, parameters.get(name))),
  );
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    rejectUnauthorized: mode !== "require",
    ...(mode === "verify-ca" ? { checkServerIdentity: () => undefined } : {}),
  };
};

const readOptional = async (name: string, file: string | null): Promise<string | undefined> => {
  if (file === null) return undefined;
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new InvalidInputError(`url.${name}`, file, "a readable file", { cause });
  }
};
