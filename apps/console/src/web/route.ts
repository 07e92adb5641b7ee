import { useSyncExternalStore } from "react";

export type Route =
  | { readonly page: "cluster" }
  | { readonly page: "jobs" }
  | { readonly page: "data" }
  | { readonly page: "job"; readonly jobId: string }
  | ({ readonly page: "compare" } & Comparison)
  | { readonly page: "unknown"; readonly path: string };

/** Which two runs are compared; undefined: still to be chosen. */
export interface Comparison {
  readonly a: string | undefined;
  readonly b: string | undefined;
  /** How often a difference that is none may be called one. */
  readonly level: string | undefined;
}

export const parseRoute = (address: string): Route => {
  const { pathname: path, searchParams: search } = new URL(`http://console${address}`);
  if (path === "/") return { page: "cluster" };
  if (path === "/jobs") return { page: "jobs" };
  if (path === "/data") return { page: "data" };
  if (path === "/compare") {
    const chosen = (name: string): string | undefined => search.get(name) || undefined;
    return { page: "compare", a: chosen("a"), b: chosen("b"), level: chosen("level") };
  }
  const job = /^\/jobs\/(.+)$/.exec(path)?.[1];
  const jobId = job === undefined ? undefined : decoded(job);
  return jobId === undefined ? { page: "unknown", path } : { page: "job", jobId };
};

/** Undefined for what no address of ours looks like, such as a `%` by itself. */
const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
};

const listen = (listener: () => void): (() => void) => {
  addEventListener("popstate", listener);
  return () => removeEventListener("popstate", listener);
};

export const useRoute = (): Route =>
  parseRoute(useSyncExternalStore(listen, () => location.pathname + location.search));

export const navigate = (path: string): void => {
  history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
  document.querySelector("main")?.focus();
};

export const jobPath = (jobId: string): string => `/jobs/${encodeURIComponent(jobId)}`;

export const comparePath = ({ a, b, level }: Partial<Comparison>): string => {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries({ a, b, level }))
    if (value !== undefined) search.set(name, value);
  return search.size === 0 ? "/compare" : `/compare?${search}`;
};
