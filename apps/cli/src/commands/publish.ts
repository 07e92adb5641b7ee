import { RemoteError, TimeoutError, type WireError, withTimeout } from "@holdfast/kernel";
import { Command } from "commander";
import { readJsonArgument } from "../flags.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";

interface PublishFlags {
  readonly url?: string;
  readonly key?: string;
  readonly json?: boolean;
}

interface Published {
  readonly channel: string;
  readonly event: string;
  readonly id: string;
  readonly epoch: string;
  readonly offset: string;
  readonly subscriberCount: number;
}

const DEFAULT_URL = "http://127.0.0.1:7400";
const TIMEOUT_MS = 10_000;

export const publishCommand = (session: Session): Command =>
  new Command("publish")
    .description("publish an event to everybody who follows a channel: browsers, programs, other servers")
    .argument("<channel>", "1 to 255 characters")
    .argument("<event>", "its name, for example created")
    .argument("[json]", "its payload: a JSON object, or @FILE", "{}")
    .option("--url <url>", `a live server: the console, or your own (HOLDFAST_LIVE; default ${DEFAULT_URL})`)
    .option("--key <key>", "idempotency key: the same key twice is one event")
    .option("--json", "print one JSON document")
    .action(async (channel: string, event: string, json: string, flags: PublishFlags) => {
      const payload = await readJsonArgument("JSON", json);
      if (typeof payload !== "object" || payload === null || Array.isArray(payload))
        throw new UsageError(`JSON must be an object, got ${json.slice(0, 80)}`);
      const published = await send(session, flags, { channel, event, payload });
      if (flags.json) {
        session.printJson(published);
        return;
      }
      const { subscriberCount, offset } = published;
      session.print(
        `${session.style("green", "published")} ${event} on ${channel} as event ${offset}; ${subscriberCount} follow it there`,
      );
    });

const send = async (session: Session, flags: PublishFlags, body: object): Promise<Published> => {
  const base = flags.url ?? session.env.HOLDFAST_LIVE ?? DEFAULT_URL;
  if (!URL.canParse("/broadcast", base))
    throw new UsageError(`--url must be an address, got ${JSON.stringify(base)}`);
  const address = new URL("/broadcast", base);
  const token = session.env.HOLDFAST_TOKEN;
  const headers = {
    "content-type": "application/json",
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    ...(flags.key === undefined ? {} : { "idempotency-key": flags.key }),
  };
  const timing = {
    operation: `publishing at ${address.origin}`,
    timeoutMs: TIMEOUT_MS,
    signal: session.signal,
  };
  const { response, answer } = await withTimeout(session.clock, timing, async (signal) => {
    const response = await fetch(address, { method: "POST", headers, body: JSON.stringify(body), signal });
    // Within the time as well: a server may begin an answer and never end it.
    const answer: unknown = await response.json().catch(() => ({}));
    return { response, answer: answer as Published & { readonly error?: WireError } };
  }).catch((cause: unknown) => {
    if (session.signal.aborted || cause instanceof TimeoutError) throw cause;
    const message = `no live server answers at ${address.origin}; name one with --url or HOLDFAST_LIVE`;
    throw new RemoteError({ code: "CONNECTION_REFUSED", message, retryable: true });
  });
  if (response.ok) return answer;
  throw new RemoteError(
    answer.error ?? {
      code: "LIVE_INVALID_MESSAGE",
      message: `${address.origin} answered ${response.status}; it is no live server`,
      retryable: false,
    },
  );
};
