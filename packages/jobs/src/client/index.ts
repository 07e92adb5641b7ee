export type {
  JobsClient,
  PingAnswer,
  SubmitOptions,
  SubmittedJob,
  SubmitWorkflow,
  WatchItem,
} from "./jobs-client.ts";
