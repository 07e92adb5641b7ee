import { type Clock, deferred } from "@holdfast/kernel";
import type { Position } from "../position.ts";
import type { Log, LogTailItem, ReadOptions } from "./log.ts";

export interface FollowOptions extends ReadOptions {
  readonly clock: Clock;
  /** Calls back whenever the stream may have changed, until the returned function is called. */
  readonly subscribe: (wake: () => void) => () => void;
  /** How long to trust that silence means nothing new; undefined when notifications cannot be missed. */
  readonly pollMs: number | undefined;
}

/**
 * The tail of one stream, the same for every backend: read until nothing is newer, then wait for a wake-up
 * (or the poll interval) and read again. It counts wake-ups from before each read, so one that comes during
 * the read is not lost. It buffers nothing: the next read happens when the consumer asks.
 */
export async function* followLog(
  read: Log<unknown>["read"],
  stream: string,
  options: FollowOptions,
): AsyncGenerator<LogTailItem, never, void> {
  const { signal, clock, pollMs } = options;
  const limit = options.limit === undefined ? {} : { limit: options.limit };
  let after: Position | undefined = options.after;
  let wakeCount = 0;
  let onWake: (() => void) | undefined;
  const unsubscribe = options.subscribe(() => {
    wakeCount += 1;
    onWake?.();
  });
  try {
    for (;;) {
      signal?.throwIfAborted();
      const seen = wakeCount;
      const item = await read(stream, { after, signal, ...limit });
      if (item.kind === "reset") {
        after = { epoch: item.bounds.head.epoch, offset: item.bounds.trimmedTo };
        yield item;
        continue;
      }
      const last = item.entries.at(-1);
      if (last !== undefined) {
        after = last.position;
        yield item;
        continue;
      }
      // Both may have happened while the read was under way.
      if (wakeCount !== seen || signal?.aborted) continue;
      const woken = deferred<void>();
      const onAbort = (): void => woken.reject(signal?.reason);
      onWake = () => woken.resolve();
      const timer = pollMs === undefined ? undefined : clock.schedule(pollMs, () => woken.resolve());
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        await woken.promise;
      } finally {
        onWake = undefined;
        timer?.cancel();
        signal?.removeEventListener("abort", onAbort);
      }
    }
  } finally {
    unsubscribe();
  }
}
