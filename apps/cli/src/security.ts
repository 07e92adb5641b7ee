import { timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type Credential, type Transport, tcpTransport, tlsTransport } from "@holdfast/connection";
import { SCOPES, type Scope } from "@holdfast/protocol/contract";
import { isLoopback, splitAddress } from "./addresses.ts";
import { UsageError } from "./terminal/problem.ts";

export interface SecurityFlags {
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly tokens?: string;
  readonly insecure?: boolean;
}

/** What a node needs to listen and to dial safely. */
export interface NodeSecurity {
  readonly transport: Transport;
  readonly authenticate: ((credential: Credential | undefined) => readonly Scope[] | undefined) | undefined;
  /** Shown to other nodes. */
  readonly credential: Credential | undefined;
}

/** The transport of a client: TLS as soon as an authority is named, never a silent fall-back to plain TCP. */
export const readTransport = async (options: { readonly ca: string | undefined }): Promise<Transport> =>
  options.ca === undefined
    ? tcpTransport()
    : tlsTransport({ authorities: await readOrRefuse("--tls-ca", options.ca) });

/**
 * Refuses to listen beyond this machine without TLS and tokens, unless told `--insecure`.
 * @throws UsageError before any port is opened.
 */
export const readNodeSecurity = async (
  flags: SecurityFlags,
  listens: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<NodeSecurity> => {
  const exposed = listens.filter((address) => !isLoopback(splitAddress(address).host));
  const hasTls = flags.tlsCert !== undefined && flags.tlsKey !== undefined;
  if (exposed.length > 0 && !flags.insecure && !(hasTls && flags.tokens !== undefined)) {
    throw new UsageError(
      `${exposed.join(", ")} can be reached from other machines: give --tls-cert, --tls-key and --tokens, or say --insecure`,
    );
  }
  if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined)) {
    throw new UsageError("--tls-cert and --tls-key go together");
  }
  const tokens = flags.tokens === undefined ? undefined : await readTokens(flags.tokens);
  const ca = flags.tlsCa === undefined ? undefined : await readOrRefuse("--tls-ca", flags.tlsCa);
  return {
    transport:
      hasTls || ca !== undefined
        ? tlsTransport({
            ...(flags.tlsCert === undefined
              ? {}
              : { certificate: await readOrRefuse("--tls-cert", flags.tlsCert) }),
            ...(flags.tlsKey === undefined ? {} : { key: await readOrRefuse("--tls-key", flags.tlsKey) }),
            ...(ca === undefined ? {} : { authorities: ca }),
          })
        : tcpTransport(),
    authenticate: tokens === undefined ? undefined : (credential) => scopesOf(tokens, credential),
    credential: env.HOLDFAST_TOKEN === undefined ? undefined : { token: env.HOLDFAST_TOKEN },
  };
};

interface KnownToken {
  readonly token: Buffer;
  readonly scopes: readonly Scope[];
}

/** A tokens file is JSON: `[{ "token": "…", "scopes": ["submit", "read"] }]`. No token is ever shown again. */
const readTokens = async (path: string): Promise<readonly KnownToken[]> => {
  let parsed: unknown;
  try {
    parsed = JSON.parse(await readOrRefuse("--tokens", path));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`--tokens: ${path} is not valid JSON`);
  }
  if (!Array.isArray(parsed) || parsed.length === 0)
    throw new UsageError(`--tokens: ${path} must hold a list of tokens`);
  return parsed.map((given: { token?: unknown; scopes?: unknown } | null, index) => {
    const entry = given ?? {};
    if (typeof entry.token !== "string" || entry.token.length < 16) {
      throw new UsageError(`--tokens: entry ${index} of ${path} needs a token of at least 16 characters`);
    }
    const scopes: unknown[] = Array.isArray(entry.scopes) ? entry.scopes : [];
    if (scopes.length === 0 || scopes.some((scope) => !SCOPES.includes(scope as Scope))) {
      throw new UsageError(`--tokens: entry ${index} of ${path} needs scopes out of ${SCOPES.join(", ")}`);
    }
    return { token: Buffer.from(entry.token), scopes: scopes as Scope[] };
  });
};

const scopesOf = (
  tokens: readonly KnownToken[],
  credential: Credential | undefined,
): readonly Scope[] | undefined => {
  if (credential === undefined) return undefined;
  const given = Buffer.from(credential.token);
  return tokens.find(({ token }) => token.length === given.length && timingSafeEqual(token, given))?.scopes;
};

const readOrRefuse = async (flag: string, path: string): Promise<string> => {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new UsageError(
      `${flag}: cannot read ${path} (${(error as NodeJS.ErrnoException).code ?? "unreadable"})`,
    );
  }
};
