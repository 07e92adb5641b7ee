import { InvalidInputError } from "@holdfast/kernel";
import type { Client, Dispatcher } from "undici";
import { checkNumber } from "../definition-checks.ts";
import type { LoadTestAction } from "../workflow.ts";

export interface HttpActionOptions {
  /** `http:` or `https:`, with path and query. */
  readonly url: string;
  /** Default GET. */
  readonly method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS";
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent with every request; a function is asked for each. */
  readonly body?: string | Uint8Array | (() => string | Uint8Array);
  /** Most open connections, 1 to 65_535. Actions beyond it wait in order, and the wait is part of their latency. Default 1000. */
  readonly connections?: number;
  /** For the connection, for the answer's headers and between parts of its body, milliseconds. Default 10_000. */
  readonly timeoutMs?: number;
  /** Which answers are good; others count as `errors.HTTP_<status>`. Default: below 400. */
  readonly isExpected?: (status: number) => boolean;
  /** False accepts any certificate. Default true. */
  readonly rejectUnauthorized?: boolean;
}

/** An answer whose status is not expected. */
class HttpStatusError extends Error {
  override readonly name = "HttpStatusError";
  readonly code: string;

  constructor(status: number) {
    super(`the server answered ${status}`);
    this.code = `HTTP_${status}`;
  }
}

/**
 * Makes the action of a load test: one HTTP/1.1 request over a kept connection, done when its whole answer has
 * been read. Connections are opened as they are needed.
 *
 * Built on undici's dispatch, which costs about as much per request as autocannon's own client (65 thousand
 * requests a second of CPU time here) where `node:http` does a quarter of that.
 * @throws InvalidInputError naming the option.
 */
export const createHttpAction = async (options: HttpActionOptions): Promise<LoadTestAction> => {
  const url = checkUrl(options.url);
  const connections = checkNumber("httpAction.connections", options.connections ?? 1_000, {
    min: 1,
    max: 65_535,
    integer: true,
  });
  checkNumber("httpAction.timeoutMs", options.timeoutMs ?? 10_000, { min: 1, max: 3_600_000 });
  // Loaded when first used: a node that runs no load test does not pay for it.
  const undici = await import("undici");
  const load = new HttpAction(options, {
    url,
    connections,
    createClient: (...args) => new undici.Client(...args),
  });
  return Object.assign((signal: AbortSignal) => load.request(signal), { close: () => load.close() });
};

const checkUrl = (value: unknown): URL => {
  const url = typeof value === "string" && URL.canParse(value) ? new URL(value) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url;
  throw new InvalidInputError("httpAction.url", value, "an http: or https: URL");
};

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface HttpActionParts {
  readonly url: URL;
  readonly connections: number;
  readonly createClient: (origin: string, options: Client.Options) => Client;
}

class HttpAction {
  readonly #options: HttpActionOptions;
  readonly #parts: HttpActionParts;
  readonly #request: Dispatcher.DispatchOptions;
  readonly #statusErrors = new Map<number, HttpStatusError>();
  readonly #clients = new Set<Client>();
  /** The one used last is used first: no more connections stay busy than are needed. */
  readonly #free: Client[] = [];
  readonly #waiting: Waiting[] = [];
  #signal: AbortSignal | undefined;

  constructor(options: HttpActionOptions, parts: HttpActionParts) {
    this.#options = options;
    this.#parts = parts;
    const { method = "GET", headers, body } = options;
    this.#request = {
      path: `${parts.url.pathname}${parts.url.search}`,
      method,
      ...(headers === undefined ? {} : { headers: { ...headers } }),
      ...(body === undefined || typeof body === "function" ? {} : { body: body as string }),
    };
  }

  request(signal: AbortSignal): Promise<void> {
    if (signal !== this.#signal) this.#watch(signal);
    return new Promise((resolve, reject) => {
      const waiting = { resolve, reject };
      const client = this.#free.pop() ?? this.#open();
      if (client === undefined) this.#waiting.push(waiting);
      else this.#send(client, waiting);
    });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#clients].map((client) => client.destroy()));
  }

  /** One listener for the whole test: a listener per request would cost more than the request. */
  #watch(signal: AbortSignal): void {
    this.#signal = signal;
    const onAbort = (): void => {
      for (const { reject } of this.#waiting.splice(0)) reject(signal.reason);
      void this.close();
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  }

  #open(): Client | undefined {
    const { url, connections, createClient } = this.#parts;
    if (this.#clients.size >= connections) return undefined;
    const { timeoutMs = 10_000, rejectUnauthorized = true } = this.#options;
    const client = createClient(url.origin, {
      pipelining: 1,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connect: { timeout: timeoutMs, rejectUnauthorized },
    });
    this.#clients.add(client);
    return client;
  }

  #send(client: Client, { resolve, reject }: Waiting): void {
    const { body } = this.#options;
    let status = 0;
    client.dispatch(
      typeof body === "function" ? { ...this.#request, body: body() as string } : this.#request,
      {
        onConnect: () => undefined,
        onHeaders: (statusCode) => {
          status = statusCode;
          return true;
        },
        onData: () => true,
        onComplete: () => {
          this.#release(client);
          if (this.#isExpected(status)) resolve();
          else reject(this.#statusError(status));
        },
        onError: (error) => {
          this.#release(client);
          reject(error);
        },
      },
    );
  }

  #release(client: Client): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(client);
    else this.#send(client, next);
  }

  #isExpected(status: number): boolean {
    return this.#options.isExpected?.(status) ?? status < 400;
  }

  /** Made once per status: under load the stack of an error costs more than the request. */
  #statusError(status: number): HttpStatusError {
    let error = this.#statusErrors.get(status);
    if (error === undefined) {
      error = new HttpStatusError(status);
      this.#statusErrors.set(status, error);
    }
    return error;
  }
}
