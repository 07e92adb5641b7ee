import { emptyProjection, type JobProjection, projectEvent } from "@holdfast/jobs/projection";
import { type ConnectionState, NotConnectedError } from "@holdfast/live/client";
import { useBroadcast, useBroadcastState, useChannel } from "@holdfast/live-react";
import type { JobEvent } from "@holdfast/protocol/contract";
import { useEffect, useState } from "react";
import { JOB_CHANNEL_PREFIX } from "../messages.ts";
import { storeToken } from "./token.ts";

/** How the page is connected. `signed-out`: the console wants a token, or another one. */
export const useConnection = (): {
  readonly state: ConnectionState | "signed-out";
  readonly retryNow: () => void;
  readonly signIn: (token: string) => void;
} => {
  const client = useBroadcast();
  const state = useBroadcastState();
  return {
    state: state === "disconnected" && client.detail.terminal ? "signed-out" : state,
    retryNow: () => client.connect(),
    signIn: (token) => {
      storeToken(token);
      client.connect();
    },
  };
};

export interface Loadable<T> {
  readonly data: T | undefined;
  readonly error: string | undefined;
}

/** Calls back with what the console says against a channel. */
const useChannelError = (channel: string, onError: (message: string) => void): void => {
  const client = useBroadcast();
  // biome-ignore lint/correctness/useExhaustiveDependencies: a callback made anew says the same
  useEffect(
    () =>
      client.onError((error, concerned) => {
        if (concerned === channel && !(error instanceof NotConnectedError)) onError(error.message);
      }),
    [client, channel],
  );
};

/** The newest state of each channel that is shown. */
const shown = new Map<string, { data: unknown; viewerCount: number }>();

/**
 * The newest state of `cluster`, `data` or `jobs`. One page that takes the place of another joins the channel where that
 * left it, and is not told again what has not changed: so it begins with what the other one showed.
 */
export const useSnapshot = <T>(channel: string): Loadable<T> => {
  const [value, setValue] = useState<Loadable<T>>(() => ({
    data: shown.get(channel)?.data as T | undefined,
    error: undefined,
  }));
  useChannel(channel, ({ payload }) => {
    const entry = shown.get(channel);
    if (entry !== undefined) entry.data = payload;
    setValue({ data: payload as T, error: undefined });
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: later values are put in by the channel
  useEffect(() => {
    const entry = shown.get(channel) ?? { data: value.data, viewerCount: 0 };
    shown.set(channel, entry);
    entry.viewerCount += 1;
    return () => {
      entry.viewerCount -= 1;
      if (entry.viewerCount === 0) shown.delete(channel);
    };
  }, [channel]);
  useChannelError(channel, (error) => setValue((before) => ({ ...before, error })));
  return value;
};

export interface LiveJob extends Loadable<JobProjection> {
  readonly historyTrimmed: boolean;
}

const NOTHING: LiveJob = { data: undefined, error: undefined, historyTrimmed: false };

/**
 * A job, folded from its log from the first event on. Events that come within one frame are folded together, so that
 * a busy job costs one rendering per frame at the most.
 */
export const useJob = (jobId: string): LiveJob => {
  const client = useBroadcast();
  const [value, setValue] = useState<LiveJob>(NOTHING);
  const channel = `${JOB_CHANNEL_PREFIX}${jobId}`;
  useChannelError(channel, (error) => setValue((before) => ({ ...before, error })));
  useEffect(() => {
    let live = NOTHING;
    let frame: number | undefined;
    const render = (): void => {
      frame ??= requestAnimationFrame(() => {
        frame = undefined;
        setValue(live);
      });
    };
    setValue(live);
    const stopGaps = client.onGap((gap) => {
      if (gap.channel !== channel) return;
      live = { ...live, data: emptyProjection, historyTrimmed: true };
      render();
    });
    const unsubscribe = client.subscribe(
      channel,
      ({ payload }) => {
        const data = projectEvent(live.data ?? emptyProjection, payload as unknown as JobEvent);
        live = { ...live, data, error: undefined };
        render();
      },
      { after: { epoch: "0", offset: "0" } },
    );
    return () => {
      stopGaps();
      unsubscribe();
      if (frame !== undefined) cancelAnimationFrame(frame);
    };
  }, [client, channel]);
  return value;
};

/** The wall clock, refreshed every `everyMs` while `active`: for elapsed times on the page. */
export const useNow = (everyMs: number, active = true): number => {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs, active]);
  return now;
};
