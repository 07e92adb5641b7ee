import { createServer, type Server } from "node:http";

/** Names the run that a request belongs to, so that the server can count per run. */
export const RUN_HEADER = "x-load-test-run";

export interface TargetServer {
  readonly url: string;
  /** Requests that were answered, by run. */
  readonly counts: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/**
 * A small HTTP server to try a load test on. `GET /stats?run=ID` tells how many requests of a run it has
 * answered; every other path answers a few bytes of JSON.
 */
export const startTargetServer = async (options: {
  readonly port: number;
  readonly onIdle?: () => void;
  readonly idleMs?: number;
}): Promise<TargetServer> => {
  const counts = new Map<string, number>();
  let idleTimer: NodeJS.Timeout | undefined;
  const touch = (): void => {
    if (options.onIdle === undefined) return;
    if (idleTimer === undefined) idleTimer = setTimeout(options.onIdle, options.idleMs ?? 60_000).unref();
    else idleTimer.refresh();
  };
  touch();
  const server = createServer((request, response) => {
    touch();
    const path = request.url ?? "/";
    if (path.startsWith("/stats")) {
      const run = new URL(path, "http://localhost").searchParams.get("run") ?? "";
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ run, requests: counts.get(run) ?? 0 }));
      return;
    }
    const run = String(request.headers[RUN_HEADER] ?? "");
    counts.set(run, (counts.get(run) ?? 0) + 1);
    response.setHeader("content-type", "application/json");
    response.end('{"ok":true}');
  });
  const port = await listen(server, options.port);
  return {
    url: `http://127.0.0.1:${port}`,
    counts,
    close: () =>
      new Promise((resolve) => {
        clearTimeout(idleTimer);
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
};

const listen = (server: Server, port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
