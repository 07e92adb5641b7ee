export { clientOptionsFromEnvironment } from "./client-environment.ts";
export type { ClientOptions } from "./client-options.ts";
export { createClient } from "./create-client.ts";
export type {
  ClientStats,
  JobsClient,
  PingAnswer,
  SubmitOptions,
  SubmittedJob,
  SubmitWorkflow,
  WatchItem,
} from "./jobs-client.ts";
