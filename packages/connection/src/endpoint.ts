import type { Abortable, Clock, Logger, Random } from "@holdfast/kernel";
import type { Scope } from "@holdfast/protocol/contract";
import type { Handlers, Peer } from "./peer.ts";
import type { Listener, Transport } from "./transport.ts";

/** What every connection of a node shares. */
export interface EndpointOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly logger?: Logger;
  /** Who we are in the handshake. */
  readonly identity: { readonly nodeId: string; readonly role: string; readonly address?: string };
  /** Features offered beside the built-in ones. */
  readonly features?: readonly string[];
  /** Answers what the other side asks. */
  readonly handlers?: Handlers;
  /** Largest frame in either direction, bytes. Default 8 MiB. */
  readonly frameMaxBytes?: number;
  /** Silence after which a ping is sent; twice that without an answer closes the connection. Default 5_000, at least 100. */
  readonly heartbeatMs?: number;
  /** Offers compression of payloads above `minBytes` (1_024 unless given); used where both sides offer it. Default false: right within a datacenter. */
  readonly compression?: boolean | { readonly minBytes: number };
  /** Most requests in flight in each direction; more are refused with OverloadedError. Default 10_000. */
  readonly requestsMaxCount?: number;
  /** Send buffer above which pushes are dropped and requests refused; at twice this the connection is given up. Default 16 MiB. */
  readonly sendBufferMaxBytes?: number;
}

/** Who may do what. The token is compared in constant time and never logged. */
export interface Credential {
  readonly token: string;
}

/** What a credential allows, and for how long. */
export interface Grant {
  readonly scopes: readonly Scope[];
  /**
   * Milliseconds since the epoch; later requests are refused with AUTHENTICATION_TOKEN_EXPIRED until the other
   * side authenticates again. Default: for as long as the connection lives. NaN refuses the credential.
   */
  readonly expiresAt?: number;
  /** Asked before each request; false refuses it with AUTHENTICATION_INVALID_CREDENTIALS, for example after a logout. Must be fast. */
  readonly isValid?: () => boolean;
}

export interface ServerOptions extends EndpointOptions {
  /** `host:port`. */
  readonly listen: string;
  /**
   * Decides what a connection may do. Undefined refuses it (AUTHENTICATION_FAILED). Default: everything, which
   * is only right on loopback; node start-up enforces that.
   */
  readonly authenticate?: (credential: Credential | undefined) => readonly Scope[] | Grant | undefined;
  /** Called with each new connection. What it throws, or rejects with when it is asynchronous, is logged; the connection goes on. */
  readonly onPeer?: (peer: Peer) => void;
  /** Most open connections; more are refused with CONNECTION_OVERLOADED. Default 10_000. */
  readonly connectionMaxCount?: number;
  /** How long a stranger may take from connecting to ready, milliseconds. Default 5_000. */
  readonly handshakeTimeoutMs?: number;
}

export interface Server extends AsyncDisposable {
  readonly address: string;
  readonly peers: ReadonlySet<Peer>;
  /** Takes no more connections, tells peers to go elsewhere, waits up to `drainMs` for requests in flight, closes. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

/** Opens a port and serves `handlers` on it. */
export type Serve = (options: ServerOptions) => Promise<Server>;

/** Opens one connection and completes the handshake. */
export type Connect = (
  options: EndpointOptions &
    Abortable & { readonly address: string; readonly credential?: Credential; readonly timeoutMs?: number },
) => Promise<Peer>;

export interface ReconnectingOptions extends EndpointOptions {
  /**
   * Tried in turn, starting with the last that worked; one that lost two connections in a row within a second each is
   * passed over. May be changed later by `setAddresses`.
   */
  readonly addresses: readonly string[];
  readonly credential?: Credential;
  /**
   * Called for each new ready connection, before requests that waited for it are sent: re-register, re-follow. Where it
   * fails, the connection is dropped and the next address is tried; where the connection is lost meanwhile, it is
   * not waited for.
   */
  readonly onConnected?: (peer: Peer) => void | Promise<void>;
  /** Called when a ready connection is gone. What it throws, or rejects with when it is asynchronous, is logged. */
  readonly onDisconnected?: (error: Error | undefined) => void;
}

/**
 * A link that comes back by itself: full-jitter backoff between tries and after connections that lasted for less than a
 * second, each address in turn. `peer` waits for
 * a ready connection.
 */
export interface ReconnectingPeer extends AsyncDisposable {
  /** The ready connection now, if there is one. */
  readonly current: Peer | undefined;
  /** Why there is no connection, as far as the last try knows; undefined while there is one. */
  readonly lastError: Error | undefined;
  /** @throws signal.reason when aborted; ClosedError after close. Waits as long as the signal allows. */
  peer(options?: Abortable): Promise<Peer>;
  setAddresses(addresses: readonly string[]): void;
  close(): Promise<void>;
}

export type { Listener };
