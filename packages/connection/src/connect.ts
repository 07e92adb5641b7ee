import type { Abortable } from "@holdfast/kernel";
import type { Connect, Credential } from "./endpoint.ts";
import { ConnectionTimeoutError } from "./errors.ts";
import { dialHandshake } from "./link/handshake.ts";
import { type EndpointSettings, settingsOf, whole } from "./link/settings.ts";
import type { WirePeer } from "./link/wire-peer.ts";
import type { Transport } from "./transport.ts";

/** From dialling to ready. */
export const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Opens one connection and completes the handshake.
 * @throws what `Transport.dial` throws; ConnectionTimeoutError when it is not ready within `timeoutMs`
 * (default 5_000), VersionMismatchError, AuthenticationFailedError, ConnectionOverloadedError,
 * ConnectionLostError; signal.reason when aborted. Nothing stays open then.
 */
export const connect: Connect = async (options) => openPeer(settingsOf(options), options);

export interface OpenPeerOptions extends Abortable {
  readonly transport: Transport;
  readonly address: string;
  readonly credential?: Credential;
  readonly timeoutMs?: number;
}

export const openPeer = async (settings: EndpointSettings, options: OpenPeerOptions): Promise<WirePeer> => {
  const { clock } = settings;
  const { address, signal, transport } = options;
  const timeoutMs = whole("timeoutMs", options.timeoutMs ?? CONNECT_TIMEOUT_MS, { min: 1 });
  const startedAt = clock.monotonicNow();
  const link = await transport.dial(address, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
  const leftMs = timeoutMs - (clock.monotonicNow() - startedAt);
  const onAbort = (): void => link.destroy(asError(signal?.reason));
  const timer = clock.schedule(leftMs, () => link.destroy(new ConnectionTimeoutError(address, timeoutMs)));
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    signal?.throwIfAborted();
    return await dialHandshake(link, settings, options.credential);
  } catch (error) {
    link.destroy();
    signal?.throwIfAborted();
    throw error;
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
};

const asError = (reason: unknown): Error => (reason instanceof Error ? reason : new Error(String(reason)));
