const refusals = new WeakSet<object>();

/**
 * Marks an error as made by a limit on our own side. A breaker around that limit must not count it: it says
 * nothing about the dependency. The mark is kept beside the error, so the error itself stays as it is.
 */
export const markLocalRefusal = <E extends Error>(error: E): E => {
  refusals.add(error);
  return error;
};

export const isLocalRefusal = (error: unknown): boolean =>
  typeof error === "object" && error !== null && refusals.has(error);
