import {
  applyPresence,
  type BroadcastEvent,
  type ConnectionState,
  type Gap,
  type Payload,
  type Presence,
} from "@holdfast/live/client";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import { useBroadcast } from "./broadcast-provider.tsx";

/** The state of the connection, for a banner. @throws MissingProviderError */
export const useBroadcastState = (): ConnectionState => {
  const client = useBroadcast();
  const subscribe = useCallback((onChange: () => void) => client.onStateChange(onChange), [client]);
  return useSyncExternalStore(
    subscribe,
    () => client.state,
    () => "disconnected",
  );
};

/** Always the newest value, for callbacks that must not be made anew on each render. */
export const useLatest = <T>(value: T): { readonly current: T } => {
  const ref = useRef(value);
  useEffect(() => {
    ref.current = value;
  });
  return ref;
};

export interface ChannelOptions {
  /** Without it the channel is not subscribed to. Default true. */
  readonly enabled?: boolean;
  /** Events may be missing before those that follow. */
  readonly onGap?: (gap: Gap) => void;
  /** Events come from now on, and what was read before may be older: the server took up the channel, or had already. */
  readonly onBegin?: () => void;
}

/**
 * Calls `handler` for each event of a channel while mounted. A new handler on each render subscribes nothing anew.
 * @throws MissingProviderError
 */
export const useChannel = (
  channel: string,
  handler: (event: BroadcastEvent) => void,
  options: ChannelOptions = {},
): void => {
  const client = useBroadcast();
  const latestHandler = useLatest(handler);
  const latestOnGap = useLatest(options.onGap);
  const latestOnBegin = useLatest(options.onBegin);
  const isEnabled = options.enabled ?? true;
  useEffect(() => {
    if (!isEnabled) return undefined;
    const unsubscribe = client.subscribe(channel, (event) => latestHandler.current(event));
    const stopGaps = client.onGap((gap) => {
      if (gap.channel === channel) latestOnGap.current?.(gap);
    });
    let hasBegun = false;
    const begin = (): void => {
      hasBegun = true;
      latestOnBegin.current?.();
    };
    const stopBegins = client.onBegin((name) => {
      if (name === channel) begin();
    });
    // Where others here follow the channel already, or it is resumed for them, the server begins nothing anew.
    const mounted = new AbortController();
    client.ready(channel, { signal: mounted.signal }).then(
      () => {
        if (!hasBegun && !mounted.signal.aborted) begin();
      },
      // Refused, or unmounted.
      () => undefined,
    );
    return () => {
      mounted.abort();
      unsubscribe();
      stopGaps();
      stopBegins();
    };
  }, [client, channel, isEnabled, latestHandler, latestOnGap, latestOnBegin]);
};

/**
 * Is present in the channel with `data` while mounted, and returns who is there, this client included.
 * @param data Plain JSON; compared by content, so it may be made anew on each render.
 * @throws MissingProviderError
 */
export const usePresence = (channel: string, data: Payload): readonly Presence[] => {
  const client = useBroadcast();
  const [present, setPresent] = useState<readonly Presence[]>([]);
  const text = JSON.stringify(data);
  useEffect(() => {
    const stop = client.present(channel, JSON.parse(text) as Payload, (change) =>
      setPresent((before) => applyPresence(before, change)),
    );
    return () => {
      stop();
      setPresent([]);
    };
  }, [client, channel, text]);
  return present;
};
