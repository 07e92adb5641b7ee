import { once } from "node:events";
import type { JobsClient, WatchItem } from "@holdfast/jobs/client";
import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { ClientFrame, ServerFrame, SubscribeRequest } from "@holdfast/live/model";
import type { ClusterView, JobResult, JobView, Scope } from "@holdfast/protocol/contract";
import { expect, vi } from "vitest";
import { WebSocket } from "ws";
import { type Console, type ConsoleOptions, startConsole } from "../src/server/index.ts";

export const TOKENS: Readonly<Record<string, readonly Scope[]>> = {
  "reader-token-0001": ["read"],
  "writer-token-0001": ["read", "submit"],
  "cancel-token-0001": ["cancel"],
  "operate-token-0001": ["operate"],
};

export const emptyCluster: ClusterView = {
  node: { nodeId: "gate-1", role: "gate", address: "127.0.0.1:7401", state: "active", version: "1.4" },
  gates: [],
  datacenters: [],
  activeJobs: 0,
};

export const result: JobResult = {
  jobId: "job-1",
  name: "nightly/import é",
  status: "completed",
  workflows: [],
  datacenters: {},
  errors: [],
  submittedAt: 1,
  finishedAt: 2,
  elapsedMs: 1,
};

/** What a job came to that counted so many requests in ten seconds. */
export const runOf = (jobId: string, requests: number): JobResult => ({
  ...result,
  jobId,
  elapsedMs: 10_000,
  workflows: [
    {
      workflowId: `wf-${jobId}`,
      name: "get",
      workflow: "get",
      status: "completed",
      shards: { total: 1, completed: 1, failed: 0 },
      outputs: [],
      totals: { counters: { requests }, histograms: {} },
      elapsedMs: 10_000,
    },
  ],
});

export const status = (offset: number): WatchItem => ({
  kind: "event",
  position: { epoch: "1", offset: String(offset) },
  event: { type: "job.status", at: offset, status: "running" },
});

const refuse = (what: string) => () => Promise.reject(new Error(`${what} was not expected`));

/** A client that answers as the test says, without any cluster. */
const scriptedClient = (answers: Partial<JobsClient>): JobsClient => ({
  run: refuse("run"),
  submit: refuse("submit"),
  get: refuse("get"),
  list: async () => ({ jobs: [] }),
  cancel: refuse("cancel"),
  watch: async function* () {},
  result: refuse("result"),
  cluster: async () => emptyCluster,
  ping: async () => [],
  stats: refuse("stats") as unknown as JobsClient["stats"],
  close: async () => undefined,
  [Symbol.asyncDispose]: async () => undefined,
  ...answers,
});

/** A console on loopback over a scripted client. With `tokens` it asks for those of `TOKENS`. */
export const setUp = async (
  answers: Partial<JobsClient> = {},
  options: Partial<ConsoleOptions> & { readonly tokens?: boolean } = {},
): Promise<{
  readonly console: Console;
  readonly clock: VirtualClock;
  readonly ask: (path: string, init?: RequestInit & { readonly token?: string }) => Promise<Response>;
  readonly open: (options?: Parameters<typeof Page.open>[1]) => Promise<Page>;
  [Symbol.asyncDispose](): Promise<void>;
}> => {
  const clock = new VirtualClock();
  const { tokens, ...rest } = options;
  const console = await startConsole({
    client: scriptedClient(answers),
    listen: "127.0.0.1:0",
    clock,
    random: seededRandom(1),
    logger: silentLogger,
    ...(tokens ? { authenticate: (credential) => TOKENS[credential?.token ?? ""] } : {}),
    ...rest,
  });
  const pages: Page[] = [];
  return {
    console,
    clock,
    ask: (path, init = {}) => {
      const { token, ...others } = init;
      const headers = {
        ...(others.headers as Readonly<Record<string, string>> | undefined),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(others.body === undefined ? {} : { "content-type": "application/json" }),
      };
      return fetch(`${console.url}${path}`, { ...others, headers });
    },
    open: async (how = {}) => {
      const page = await Page.open(console.url, how);
      pages.push(page);
      return page;
    },
    [Symbol.asyncDispose]: async () => {
      for (const page of pages) page.socket.terminate();
      await console.close();
    },
  };
};

/** A page as the console's server sees it. It says hello at once, unless told not to. */
export class Page {
  readonly socket: WebSocket;
  readonly received: ServerFrame[] = [];
  closeCode: number | undefined;
  #lastId = 0;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (data) => this.received.push(JSON.parse(String(data)) as ServerFrame));
    socket.on("close", (code) => {
      this.closeCode = code;
    });
    socket.on("error", () => undefined);
  }

  static async open(
    url: string,
    how: { readonly origin?: string; readonly token?: string; readonly says?: object },
  ): Promise<Page> {
    const socket = new WebSocket(`${url.replace("http", "ws")}/ws/broadcast`, {
      ...(how.origin === undefined ? {} : { origin: how.origin }),
      ...(how.token === undefined ? {} : { headers: { authorization: `Bearer ${how.token}` } }),
    });
    const page = new Page(socket);
    const refused = new Promise<never>((_, reject) => {
      socket.once("unexpected-response", (_request, response) => {
        reject(new Error(`refused with ${response.statusCode}`));
      });
    });
    await Promise.race([once(socket, "open"), refused]);
    socket.send(JSON.stringify(how.says ?? { hello: { version: 2 } }));
    return page;
  }

  /** Returns the id that the answer will carry. */
  send(frame: ClientFrame): number {
    this.#lastId += 1;
    this.socket.send(JSON.stringify({ id: this.#lastId, ...frame }));
    return this.#lastId;
  }

  subscribe(channel: string, rest: Omit<SubscribeRequest, "channel"> = {}): number {
    return this.send({ subscribe: [{ channel, ...rest }] });
  }

  /** The events of a channel so far, in the order in which they came. */
  events(channel: string): readonly Extract<ServerFrame, { channel: string; event: string }>[] {
    return this.received.flatMap((frame) => ("event" in frame && frame.channel === channel ? [frame] : []));
  }

  /** What became of the channels of a subscribe. */
  async answer(id: number): Promise<readonly object[]> {
    return this.until(() => {
      const frame = this.received.find((each) => "ok" in each && each.ok === id);
      if (frame === undefined || !("ok" in frame)) throw new Error(`no answer ${id}`);
      return frame.channels ?? [];
    });
  }

  async until<T>(look: () => T, timeout = 5_000): Promise<T> {
    return vi.waitFor(look, { timeout, interval: 5 });
  }

  /** Waits until the events of a channel look like this, in order. */
  async expect(channel: string, events: readonly object[], timeout = 5_000): Promise<void> {
    await this.until(() => {
      if (this.events(channel).length < events.length)
        throw new Error(JSON.stringify(this.received).slice(0, 500));
    }, timeout);
    expect(this.events(channel)).toMatchObject(events);
  }
}

export const jobView: JobView = {
  jobId: "job-1",
  name: "import",
  status: "running",
  submittedAt: 1,
  elapsedMs: 1,
  datacenters: {},
  progress: { done: 0, total: 0 },
  workflows: [],
  leader: { nodeId: "gate-1", address: "127.0.0.1:7401", fence: "1" },
  head: { epoch: "1", offset: "1" },
  errors: [],
  labels: {},
};
