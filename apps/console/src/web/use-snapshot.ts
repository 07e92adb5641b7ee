import { useChannel } from "@holdfast/live-react";
import { useEffect, useState, useSyncExternalStore } from "react";
import { STALE_EVENT, type StaleState } from "../messages.ts";
import { useChannelError } from "./use-channel-error.ts";

/** Since when what is shown is old, and why. */
export interface Staleness {
  /** When it was seen, by the clock of the console. */
  readonly seenAt: number;
  readonly message: string;
}

export interface Snapshot<T> {
  readonly data: T | undefined;
  /** Why there is nothing to show. */
  readonly error: string | undefined;
  /** Set while `data` is old; it is undefined again with the next state. */
  readonly stale: Staleness | undefined;
}

export type StateName = "cluster" | "data" | "jobs";

/** The newest state of each channel that is shown. */
const shown = new Map<StateName, { snapshot: Snapshot<unknown>; viewerCount: number }>();
const staleListeners = new Set<() => void>();
let stale: readonly (Staleness & { readonly name: StateName })[] = [];

const tellStale = (): void => {
  stale = [...shown].flatMap(([name, { snapshot }]) =>
    snapshot.stale === undefined ? [] : { name, ...snapshot.stale },
  );
  for (const listener of [...staleListeners]) listener();
};

/** What of the page is old now: empty while all is live. */
export const useStale = (): typeof stale =>
  useSyncExternalStore(
    (onChange) => {
      staleListeners.add(onChange);
      return () => staleListeners.delete(onChange);
    },
    () => stale,
  );

const nextSnapshot = <T>(
  before: Snapshot<T>,
  { event, payload, ts }: { readonly event: string; readonly payload: unknown; readonly ts?: number },
): Snapshot<T> => {
  if (event !== STALE_EVENT) return { data: payload as T, error: undefined, stale: undefined };
  const { state, seenAt, message } = payload as StaleState;
  if (seenAt !== null) return { data: state as T, error: undefined, stale: { seenAt, message } };
  // A console that began a moment ago has seen nothing yet; the page may still show what another one had.
  return before.data === undefined
    ? { data: undefined, error: message, stale: undefined }
    : { ...before, stale: { seenAt: before.stale?.seenAt ?? ts ?? Date.now(), message } };
};

/**
 * The newest state of a channel, and since when it is old, if it is. One page that takes the place of another joins the
 * channel where that left it, and is not told again what has not changed: so it begins with what the other one showed.
 */
export const useSnapshot = <T>(
  name: StateName,
  options: { readonly enabled?: boolean } = {},
): Snapshot<T> => {
  const isEnabled = options.enabled ?? true;
  const [value, setValue] = useState<Snapshot<T>>(
    () =>
      (shown.get(name)?.snapshot as Snapshot<T> | undefined) ?? {
        data: undefined,
        error: undefined,
        stale: undefined,
      },
  );
  useChannel(
    name,
    (event) => {
      const entry = shown.get(name);
      const next = nextSnapshot((entry?.snapshot as Snapshot<T> | undefined) ?? value, event);
      if (entry !== undefined) entry.snapshot = next;
      tellStale();
      setValue(next);
    },
    { enabled: isEnabled },
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: later values are put in by the channel
  useEffect(() => {
    if (!isEnabled) return undefined;
    const entry = shown.get(name) ?? { snapshot: value, viewerCount: 0 };
    shown.set(name, entry);
    entry.viewerCount += 1;
    tellStale();
    return () => {
      entry.viewerCount -= 1;
      if (entry.viewerCount === 0) shown.delete(name);
      tellStale();
    };
  }, [name, isEnabled]);
  useChannelError(name, (error) => setValue((before) => ({ ...before, error })));
  return value;
};
