import { type Clock, isHoldfastError, toWireError } from "@holdfast/kernel";
import { ConnectError } from "../errors.ts";
import { PostgresConnection } from "../postgres/connection.ts";
import { describeServer, type ServerAddress } from "../postgres/server-address.ts";
import type { SqlSession } from "../sql/session.ts";
import { type NodeReport, probe } from "./node-probe.ts";
import { parseHistoryFile, type TimelineSwitch } from "./timeline-history.ts";

/** What a round learnt from one server. */
export type ProbeOutcome =
  | { readonly kind: "answered"; readonly report: NodeReport }
  /** `isSilent`: it may be there and busy, where a refused connection would have said that it is not. */
  | { readonly kind: "failed"; readonly reason: string; readonly isSilent: boolean };

/** The server is there and has no connection left for us (class 53). */
const isForWantOfRoom = (error: unknown): boolean =>
  error instanceof ConnectError &&
  error.cause instanceof Error &&
  "code" in error.cause &&
  String(error.cause.code).startsWith("53");

/** One connection for questions about the server itself, opened when needed and given up when it fails. */
export class ProbeLink {
  readonly #address: ServerAddress;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  #connection: PostgresConnection | undefined;

  constructor(options: {
    readonly address: ServerAddress;
    readonly clock: Clock;
    /** Milliseconds for connecting and again for the answer. */
    readonly timeoutMs: number;
  }) {
    this.#address = options.address;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs;
  }

  async ask(signal: AbortSignal): Promise<ProbeOutcome> {
    const startedAt = this.#clock.monotonicNow();
    try {
      return {
        kind: "answered",
        report: await this.#run((session) => probe(session, this.#limits(signal)), signal),
      };
    } catch (error) {
      return {
        kind: "failed",
        reason: isHoldfastError(error) ? error.message : toWireError(error).message,
        isSilent: this.#clock.monotonicNow() - startedAt >= this.#timeoutMs || isForWantOfRoom(error),
      };
    }
  }

  /** The promotions that the server's own files tell of; empty when we may not read them. */
  async history(timeline: number, signal: AbortSignal): Promise<readonly TimelineSwitch[]> {
    if (timeline <= 1) return [];
    const file = `pg_wal/${timeline.toString(16).toUpperCase().padStart(8, "0")}.history`;
    try {
      const { rows } = await this.#run(
        (session) =>
          session.run<{ text: string | null }>("SELECT pg_read_file($1, 0, 1000000, true) AS text", [file], {
            ...this.#limits(signal),
            repeatable: true,
          }),
        signal,
      );
      return parseHistoryFile(rows[0]?.text ?? "");
    } catch {
      return [];
    }
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.close("closed");
  }

  #limits(signal: AbortSignal): { readonly signal: AbortSignal; readonly timeoutMs: number } {
    return { signal, timeoutMs: this.#timeoutMs };
  }

  async #run<T>(body: (session: SqlSession) => Promise<T>, signal: AbortSignal): Promise<T> {
    // One that ended since the last question says nothing about the server now.
    if (this.#connection?.closeReason !== undefined) this.#connection = undefined;
    const connection = this.#connection ?? (await this.#open(signal));
    this.#connection = connection;
    try {
      return await body(connection);
    } catch (error) {
      if (this.#connection === connection) this.#connection = undefined;
      // Not awaited: saying goodbye to a silent server takes its time.
      void connection.close("broken");
      throw error;
    }
  }

  async #open(signal: AbortSignal): Promise<PostgresConnection> {
    const settings = {
      address: { ...this.#address, applicationName: `${this.#address.applicationName ?? "holdfast"} probe` },
      clock: this.#clock,
      connectTimeoutMs: this.#timeoutMs,
      statementTimeoutMs: this.#timeoutMs,
      idleInTransactionTimeoutMs: 0,
      preparedMaxCount: 10,
    };
    if (signal.aborted) throw new ConnectError(describeServer(this.#address), "the cluster is being closed");
    return PostgresConnection.open(settings, signal);
  }
}
