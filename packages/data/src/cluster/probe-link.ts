import { type Clock, isHoldfastError, toWireError } from "@holdfast/kernel";
import { ConnectError } from "../errors.ts";
import { PostgresConnection } from "../postgres/connection.ts";
import type { DriverSettings } from "../postgres/driver-client.ts";
import { describeServer, type ServerAddress } from "../postgres/server-address.ts";
import type { SqlSession } from "../sql/session.ts";
import { type NodeReport, probe, probeUntilPromoted } from "./node-probe.ts";
import { parseHistoryFile, type TimelineSwitch } from "./timeline-history.ts";

/** What a round learnt from one server. */
export type ProbeOutcome =
  | { readonly kind: "answered"; readonly report: NodeReport }
  /** `isSilent`: it may be there and busy, where a refused connection would have said that it is not. */
  | { readonly kind: "failed"; readonly error: unknown; readonly reason: string; readonly isSilent: boolean };

/** A connection, and what the server said on it a moment ago. */
export interface VerifiedConnection {
  readonly connection: PostgresConnection;
  readonly report: NodeReport;
}

/** The server is there and has no connection left for us (class 53). */
const isForWantOfRoom = (error: unknown): boolean =>
  error instanceof ConnectError &&
  error.cause instanceof Error &&
  "code" in error.cause &&
  String(error.cause.code).startsWith("53");

/**
 * One connection for questions about the server itself, opened when needed and given up when it fails. It is made like
 * those for statements, so that it can become one.
 */
export class ProbeLink {
  readonly #address: ServerAddress;
  readonly #limitsOfStatements: Omit<DriverSettings, "address">;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  #connection: PostgresConnection | undefined;
  /** The last answer was waited for, on a connection that bears the name of one for statements since. */
  #hasWaited = false;

  constructor(options: {
    readonly address: ServerAddress;
    readonly statements: Omit<DriverSettings, "address">;
    readonly clock: Clock;
    /** Milliseconds for connecting and again for the answer. */
    readonly timeoutMs: number;
  }) {
    this.#address = options.address;
    this.#limitsOfStatements = options.statements;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs;
  }

  /** @param options.untilPromotedMs Milliseconds that a replica may keep its answer back, unless it is promoted. */
  async ask(options: {
    readonly signal: AbortSignal;
    readonly untilPromotedMs: number;
  }): Promise<ProbeOutcome> {
    const { signal, untilPromotedMs } = options;
    const { applicationName = "" } = this.#address;
    const limits = this.#limits(signal);
    this.#hasWaited = untilPromotedMs > 0;
    const startedAt = this.#clock.monotonicNow();
    try {
      const report = await this.#run(
        (session) =>
          this.#hasWaited
            ? probeUntilPromoted(session, { waitMs: untilPromotedMs, applicationName }, limits)
            : probe(session, limits),
        signal,
      );
      return { kind: "answered", report };
    } catch (error) {
      return {
        kind: "failed",
        error,
        reason: isHoldfastError(error) ? error.message : toWireError(error).message,
        isSilent: this.#clock.monotonicNow() - startedAt >= this.#timeoutMs || isForWantOfRoom(error),
      };
    }
  }

  /**
   * Gives away the connection that the last answer, `report`, was waited for on. The next question opens another one.
   */
  handOver(report: NodeReport): VerifiedConnection | undefined {
    const connection = this.#connection;
    if (connection === undefined || !this.#hasWaited) return undefined;
    this.#connection = undefined;
    return { connection, report };
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
    // Two questions at once may have opened one each.
    this.#connection ??= connection;
    const isExtra = this.#connection !== connection;
    try {
      return await body(connection);
    } catch (error) {
      if (this.#connection === connection) {
        this.#connection = undefined;
        // Not awaited: saying goodbye to a silent server takes its time.
        void connection.close("broken");
      }
      throw error;
    } finally {
      if (isExtra) void connection.close("closed");
    }
  }

  async #open(signal: AbortSignal): Promise<PostgresConnection> {
    const settings = {
      ...this.#limitsOfStatements,
      address: { ...this.#address, applicationName: `${this.#address.applicationName ?? "holdfast"} probe` },
      clock: this.#clock,
      connectTimeoutMs: this.#timeoutMs,
    };
    if (signal.aborted) throw new ConnectError(describeServer(this.#address), "the cluster is being closed");
    return PostgresConnection.open(settings, signal);
  }
}
