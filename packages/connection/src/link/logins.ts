import { type Clock, RemoteError, TimeoutError, type WireError } from "@holdfast/kernel";
import { checkShape, decodeValue, encodeValue, ready } from "@holdfast/protocol";
import type { Scope } from "@holdfast/protocol/contract";
import type { Credential } from "../endpoint.ts";
import { AuthenticationFailedError } from "../errors.ts";
import type { RequestOptions } from "../peer.ts";
import { checkWait } from "./wait-limit.ts";

/** The handshake used the numbers below. */
export const FIRST_LOGIN = 2n;

const LOGIN_TIMEOUT_MS = 5_000;

export interface LoginsOptions {
  readonly clock: Clock;
  readonly remoteAddress: string;
  readonly send: (sequence: bigint, payload: Uint8Array) => void;
  readonly onGranted: (scopes: readonly Scope[]) => void;
}

interface Waiting {
  readonly onReady: (payload: Uint8Array) => void;
  readonly fail: (reason: unknown) => void;
}

/** Fresh credentials that were shown on an open connection and are being judged by the other side. */
export class Logins {
  readonly #options: LoginsOptions;
  readonly #waiting = new Map<bigint, Waiting>();
  #nextSequence = FIRST_LOGIN;

  constructor(options: LoginsOptions) {
    this.#options = options;
  }

  /** @throws InvalidInputError, AuthenticationFailedError, TimeoutError, signal.reason, and what `failAll` is given. */
  show(credential: Credential, { signal, timeoutMs = LOGIN_TIMEOUT_MS }: RequestOptions): Promise<void> {
    const { clock, onGranted, remoteAddress, send } = this.#options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw signal.reason;
      checkWait("timeoutMs", timeoutMs);
      const sequence = this.#nextSequence;
      this.#nextSequence += 1n;
      send(sequence, encodeValue({ token: credential.token }));
      const settle = (): void => {
        this.#waiting.delete(sequence);
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      const fail = (reason: unknown): void => {
        settle();
        reject(reason);
      };
      const onAbort = (): void => fail(signal?.reason);
      const timer = clock.schedule(timeoutMs, () =>
        fail(new TimeoutError(`authentication at ${remoteAddress}`, timeoutMs)),
      );
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.set(sequence, {
        fail,
        onReady: (payload) => {
          const { error, scopes } = checkShape(ready, decodeValue(payload), "ready", "payload");
          if (error !== undefined) {
            fail(
              new AuthenticationFailedError(remoteAddress, { cause: new RemoteError(error as WireError) }),
            );
            return;
          }
          settle();
          onGranted(scopes);
          resolve();
        },
      });
    });
  }

  onReady(sequence: bigint, payload: Uint8Array): void {
    this.#waiting.get(sequence)?.onReady(payload);
  }

  failAll(error: Error): void {
    for (const waiting of [...this.#waiting.values()]) waiting.fail(error);
  }
}
