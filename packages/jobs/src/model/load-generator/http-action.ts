import { InvalidInputError } from "@holdfast/kernel";
import type { Client, Dispatcher } from "undici";
import { checkNumber } from "../definition-checks.ts";
import type { LoadTestAction, OnActionEnd } from "../workflow.ts";

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
  const start = load.start.bind(load);
  const action = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      start(signal, (failure) => (failure === undefined ? resolve() : reject(failure.error)));
    });
  return Object.assign(action, { start, close: () => load.close() });
};

const checkUrl = (value: unknown): URL => {
  const url = typeof value === "string" && URL.canParse(value) ? new URL(value) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url;
  throw new InvalidInputError("httpAction.url", value, "an http: or https: URL");
};

interface Exchange {
  readonly request: Dispatcher.DispatchOptions;
  readonly onEnd: OnActionEnd;
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
  readonly #connections: Connection[] = [];
  /** The one used last is used first: no more connections stay busy than are needed. */
  readonly #free: Connection[] = [];
  readonly #waiting: Exchange[] = [];
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

  start(signal: AbortSignal, onEnd: OnActionEnd): void {
    if (signal !== this.#signal) this.#watch(signal);
    const exchange = { request: this.#nextRequest(), onEnd };
    const connection = this.#free.pop() ?? this.#open();
    if (connection === undefined) this.#waiting.push(exchange);
    else connection.send(exchange);
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.destroy()));
  }

  /** One listener for the whole test: a listener per request would cost more than the request. */
  #watch(signal: AbortSignal): void {
    this.#signal = signal;
    const onAbort = (): void => {
      for (const { onEnd } of this.#waiting.splice(0)) onEnd({ error: signal.reason });
      void this.close();
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  }

  #open(): Connection | undefined {
    const { url, connections, createClient } = this.#parts;
    if (this.#connections.length >= connections) return undefined;
    const { timeoutMs = 10_000, rejectUnauthorized = true } = this.#options;
    const client = createClient(url.origin, {
      pipelining: 1,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connect: { timeout: timeoutMs, rejectUnauthorized },
    });
    const connection = new Connection(client, (ended, onEnd, status, failure) => {
      this.#release(ended);
      if (failure !== undefined || this.#isExpected(status)) onEnd(failure);
      else onEnd({ error: this.#statusError(status) });
    });
    this.#connections.push(connection);
    return connection;
  }

  #nextRequest(): Dispatcher.DispatchOptions {
    const { body } = this.#options;
    return typeof body === "function" ? { ...this.#request, body: body() as string } : this.#request;
  }

  #release(connection: Connection): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(connection);
    else connection.send(next);
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

type OnExchangeEnd = (
  connection: Connection,
  onEnd: OnActionEnd,
  status: number,
  failure: { readonly error: unknown } | undefined,
) => void;

/** One connection with one exchange at a time; it handles all of its answers itself, so a request makes no handler. */
class Connection implements Dispatcher.DispatchHandlers {
  readonly #client: Client;
  readonly #onExchangeEnd: OnExchangeEnd;
  #onEnd: OnActionEnd | undefined;
  #status = 0;

  constructor(client: Client, onExchangeEnd: OnExchangeEnd) {
    this.#client = client;
    this.#onExchangeEnd = onExchangeEnd;
  }

  /** Only when the exchange before has ended. */
  send({ request, onEnd }: Exchange): void {
    this.#onEnd = onEnd;
    this.#status = 0;
    this.#client.dispatch(request, this);
  }

  destroy(): Promise<void> {
    return this.#client.destroy();
  }

  onConnect(): void {}

  onHeaders(status: number): boolean {
    this.#status = status;
    return true;
  }

  onData(): boolean {
    return true;
  }

  onComplete(): void {
    this.#end(undefined);
  }

  onError(error: Error): void {
    this.#end({ error });
  }

  #end(failure: { readonly error: unknown } | undefined): void {
    const onEnd = this.#onEnd;
    if (onEnd === undefined) return;
    this.#onEnd = undefined;
    this.#onExchangeEnd(this, onEnd, this.#status, failure);
  }
}
