import { emptyProjection, type JobProjection, projectEvent } from "@holdfast/jobs/projection";
import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import type { ConnectionState, LiveSocket } from "./live-socket.ts";

export const LiveContext = createContext<LiveSocket | undefined>(undefined);

const useSocket = (): LiveSocket => {
  const socket = useContext(LiveContext);
  if (socket === undefined) throw new Error("LiveContext is missing around this component");
  return socket;
};

export const useConnection = (): { readonly state: ConnectionState; readonly socket: LiveSocket } => {
  const socket = useSocket();
  const state = useSyncExternalStore(socket.onState, () => socket.state);
  return { state, socket };
};

export interface Loadable<T> {
  readonly data: T | undefined;
  readonly error: string | undefined;
}

/** The newest snapshot of `cluster` or `jobs`. */
export const useSnapshot = <T>(channel: string): Loadable<T> => {
  const socket = useSocket();
  const [value, setValue] = useState<Loadable<T>>({ data: undefined, error: undefined });
  useEffect(() => {
    setValue({ data: undefined, error: undefined });
    return socket.subscribe(channel, {
      onMessage: (message) => {
        if (message.type === "snapshot") setValue({ data: message.data as T, error: undefined });
        if (message.type === "error") setValue((before) => ({ ...before, error: message.error.message }));
      },
    });
  }, [socket, channel]);
  return value;
};

export interface LiveJob extends Loadable<JobProjection> {
  readonly isOver: boolean;
  readonly historyTrimmed: boolean;
}

/**
 * A job, folded from its log. Events that come within one frame are folded together, so that a busy job costs
 * one rendering per frame at the most.
 */
export const useJob = (jobId: string): LiveJob => {
  const socket = useSocket();
  const [value, setValue] = useState<LiveJob>({
    data: undefined,
    error: undefined,
    isOver: false,
    historyTrimmed: false,
  });
  useEffect(() => {
    let live: LiveJob = { data: undefined, error: undefined, isOver: false, historyTrimmed: false };
    let frame: number | undefined;
    const render = (): void => {
      frame ??= requestAnimationFrame(() => {
        frame = undefined;
        setValue(live);
      });
    };
    setValue(live);
    const end = socket.subscribe(`job:${jobId}`, {
      onMessage: (message) => {
        if (message.type === "events") {
          let data = live.data ?? emptyProjection;
          for (const { event } of message.events) data = projectEvent(data, event);
          live = { ...live, data, error: undefined };
        } else if (message.type === "reset") live = { ...live, data: emptyProjection, historyTrimmed: true };
        else if (message.type === "end") live = { ...live, isOver: true };
        else if (message.type === "error") live = { ...live, error: message.error.message };
        render();
      },
    });
    return () => {
      end();
      if (frame !== undefined) cancelAnimationFrame(frame);
    };
  }, [socket, jobId]);
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
