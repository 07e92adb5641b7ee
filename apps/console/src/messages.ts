import type { ClusterView, JobEvent, JobSummary } from "@holdfast/protocol/contract";

// What console server and page say to each other over the WebSocket. The page subscribes to channels; each
// item of a channel has a position, and the page names the last one it has when it comes back.

export interface ChannelPosition {
  readonly epoch: string;
  readonly offset: string;
}

/** `cluster`, `jobs`, or `job:<id>`. */
export type Channel = string;

export type PageMessage =
  | { readonly type: "auth"; readonly token: string }
  | { readonly type: "subscribe"; readonly channel: Channel; readonly after?: ChannelPosition }
  | { readonly type: "unsubscribe"; readonly channel: Channel };

export type ServerMessage =
  | { readonly type: "ready" }
  /** The whole state of `cluster` or `jobs`; replaces what came before. */
  | {
      readonly type: "snapshot";
      readonly channel: Channel;
      readonly position: ChannelPosition;
      readonly data: unknown;
    }
  /** Events of a job's log, in order, right after the position that the page named. */
  | {
      readonly type: "events";
      readonly channel: Channel;
      readonly events: readonly { readonly position: ChannelPosition; readonly event: JobEvent }[];
    }
  /** The position cannot be continued from: drop what you have of this channel. */
  | { readonly type: "reset"; readonly channel: Channel; readonly reason: string }
  /** The job is over: nothing more will come on this channel. */
  | { readonly type: "end"; readonly channel: Channel }
  | {
      readonly type: "error";
      readonly channel?: Channel;
      readonly error: { readonly code: string; readonly message: string };
    };

/** Data of the `cluster` channel. */
export type ClusterData = ClusterView;

/** Data of the `jobs` channel: the newest jobs. */
export interface JobsData {
  readonly jobs: readonly JobSummary[];
}
