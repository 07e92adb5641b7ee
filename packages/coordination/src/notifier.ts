import type { Clock, Logger, TaskGroup } from "@holdfast/kernel";
import { INTERRUPTED_KEY, type WakeUps } from "./wake-ups.ts";

/** How long to wait before listening is tried again; polls bridge the time. */
const RETRY_MS = 5000;
/** PostgreSQL takes payloads below 8000 bytes; what is larger is not worth sending elsewhere either. */
const PAYLOAD_MAX_BYTES = 7900;

/** What to send so that everybody waiting for one of `keys` wakes. Too many keys wake everybody. */
export const encodeWakeUp = (keys: readonly string[]): string => {
  const payload = JSON.stringify(keys);
  return Buffer.byteLength(payload) <= PAYLOAD_MAX_BYTES ? payload : "";
};

/** Keys alone, or as `k` of an object that says more. */
const decodeWakeUp = (
  payload: string,
): { readonly keys: readonly string[]; readonly news: unknown } | undefined => {
  try {
    const message: unknown = JSON.parse(payload);
    const isPlain = Array.isArray(message);
    const keys: unknown = isPlain ? message : (message as { readonly k?: unknown } | null)?.k;
    if (!Array.isArray(keys) || !keys.every((key) => typeof key === "string")) return undefined;
    return { keys, news: isPlain ? undefined : message };
  } catch {
    return undefined;
  }
};

/**
 * Calls back for each message on a channel until disposed. Survives reconnects, but may miss what was sent meanwhile;
 * says so where it notices.
 */
export type Listen = (
  channel: string,
  onPayload: (payload: string) => void,
  onInterrupted: () => void,
) => Promise<AsyncDisposable>;

/**
 * Turns notifications of the store's channel into wake-ups. Listens from the first subscription on, and
 * wakes everybody when it begins to, since what was sent before went unheard.
 */
export class Notifier {
  readonly #listenTo: Listen;
  readonly #channel: string;
  readonly #wakeUps: WakeUps;
  readonly #loops: TaskGroup;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #started = false;

  constructor(parts: {
    readonly listen: Listen;
    readonly channel: string;
    readonly wakeUps: WakeUps;
    readonly loops: TaskGroup;
    readonly clock: Clock;
    readonly logger: Logger;
  }) {
    this.#listenTo = parts.listen;
    this.#channel = parts.channel;
    this.#wakeUps = parts.wakeUps;
    this.#loops = parts.loops;
    this.#clock = parts.clock;
    this.#logger = parts.logger;
  }

  subscribe(key: string, listener: (news: unknown) => void): () => void {
    if (!this.#started) {
      this.#started = true;
      this.#loops.spawn("notifications", (signal) => this.#listen(signal));
    }
    return this.#wakeUps.subscribe(key, listener);
  }

  /** Wakes those of this process at once, besides the notification that goes to everybody. */
  wakeHere(key: string): void {
    this.#wakeUps.wake(key);
  }

  async #listen(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await using _listening = await this.#listenTo(
          this.#channel,
          (payload) => this.#onPayload(payload),
          () => this.#onInterrupted(),
        );
        this.#wakeUps.wakeAll();
        await untilAbort(signal);
        return;
      } catch (err) {
        if (signal.aborted) return;
        this.#wakeUps.wake(INTERRUPTED_KEY);
        this.#logger.warn(
          { err, channel: this.#channel },
          "cannot listen for notifications; polling until then",
        );
        await this.#clock.sleep(RETRY_MS, { signal });
      }
    }
  }

  #onInterrupted(): void {
    this.#wakeUps.wake(INTERRUPTED_KEY);
    this.#wakeUps.wakeAll();
  }

  #onPayload(payload: string): void {
    const message = decodeWakeUp(payload);
    if (message === undefined) this.#wakeUps.wakeAll();
    else for (const key of message.keys) this.#wakeUps.wake(key, message.news);
  }
}

const untilAbort = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
