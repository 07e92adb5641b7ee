import { AsyncLocalStorage } from "node:async_hooks";
import { NestedUseError } from "../errors.ts";

/** Marks the code that runs inside the body of a transaction. */
export interface TransactionScope {
  readonly database: object;
  open: boolean;
  readonly outer: TransactionScope | undefined;
}

const scopes = new AsyncLocalStorage<TransactionScope | undefined>();

/** Runs `body` as the body of a transaction of `database`. */
export const insideTransaction = async <T>(database: object, body: () => Promise<T>): Promise<T> => {
  const scope: TransactionScope = { database, open: true, outer: scopes.getStore() };
  try {
    return await scopes.run(scope, body);
  } finally {
    scope.open = false;
  }
};

/** Runs `callback` as if it was called from nowhere: for listeners and timers, which belong to no transaction. */
export const outsideTransactions = <T>(callback: () => T): T => scopes.run(undefined, callback);

/** @throws NestedUseError inside the body of an open transaction of the same database. */
export const refuseInsideTransaction = (database: object, operation: string): void => {
  for (let scope = scopes.getStore(); scope !== undefined; scope = scope.outer) {
    if (scope.open && scope.database === database) throw new NestedUseError(operation);
  }
};

/** Whether the caller runs inside the body of an open transaction of any database. */
export const isInsideTransaction = (): boolean => {
  for (let scope = scopes.getStore(); scope !== undefined; scope = scope.outer) {
    if (scope.open) return true;
  }
  return false;
};
