import type { MutateOptions, Mutation, Mutators, OptimisticStore, QueryKey } from "@holdfast/live/client";
import { useCallback, useState, useSyncExternalStore } from "react";
import { useLatest } from "./connection-hooks.ts";

/** The value of a key with everything pending drawn over it, from the moment of `mutate`. */
export const useOptimisticValue = <T>(
  store: Pick<OptimisticStore<Mutators>, "subscribe" | "value">,
  key: QueryKey,
): T | undefined => {
  const text = JSON.stringify(key);
  const subscribe = useCallback(
    (onChange: () => void) => store.subscribe(JSON.parse(text) as QueryKey, onChange),
    [store, text],
  );
  const read = (): T | undefined => store.value(key) as T | undefined;
  return useSyncExternalStore(subscribe, read, read);
};

export interface OptimisticMutation<Args, Result> {
  /** Changes what is shown at once, and sends. Stable. */
  readonly mutate: (args: Args) => Mutation<Result>;
  readonly pendingCount: number;
  /** Of the newest mutation that failed, until the next one starts. MutationConflictError carries the server's value. */
  readonly error: unknown;
}

/** One mutator of a store, with what to show beside it: whether it is under way and how it failed. */
export const useOptimisticMutation = <M extends Mutators, K extends keyof M & string, Result>(
  store: OptimisticStore<M>,
  name: K,
  options: MutateOptions<Parameters<M[K]>[0], Result>,
): OptimisticMutation<Parameters<M[K]>[0], Result> => {
  const latest = useLatest(options);
  const [status, setStatus] = useState<{ readonly pendingCount: number; readonly error: unknown }>({
    pendingCount: 0,
    error: undefined,
  });
  const mutate = useCallback(
    (args: Parameters<M[K]>[0]): Mutation<Result> => {
      const mutation = store.mutate<K, Result>(name, args, {
        send: (context) => latest.current.send(context, args),
        ...(latest.current.reconcile === undefined ? {} : { reconcile: latest.current.reconcile }),
      });
      setStatus(({ pendingCount }) => ({ pendingCount: pendingCount + 1, error: undefined }));
      const onEnd = (failure: { readonly error?: unknown }): void =>
        setStatus(({ pendingCount, error }) => ({ pendingCount: pendingCount - 1, error, ...failure }));
      mutation.done.then(
        () => onEnd({}),
        (error: unknown) => onEnd({ error }),
      );
      return mutation;
    },
    [store, name, latest],
  );
  return { mutate, ...status };
};
