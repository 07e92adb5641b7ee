import type { TaskPriority } from "../queue/task-queue.ts";

/** The names of the event types, and what each carries. */
export type EventMap = Record<string, unknown>;

/** What may be given as data: types that need none take null or undefined, which becomes `{}`. */
export type DataOf<Events extends EventMap, Type extends keyof Events> =
  Record<never, never> extends Events[Type] ? Events[Type] | null | undefined : Events[Type];

/** The same names as of tasks: one scale in the whole of Holdfast. */
export type EventPriority = TaskPriority;

/** Lanes in the order in which they are served. */
export const LANES: readonly EventPriority[] = ["critical", "high", "normal", "low"];

/** An event as handlers get it. */
export interface BusEvent<Type extends string = string, Data = unknown> {
  readonly type: Type;
  readonly data: Data;
  /** Decides how soon it is handed out. */
  readonly priority: EventPriority;
  /** Whether its sender waits for all handlers, and it may use the headroom. Has nothing to do with its priority. */
  readonly isCritical: boolean;
  /** Milliseconds since the epoch, when it was published. For people: order comes from `sequence`. */
  readonly createdAt: number;
  /** Grows by one with every event of the bus. */
  readonly sequence: number;
}

/** One handler that did not do its work for one event. */
export interface HandlerFailure {
  readonly event: BusEvent;
  /** The name of the subscription. */
  readonly subscription: string;
  /** What it threw; TimeoutError after its time; InboxFullError when it was never started for want of room. */
  readonly error: unknown;
}

/** What became of an event whose sender waited for it. */
export interface Delivery {
  readonly event: BusEvent;
  /** How many subscriptions there were when it was handed out; 0 means that nobody wanted it. */
  readonly handlerCount: number;
  /** Empty when every handler succeeded. */
  readonly failures: readonly HandlerFailure[];
}
