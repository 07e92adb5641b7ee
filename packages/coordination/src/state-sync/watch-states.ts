import { type Abortable, type Clock, deferred } from "@holdfast/kernel";
import type { Position } from "../position.ts";
import type { StateChanges, States } from "./states.ts";

/** The changes of a namespace after a position; see `StateReplica.watch`. It buffers nothing. */
export async function* watchStates(
  states: States<never>,
  namespace: string,
  options: Abortable & { readonly after?: Position; readonly pollMs: number; readonly clock: Clock },
): AsyncGenerator<StateChanges, never, void> {
  const { signal, clock, pollMs } = options;
  let wakeCount = 0;
  let onWake: (() => void) | undefined;
  const wake = (): void => {
    wakeCount += 1;
    onWake?.();
  };
  const unsubscribe = states.onChange(namespace, wake, wake);
  try {
    let after = options.after ?? (await states.snapshot(namespace, { maxCount: 1, signal })).head;
    for (;;) {
      signal?.throwIfAborted();
      const seen = wakeCount;
      const read = await states.changes(namespace, { after, signal });
      if (read.kind === "reset") {
        after = read.head;
        yield read;
        continue;
      }
      const last = read.changes.at(-1);
      if (last !== undefined) {
        after = { epoch: read.head.epoch, offset: last.revision };
        yield read;
        continue;
      }
      if (wakeCount !== seen || signal?.aborted) continue;
      const woken = deferred<void>();
      const onAbort = (): void => woken.reject(signal?.reason);
      onWake = () => woken.resolve();
      const timer = clock.schedule(pollMs, () => woken.resolve());
      signal?.addEventListener("abort", onAbort, { once: true });
      try {
        await woken.promise;
      } finally {
        onWake = undefined;
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      }
    }
  } finally {
    unsubscribe();
  }
}
