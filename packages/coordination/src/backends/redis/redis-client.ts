import type { Abortable } from "@holdfast/kernel";

/** One atomic operation of this backend. */
export interface RedisScript {
  readonly name: string;
  readonly text: string;
  /** SHA-1 of the text, in hexadecimal, as EVALSHA wants it. */
  readonly sha1: string;
}

/** Commands and a script that take effect together. All their keys lie in one slot. */
export interface RedisTransaction {
  readonly commands: readonly (readonly (string | Buffer)[])[];
  readonly script: RedisScript;
  readonly keys: readonly string[];
  readonly args: readonly string[];
  /**
   * Channel and message, to be sent right after it over the same connection. Not by the script: a connection that
   * listens itself would get the message between the replies of the transaction.
   */
  readonly publish: readonly [channel: string, message: string];
}

/** The smallest shape of a Redis (6.2 or newer, alone, with Sentinel or a Cluster) that this backend needs. */
export interface RedisClient {
  /**
   * Runs a script by EVALSHA, and by EVAL where the server does not know it. Replies are strings, whole numbers and
   * arrays of them. All keys of a call lie in one slot.
   */
  runScript(
    script: RedisScript,
    keys: readonly string[],
    args: readonly string[],
    options?: Abortable,
  ): Promise<unknown>;
  /**
   * Runs commands and then a script by MULTI and EVAL, and replies as the script does. Optional: it spares long payloads
   * of tasks the way through a script, which takes most of the time of adding them.
   */
  runTransaction?(transaction: RedisTransaction, options?: Abortable): Promise<unknown>;
  /**
   * Calls `onMessage` for each message on `channel` until disposed. Survives reconnects, but misses what was sent
   * meanwhile: a client that notices calls `onInterrupted` when the connection is lost, and again once it listens anew.
   */
  subscribe(
    channel: string,
    onMessage: (message: string) => void,
    onInterrupted?: () => void,
  ): Promise<AsyncDisposable>;
}
