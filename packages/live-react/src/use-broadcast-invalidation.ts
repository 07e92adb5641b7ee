import { type Clock, type Random, systemClock, systemRandom, type Timer } from "@holdfast/kernel";
import {
  type BroadcastEvent,
  type Mutators,
  type OptimisticStore,
  type QueryKey,
  startsWith,
} from "@holdfast/live/client";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useChannel, useLatest } from "./connection-hooks.ts";
import { defaultKeyMapper, entityIdOf, type KeyMapper, StaleSet } from "./invalidation-keys.ts";

/** Events within this time are one invalidation. */
const MERGE_MS = 50;
/** Clients refetch at different times within this span, so that one event is not one blow to the server. */
const SPREAD_MS = 250;

/** The part of TanStack's QueryClient that is used; any cache with the same method fits. */
export interface QueryCache {
  invalidateQueries(filters: {
    readonly predicate: (query: { readonly queryKey: QueryKey }) => boolean;
  }): Promise<unknown>;
}

export interface InvalidationOptions {
  readonly channel: string;
  readonly queryKeyPrefix: QueryKey;
  readonly cache: QueryCache;
  /** False: no subscription and no refetch, also not for what was heard before. Default true. */
  readonly enabled?: boolean;
  /** Only events of this entity, and those that name none, count. */
  readonly entityId?: string;
  readonly keys?: KeyMapper;
  /** `refetch` invalidates by itself; `mark` sets `isStale` and leaves it to `refresh`, for forms. Default `refetch`. */
  readonly mode?: "refetch" | "mark";
  /** Echoes of its mutations invalidate nothing. */
  readonly store?: Pick<OptimisticStore<Mutators>, "handleEvent">;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface Invalidation {
  /** In mode `mark`: something changed since the last refresh. */
  readonly isStale: boolean;
  /** Invalidates what is stale now. */
  readonly refresh: () => void;
}

/**
 * Keeps the queries under a prefix true: an event with an entity id invalidates that detail and every list, filtered
 * ones too; one without invalidates all of the prefix; so does a gap, once, and so does the server's taking up of the
 * channel, or the mount where others follow it already, because what was fetched before may lack the events before. What
 * comes within 50 ms is merged, and runs within another 250 ms, spread by chance.
 * @throws MissingProviderError
 */
export const useBroadcastInvalidation = (options: InvalidationOptions): Invalidation => {
  const latest = useLatest(options);
  const stale = useMemo(() => new StaleSet(), []);
  const timer = useRef<Timer | undefined>(undefined);
  const [isStale, setIsStale] = useState(false);

  const refreshUnder = useCallback(
    (prefix: QueryKey) => {
      timer.current?.cancel();
      timer.current = undefined;
      setIsStale(false);
      if (stale.isEmpty) return;
      const { keys = defaultKeyMapper, cache } = latest.current;
      const isConcerned = stale.take(prefix, keys);
      cache
        .invalidateQueries({
          predicate: ({ queryKey }) => startsWith(queryKey, prefix) && isConcerned(queryKey),
        })
        // A refetch that fails is the query's to show.
        .catch(() => undefined);
    },
    [stale, latest],
  );
  const watched = useRef(options.queryKeyPrefix);
  const refresh = useCallback(() => refreshUnder(watched.current), [refreshUnder]);
  const prefixText = JSON.stringify(options.queryKeyPrefix);
  // What was heard under one prefix says nothing about the next.
  useEffect(() => {
    if (JSON.stringify(watched.current) !== prefixText) refresh();
    watched.current = latest.current.queryKeyPrefix;
  }, [prefixText, refresh, latest]);

  const refreshSoon = useCallback(() => {
    const { clock = systemClock, random = systemRandom } = latest.current;
    timer.current ??= clock.schedule(MERGE_MS + random.next() * SPREAD_MS, refresh);
  }, [latest, refresh]);

  const note = useCallback(
    (entity: string | undefined) => {
      stale.add(entity);
      if (latest.current.mode === "mark") setIsStale(true);
      else refreshSoon();
    },
    [stale, latest, refreshSoon],
  );

  const onEvent = (event: BroadcastEvent): void => {
    const { entityId, store } = latest.current;
    if (store?.handleEvent(event)) return;
    const entity = entityIdOf(event);
    if (entityId === undefined || entity === undefined || entity === entityId) note(entity);
  };
  const isEnabled = options.enabled ?? true;
  useChannel(options.channel, onEvent, {
    enabled: isEnabled,
    onGap: () => note(undefined),
    // Also where a form must not change by itself: so early there is nothing in it yet.
    onBegin: () => {
      stale.add(undefined);
      refreshSoon();
    },
  });
  const cancelRefresh = useCallback(() => {
    timer.current?.cancel();
    timer.current = undefined;
  }, []);
  useEffect(() => {
    // A form that is edited from now on must not change; all of it is asked for when it is enabled again.
    if (!isEnabled) cancelRefresh();
    return cancelRefresh;
  }, [isEnabled, cancelRefresh]);
  return { isStale, refresh };
};
