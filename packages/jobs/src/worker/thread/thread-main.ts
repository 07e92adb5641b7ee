import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { isHoldfastError, systemClock, toWireError } from "@holdfast/kernel";
import { UnknownWorkflowError } from "../../errors.ts";
import type { WorkflowRegistry } from "../../model/registry.ts";
import type { ShardOutcome } from "../executor.ts";
import { validateAgainst } from "../input-validation.ts";
import { LocalAttempt } from "../local-attempt.ts";
import { failureOf, thawError } from "../shard-failure.ts";
import { loadWorkflowModule } from "../workflow-module.ts";
import { ThreadDatabase } from "./thread-database.ts";
import type { FromThread, ThreadData, ToThread } from "./thread-messages.ts";

// The program of a workflow thread: loads the module, then runs one attempt at a time until it is ended.

const serveThread = async (port: NonNullable<typeof parentPort>, data: ThreadData): Promise<void> => {
  const post = (message: FromThread): void => port.postMessage(message);
  const registry = await loadRegistry(data, post);
  if (registry === undefined) return;
  let current:
    | { readonly id: number; readonly attempt: LocalAttempt; readonly database: ThreadDatabase }
    | undefined;

  const extensions = new Map<number, (grantedMs: number) => void>();
  let lastCall = 0;

  const finish = (id: number, outcome: ShardOutcome): void => {
    current = undefined;
    extensions.clear();
    post({ type: "outcome", id, outcome });
  };

  const run = ({ id, assignment }: Extract<ToThread, { type: "run" }>): void => {
    const definition = registry.get(assignment.workflow);
    if (definition === undefined) {
      const error = new UnknownWorkflowError(assignment.workflow, registry.names);
      finish(id, { kind: "failed", ...failureOf(error), lastUpdate: undefined });
      return;
    }
    const database = new ThreadDatabase(id, post);
    const extend = (done: number): Promise<number> =>
      new Promise((resolve) => {
        lastCall += 1;
        extensions.set(lastCall, resolve);
        post({ type: "extend", id, call: lastCall, done });
      });
    const attempt = new LocalAttempt({
      definition,
      assignment,
      clock: systemClock,
      nodeId: data.nodeId,
      database: data.hasDatabase ? (signal) => database.of(signal) : undefined,
      onUpdate: (update) => post({ type: "update", id, update }),
      extend,
    });
    current = { id, attempt, database };
    void attempt.outcome.then((outcome) => finish(id, outcome));
  };

  port.on("message", (message: ToThread) => {
    if (message.type === "run") run(message);
    else if (message.type === "validate") {
      const answers = message.questions.map(async ({ id, ...question }) => ({
        id,
        answer: await validateAgainst(registry, question),
      }));
      void Promise.all(answers).then((all) => post({ type: "validated", answers: all }));
    } else if (message.type === "stop" || message.type === "collect") {
      if (current?.id !== message.id) return;
      if (message.type === "stop") current.attempt.stop(thawError(message.reason));
      else {
        current.attempt.collect();
        post({ type: "collected", id: message.id });
      }
    } else if (message.type === "extended") {
      extensions.get(message.call)?.(message.grantedMs);
      extensions.delete(message.call);
    } else if (current?.id === message.id) current.database.onMessage(message);
  });
  post({ type: "ready", catalog: registry.catalog() });
};

const loadRegistry = async (
  data: ThreadData,
  post: (message: FromThread) => void,
): Promise<WorkflowRegistry | undefined> => {
  try {
    return await loadWorkflowModule(data.moduleUrl);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    post({ type: "broken", error: toWireError(error) });
    return undefined;
  }
};

if (!isMainThread && parentPort !== null) await serveThread(parentPort, workerData as ThreadData);
