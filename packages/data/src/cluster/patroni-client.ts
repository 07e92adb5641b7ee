import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { type Abortable, type Clock, InvalidInputError, withTimeout } from "@holdfast/kernel";
import { checkTimeLimit } from "../sql/time-limit.ts";
import { PatroniAnswerError, PatroniUnreachableError } from "./cluster-errors.ts";
import { type PatroniCluster, readCluster, readHistory } from "./patroni-documents.ts";
import type { TimelineSwitch } from "./timeline-history.ts";

/** No answer of Patroni is longer; more is not read. */
const ANSWER_MAX_BYTES = 4 * 1024 * 1024;

export interface PatroniClientOptions {
  /** `http://host:8008` or `https://user:password@host:8008`. */
  readonly url: string;
  /** A certificate authority for https. Default: the system's. */
  readonly ca?: string | undefined;
  /** Milliseconds for one answer, 1 to 2^31 - 1. Default 2_000. */
  readonly timeoutMs?: number | undefined;
  readonly clock: Clock;
}

/** What Patroni said to the wish for another leader. Nothing changed except after "done" and "scheduled". */
export type SwitchoverAnswer =
  /** 200: another node leads. */
  | { readonly kind: "done"; readonly message: string }
  /** 202: it will happen at the time that was asked for. */
  | { readonly kind: "scheduled"; readonly message: string }
  /** 412: not now: no healthy candidate, or the leader is another. */
  | { readonly kind: "refused"; readonly message: string }
  /** 503: it was tried and did not come about, or the store could not be written. */
  | { readonly kind: "failed"; readonly message: string }
  /** 400, 401, 403 and the like: the request itself. */
  | { readonly kind: "rejected"; readonly message: string };

export interface SwitchoverRequest {
  readonly leader: string;
  readonly candidate?: string | undefined;
  /** An instant in ISO form with its time zone. */
  readonly scheduledAt?: string | undefined;
}

export interface PatroniSettings {
  /** Commits wait for a standby; only such a standby may then be promoted. */
  readonly isSynchronous: boolean;
  /** Milliseconds between two rounds of a node. */
  readonly loopWaitMs: number;
}

/** Patroni's own default. */
const LOOP_WAIT_MS = 10_000;

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** The REST interface of one Patroni. Opens a connection for each request and keeps none. */
export class PatroniClient {
  /** `host:port`, for messages: never with user or password. */
  readonly server: string;
  readonly #url: URL;
  /** `user:password`, as it is sent. */
  readonly #login: string | undefined;
  readonly #options: PatroniClientOptions;

  /** @throws InvalidInputError when the URL is not one of http or https, and for a limit that is none; never shows a password. */
  constructor(options: PatroniClientOptions) {
    this.#options = options;
    checkTimeLimit("timeoutMs", options.timeoutMs);
    try {
      this.#url = new URL(options.url);
    } catch {
      throw new InvalidInputError("patroni url", "(hidden)", "of the form http://host:8008");
    }
    if (this.#url.protocol !== "http:" && this.#url.protocol !== "https:") {
      throw new InvalidInputError(
        "patroni url",
        this.#url.protocol,
        "a URL that begins with http:// or https://",
      );
    }
    this.server = this.#url.host;
    const { username, password } = this.#url;
    try {
      if (username !== "") this.#login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    } catch {
      // The decoder's error would do no harm, but only the first request would tell of it.
      throw new InvalidInputError("patroni url", "(hidden)", "percent-encoded, for example %25 for %");
    }
  }

