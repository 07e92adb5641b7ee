import type { Clock, Random } from "@holdfast/kernel";
import type { Change } from "./change.ts";
import type { OfflineQueue } from "./offline-queue.ts";
import type { TabLink } from "./overlay-message.ts";
import type { QueryKey } from "./query-key.ts";

/** What a mutation does, worked out from plain arguments: the same in every tab. */
// biome-ignore lint/suspicious/noExplicitAny: each mutator has arguments of its own
export type Mutators = Readonly<Record<string, (args: any) => readonly Change[]>>;

export interface SendContext {
  /** The idempotency key of the call: the same for every retry. Send it along, so that the event carries it. */
  readonly mutation: string;
}

export interface MutateOptions<Args, Result> {
  /**
   * Does it on the server. Throw MutationConflictError for a 409; whatever it throws takes the mutation back.
   * Resolve only when the server has confirmed.
   */
  readonly send: (context: SendContext, args: Args) => Promise<Result>;
  /** The arguments to go on with once the server answered: its row instead of ours. Default: unchanged. */
  readonly reconcile?: (result: Result, args: Args) => Args;
}

export interface OptimisticStoreOptions<M extends Mutators> {
  readonly mutators: M;
  /** Fetches these keys afresh through `beginRefetch`. Called for an acknowledged mutation of which no event told. */
  readonly refetch?: (keys: readonly QueryKey[]) => Promise<void>;
  /** How long an acknowledged mutation waits for its event, milliseconds. Default 5_000. */
  readonly settleWithinMs?: number;
  /** How long a mutation of another tab is shown without news of it, milliseconds. Default 30_000. */
  readonly tabTtlMs?: number;
  /** Mutations pending at once, from 1; more are refused with OverloadedError. Default 1_000. */
  readonly pendingMaxCount?: number;
  /** Shares pending mutations with the other tabs; a BroadcastClient fits. */
  readonly tabs?: TabLink;
  /** Keeps what could not be sent and sends it later; until then it stays shown. Default: such a mutation fails. */
  readonly offline?: {
    readonly queue: OfflineQueue;
    /** How to send what an earlier page left waiting, by mutator; of others nothing is restored. */
    // biome-ignore lint/suspicious/noExplicitAny: each mutator has a result of its own
    readonly sends?: { readonly [K in keyof M & string]?: MutateOptions<Parameters<M[K]>[0], any> };
  };
  readonly onError?: (error: unknown) => void;
  readonly clock?: Clock;
  readonly random?: Random;
}

export interface Mutation<Result> {
  readonly id: string;
  /**
   * The server's answer. Rejects with what `send` threw, after the change was taken back; it stays if its event had
   * come, because then only the answer was lost.
   */
  readonly done: Promise<Result>;
}

export interface Refetch {
  /** What the fetch brought. Only the first call counts. */
  complete(value: unknown): void;
  /** The fetch failed or is not wanted any more. */
  abandon(): void;
}
