import { emptyProjection, type JobProjection, projectEvent } from "@holdfast/jobs/projection";
import type { ConnectionState } from "@holdfast/live/client";
import { useBroadcast, useBroadcastState } from "@holdfast/live-react";
import type { JobEvent } from "@holdfast/protocol/contract";
import { useEffect, useState } from "react";
import { JOB_CHANNEL_PREFIX } from "../messages.ts";
import { storeToken } from "./token.ts";
import { useChannelError } from "./use-channel-error.ts";

/** How the page is connected. `signed-out`: the console wants a token, or another one. */
export const useConnection = (): {
  readonly state: ConnectionState | "signed-out";
  /** When it was noticed that the connection broke, by the page's clock; undefined while connected, or before it ever was. */
  readonly lostAt: number | undefined;
  readonly retryNow: () => void;
  readonly signIn: (token: string) => void;
} => {
  const client = useBroadcast();
  const state = useBroadcastState();
  const isConnected = state === "connected";
  const [wasConnected, setWasConnected] = useState(isConnected);
  const [lostAt, setLostAt] = useState<number>();
  if (isConnected !== wasConnected) {
    setWasConnected(isConnected);
    setLostAt(isConnected ? undefined : Date.now());
  }
  return {
    lostAt,
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
