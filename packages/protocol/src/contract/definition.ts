import type { z } from "zod";

/** What a credential may do. `operate` includes node-to-node traffic. */
export const SCOPES = ["submit", "read", "cancel", "operate"] as const;
export type Scope = (typeof SCOPES)[number];

/** How load shedding treats a message: `critical` always passes, `low` is shed first. */
export type MessagePriority = "critical" | "high" | "normal" | "low";

/** A message that is answered. Names are `<room>.<verb>`, never reused for another meaning. */
export interface RequestDefinition<In extends z.ZodType = z.ZodType, Out extends z.ZodType = z.ZodType> {
  readonly kind: "request";
  readonly name: string;
  readonly input: In;
  readonly output: Out;
  readonly scope: Scope;
  readonly priority: MessagePriority;
  /** Whether the request may be repeated after its bytes were sent without an answer. */
  readonly idempotent: boolean;
}

/** A message that is not answered. */
export interface PushDefinition<Payload extends z.ZodType = z.ZodType> {
  readonly kind: "push";
  readonly name: string;
  readonly payload: Payload;
  readonly scope: Scope;
  readonly priority: MessagePriority;
}

/** A message that is answered by any number of items, one after the other. */
export interface StreamDefinition<In extends z.ZodType = z.ZodType, Item extends z.ZodType = z.ZodType> {
  readonly kind: "stream";
  readonly name: string;
  readonly input: In;
  readonly item: Item;
  readonly scope: Scope;
  readonly priority: MessagePriority;
  /** Whether the stream may be asked for again after its request was sent without an answer. */
  readonly idempotent: boolean;
}

/** What is given to ask. */
export type InputOf<D extends RequestDefinition | StreamDefinition> = z.input<D["input"]>;
/** What the asker gets. */
export type OutputOf<D extends RequestDefinition> = z.output<D["output"]>;
/** What the reader of a stream gets, one after the other. */
export type ItemOf<D extends StreamDefinition> = z.output<D["item"]>;
/** What the receiver of a push gets. */
export type PayloadOf<D extends PushDefinition> = z.output<D["payload"]>;

/** Declares a message that is answered once. Share the definition between both sides: each checks by it. */
export const defineRequest = <In extends z.ZodType, Out extends z.ZodType>(
  definition: Omit<RequestDefinition<In, Out>, "kind">,
): RequestDefinition<In, Out> => ({ kind: "request", ...definition });

/** Declares a message that is answered item by item. */
export const defineStream = <In extends z.ZodType, Item extends z.ZodType>(
  definition: Omit<StreamDefinition<In, Item>, "kind">,
): StreamDefinition<In, Item> => ({ kind: "stream", ...definition });

/** Declares a message that is not answered. */
export const definePush = <Payload extends z.ZodType>(
  definition: Omit<PushDefinition<Payload>, "kind">,
): PushDefinition<Payload> => ({ kind: "push", ...definition });
