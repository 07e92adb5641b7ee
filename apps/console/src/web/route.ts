import { useSyncExternalStore } from "react";

export type Route =
  | { readonly page: "cluster" }
  | { readonly page: "jobs" }
  | { readonly page: "data" }
  | { readonly page: "job"; readonly jobId: string }
  | { readonly page: "unknown"; readonly path: string };

const parse = (path: string): Route => {
  if (path === "/") return { page: "cluster" };
  if (path === "/jobs") return { page: "jobs" };
  if (path === "/data") return { page: "data" };
  const job = /^\/jobs\/(.+)$/.exec(path)?.[1];
  return job === undefined ? { page: "unknown", path } : { page: "job", jobId: decodeURIComponent(job) };
};

const listen = (listener: () => void): (() => void) => {
  addEventListener("popstate", listener);
  return () => removeEventListener("popstate", listener);
};

export const useRoute = (): Route => parse(useSyncExternalStore(listen, () => location.pathname));

export const navigate = (path: string): void => {
  history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
  document.querySelector("main")?.focus();
};

export const jobPath = (jobId: string): string => `/jobs/${encodeURIComponent(jobId)}`;