  /**
   * The members as the cluster's store knows them.
   * @throws PatroniUnreachableError, PatroniAnswerError: retryable.
   */
  async cluster(options: Abortable = {}): Promise<PatroniCluster> {
    return readCluster(await this.#document("/cluster", options), this.server);
  }

  /** Promotions, oldest first. @throws PatroniUnreachableError, PatroniAnswerError: retryable. */
  async history(options: Abortable = {}): Promise<readonly TimelineSwitch[]> {
    return readHistory(await this.#document("/history", options), this.server);
  }

  /** What all nodes are set to. @throws as `cluster`. */
  async settings(options: Abortable = {}): Promise<PatroniSettings> {
    const config = await this.#document("/config", options);
    const { synchronous_mode: mode, loop_wait: loopWait } = (config ?? {}) as {
      readonly synchronous_mode?: unknown;
      readonly loop_wait?: unknown;
    };
    return {
      isSynchronous: mode === true || mode === "on" || mode === "quorum",
      loopWaitMs: typeof loopWait === "number" ? loopWait * 1_000 : LOOP_WAIT_MS,
    };
  }

  /**
   * The status that a health check gets, for example of `/primary` or `/replica?lag=10MB`: 200 when it holds.
   * @throws PatroniUnreachableError retryable.
   */
  async check(path: string, options: Abortable = {}): Promise<number> {
    return (await this.#ask("OPTIONS", path, undefined, options, undefined)).status;
  }

  /**
   * Asks for an orderly change of leader. @param options.timeoutMs Patroni answers when it is done, so give it time.
   * @throws PatroniUnreachableError when no answer came: then it may still happen.
   */
  async switchover(
    wish: SwitchoverRequest,
    options: Abortable & { readonly timeoutMs?: number } = {},
  ): Promise<SwitchoverAnswer> {
    const body = JSON.stringify({
      leader: wish.leader,
      ...(wish.candidate === undefined ? {} : { candidate: wish.candidate }),
      ...(wish.scheduledAt === undefined ? {} : { scheduled_at: wish.scheduledAt }),
    });
    return toSwitchoverAnswer(await this.#ask("POST", "/switchover", body, options, options.timeoutMs));
  }

  /**
   * Asks for `candidate` to be promoted although no leader can hand over. It may lack commits that the lost one had
   * acknowledged without a synchronous replica.
   * @throws PatroniUnreachableError when no answer came: then it may still happen.
   */
  async failover(
    candidate: string,
    options: Abortable & { readonly timeoutMs?: number } = {},
  ): Promise<SwitchoverAnswer> {
    const body = JSON.stringify({ candidate });
    return toSwitchoverAnswer(await this.#ask("POST", "/failover", body, options, options.timeoutMs));
  }

  /** Takes a scheduled switchover back; false when there was none (any more). */
  async cancelSwitchover(options: Abortable = {}): Promise<boolean> {
    return (await this.#ask("DELETE", "/switchover", undefined, options, undefined)).status === 200;
  }

  async #document(path: string, options: Abortable): Promise<unknown> {
    const { status, text } = await this.#ask("GET", path, undefined, options, undefined);
    if (status !== 200) throw new PatroniAnswerError(this.server, `${path} answered with status ${status}`);
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new PatroniAnswerError(this.server, `${path} is not JSON`, { cause });
    }
  }

  #ask(
    method: string,
    path: string,
    body: string | undefined,
    { signal }: Abortable,
    timeoutMs: number | undefined,
  ): Promise<Answer> {
    const limitMs = timeoutMs ?? this.#options.timeoutMs ?? 2_000;
    const { clock, ca } = this.#options;
    return withTimeout(
      clock,
      { signal, timeoutMs: limitMs, operation: `${method} ${path} of Patroni at ${this.server}` },
      (limit) =>
        new Promise<Answer>((resolve, reject) => {
          const fail = (cause: unknown): void =>
            reject(limit.aborted ? limit.reason : new PatroniUnreachableError(this.server, { cause }));
          const { protocol, hostname, port, pathname } = this.#url;
          const request = (protocol === "https:" ? httpsRequest : httpRequest)({
            method,
            host: hostname.replace(/^\[(.*)\]$/, "$1"),
            port: port === "" ? (protocol === "https:" ? 443 : 80) : Number(port),
            path: `${pathname.replace(/\/$/, "")}${path}`,
            agent: false,
            signal: limit,
            ...(ca === undefined ? {} : { ca }),
            ...(this.#login === undefined ? {} : { auth: this.#login }),
            headers: body === undefined ? {} : { "content-type": "application/json" },
          });
          request.on("error", fail);
          request.on("response", (response) => {
            let text = "";
            response.setEncoding("utf8");
            response.on("data", (chunk: string) => {
              text += chunk;
              if (text.length > ANSWER_MAX_BYTES) response.destroy(new Error("the answer is too long"));
            });
            response.on("error", fail);
            response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
          });
          request.end(body);
        }),
    );
  }
}

const toSwitchoverAnswer = ({ status, text }: Answer): SwitchoverAnswer => {
  const message = text.trim();
  switch (status) {
    case 200:
      return { kind: "done", message };
    case 202:
      return { kind: "scheduled", message };
    case 412:
      return { kind: "refused", message };
    case 503:
      return { kind: "failed", message };
    default:
      return { kind: "rejected", message: message === "" ? `status ${status}` : message };
  }
};
