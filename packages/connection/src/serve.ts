import { InvalidInputError, isHoldfastError } from "@holdfast/kernel";
import { SCOPES } from "@holdfast/protocol/contract";
import type { Credential, Grant, Serve, Server, ServerOptions } from "./endpoint.ts";
import { ConnectionOverloadedError, ConnectionTimeoutError } from "./errors.ts";
import { acceptHandshake, refuse } from "./link/handshake.ts";
import { type EndpointSettings, settingsOf, whole } from "./link/settings.ts";
import type { WirePeer } from "./link/wire-peer.ts";
import type { Peer } from "./peer.ts";
import type { Link, Listener } from "./transport.ts";

const CONNECTIONS_MAX_COUNT = 10_000;
const HANDSHAKE_TIMEOUT_MS = 5_000;
/** How long `close` waits for requests in flight when it is not told. */
const DRAIN_MS = 5_000;

/**
 * Opens a port and serves `handlers` on it.
 * @throws InvalidInputError before anything is opened; AddressInUseError, NetworkError.
 */
export const serve: Serve = async (options) => {
  const server = new PeerServer(options);
  await server.listen();
  return server;
};

class PeerServer implements Server {
  readonly peers = new Set<Peer>();
  readonly #options: ServerOptions;
  readonly #settings: EndpointSettings;
  readonly #connectionMaxCount: number;
  readonly #handshakeTimeoutMs: number;
  /** Links whose handshake is under way. */
  readonly #strangers = new Set<Link>();
  readonly #wirePeers = new Set<WirePeer>();
  #listener: Listener | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#settings = settingsOf(options);
    this.#connectionMaxCount = whole(
      "connectionMaxCount",
      options.connectionMaxCount ?? CONNECTIONS_MAX_COUNT,
      {
        min: 1,
      },
    );
    this.#handshakeTimeoutMs = whole(
      "handshakeTimeoutMs",
      options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      {
        min: 1,
      },
    );
  }

  get address(): string {
    return this.#listener?.address ?? this.#options.listen;
  }

  async listen(): Promise<void> {
    this.#listener = await this.#options.transport.listen(this.#options.listen, (link) => this.#accept(link));
  }

  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.drainMs ?? DRAIN_MS);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(drainMs: number): Promise<void> {
    await this.#listener?.close();
    for (const link of [...this.#strangers]) link.destroy();
    await Promise.all([...this.#wirePeers].map((peer) => peer.drain({ drainMs })));
  }

  #accept(link: Link): void {
    const { logger, clock } = this.#settings;
    if (this.#closing !== undefined) {
      link.destroy();
      return;
    }
    if (this.#strangers.size + this.#wirePeers.size >= this.#connectionMaxCount) {
      logger.warn(
        { remote: link.remoteAddress, limit: this.#connectionMaxCount },
        "a connection was refused",
      );
      // Someone must listen to the link, or its end would never be seen.
      link.onFrame(() => undefined);
      refuse(link, 0n, new ConnectionOverloadedError(this.address, this.#connectionMaxCount));
      return;
    }
    this.#strangers.add(link);
    const limitMs = this.#handshakeTimeoutMs;
    const timer = clock.schedule(
      limitMs,
      () => link.destroy(new ConnectionTimeoutError(link.remoteAddress, limitMs)),
      { unref: true },
    );
    acceptHandshake(link, this.#settings, {
      judge: (credential) => this.#judge(credential),
      onReady: (peer) => this.#welcome(peer),
    })
      .catch((error: unknown) => {
        const code = isHoldfastError(error) ? error.code : undefined;
        logger.info({ remote: link.remoteAddress, code, err: error }, "a connection was not accepted");
      })
      .finally(() => {
        timer.cancel();
        this.#strangers.delete(link);
      });
  }

  #judge(credential: Credential | undefined): Grant | undefined {
    const { authenticate } = this.#options;
    if (authenticate === undefined) return { scopes: SCOPES };
    try {
      const verdict = authenticate(credential);
      if (verdict === undefined) return undefined;
      const grant = "scopes" in verdict ? verdict : { scopes: verdict };
      // Nothing is later than it, so that it would never end.
      if (Number.isNaN(grant.expiresAt))
        throw new InvalidInputError("expiresAt", grant.expiresAt, "a number");
      return grant;
    } catch (error) {
      this.#settings.logger.error({ err: error }, "authenticate failed; the connection is refused");
      return undefined;
    }
  }

  #welcome(peer: WirePeer): void {
    this.#wirePeers.add(peer);
    this.peers.add(peer);
    peer.onClose((error) => {
      this.#wirePeers.delete(peer);
      this.peers.delete(peer);
      this.#settings.logger.debug(
        { peer: peer.id, node: peer.remote.nodeId, err: error },
        "a connection ended",
      );
    });
    const failed = (error: unknown): void =>
      this.#settings.logger.error({ err: error, peer: peer.id }, "onPeer failed");
    try {
      const welcomed: unknown = this.#options.onPeer?.(peer);
      // A function that promises something is one that returns nothing, for the type: its failure must not end the process.
      if (welcomed instanceof Promise) welcomed.catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}
