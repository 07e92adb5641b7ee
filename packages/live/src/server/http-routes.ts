import type { IncomingMessage, ServerResponse } from "node:http";
import { toWireError, withTimeout } from "@holdfast/kernel";
import { ForbiddenError } from "../errors.ts";
import { allowsOrigin } from "./authorization.ts";
import { type EventStream, STREAM_HEADERS, serveEventStream } from "./event-stream.ts";
import { answerError, answerJson } from "./http-answer.ts";
import { servePublish } from "./publish-route.ts";
import type { ServerCore } from "./server-core.ts";

const HEALTH_TIMEOUT_MS = 2_000;
/** When an EventSource that came while the server stops asks again, spread so that they do not come all at once. */
const RETURN_MIN_MS = 1_000;
const RETURN_SPREAD_MS = 2_000;

type Route = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** The HTTP side of a live server. */
export class HttpRoutes {
  readonly #core: ServerCore;
  readonly #isOpen: () => boolean;
  readonly #isFull: () => boolean;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #streams = new Set<EventStream>();

  constructor(core: ServerCore, parts: { readonly isOpen: () => boolean; readonly isFull: () => boolean }) {
    this.#core = core;
    this.#isOpen = parts.isOpen;
    this.#isFull = parts.isFull;
    this.#routes = new Map<string, Route>([
      ["POST /broadcast", (request, response) => servePublish(core, request, response, "single")],
      ["POST /broadcast/batch", (request, response) => servePublish(core, request, response, "batch")],
      ["GET /sse/broadcast", (request, response) => this.#stream(request, response)],
      ["GET /health", (_request, response) => this.#health(response)],
    ]);
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  handle(request: IncomingMessage, response: ServerResponse): boolean {
    const path = (request.url ?? "/").split("?", 1)[0];
    const route = this.#routes.get(`${request.method} ${path}`);
    if (route === undefined) return false;
    const { tasks } = this.#core;
    if (tasks.signal.aborted) {
      answerJson(response, 503, { status: "stopping" }, { "retry-after": "1" });
      return true;
    }
    tasks.spawn("http request", async (signal) => {
      // Whoever never comes to the end of its body must not hold up ours.
      const onStop = (): void => {
        if (!request.complete) request.destroy();
      };
      signal.addEventListener("abort", onStop, { once: true });
      try {
        await route(request, response);
      } catch (error) {
        answerError(response, error);
        // What was not read of a body must not be taken for the next request.
        if (!request.complete) response.once("finish", () => request.destroy());
      } finally {
        signal.removeEventListener("abort", onStop);
      }
    });
    return true;
  }

  endStreams(): void {
    for (const stream of [...this.#streams]) stream.finish();
  }

  async #stream(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { settings, counters } = this.#core;
    const { origin } = request.headers;
    if (!allowsOrigin(request.headers, { ...settings, missingOrigin: "allow" })) {
      counters.connectionsRefused += 1;
      throw new ForbiddenError("this Origin may not connect");
    }
    // A page of a permitted origin may read the answer.
    if (origin !== undefined) response.setHeader("access-control-allow-origin", origin);
    if (!this.#isOpen()) {
      // Not 503: from anything but a stream of events an EventSource never comes back.
      const retryMs = RETURN_MIN_MS + Math.floor(settings.random.next() * RETURN_SPREAD_MS);
      response.writeHead(200, STREAM_HEADERS);
      response.end(`retry: ${retryMs}\n\n`);
      return;
    }
    if (this.#isFull()) {
      counters.connectionsRefused += 1;
      answerJson(response, 503, { status: "full" }, { "retry-after": "5" });
      return;
    }
    counters.connectionsOpened += 1;
    await serveEventStream(this.#core, request, response, (stream) => {
      this.#streams.add(stream);
      this.#core.tasks.spawn("event stream", async () => {
        await stream.ended;
        this.#streams.delete(stream);
      });
    });
    // Those that were there when we began to stop were ended then; this one may have come after.
    if (!this.#isOpen()) this.endStreams();
  }

  async #health(response: ServerResponse): Promise<void> {
    const { settings, hub } = this.#core;
    const detail = { channelCount: hub.channelCount, subscriptionCount: hub.holderTotal };
    try {
      await withTimeout(
        settings.clock,
        { operation: "the health check", timeoutMs: HEALTH_TIMEOUT_MS },
        (signal) => settings.log.check({ signal }),
      );
      const isOpen = this.#isOpen();
      answerJson(response, isOpen ? 200 : 503, { status: isOpen ? "ok" : "stopping", ...detail });
    } catch (error) {
      answerJson(response, 503, { status: "degraded", error: toWireError(error), ...detail });
    }
  }
}
