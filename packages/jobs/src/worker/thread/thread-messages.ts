import type { WireError } from "@holdfast/kernel";
import type { Assignment, ValidateInputAnswer, WorkflowCatalogEntry } from "@holdfast/protocol/contract";
import type { ShardOutcome, ShardUpdate } from "../executor.ts";
import type { ErrorData } from "./error-data.ts";

// What the node and a workflow thread say to each other. A thread has at most one attempt at a time; numbers
// name attempts, validations and database calls, so that a late message about an old one is ignored.

export interface ThreadData {
  /** File URL of the module of workflows. */
  readonly moduleUrl: string;
  readonly nodeId: string;
  readonly hasDatabase: boolean;
}

export type ToThread =
  | { readonly type: "run"; readonly id: number; readonly assignment: Assignment }
  | { readonly type: "stop"; readonly id: number; readonly reason: WireError }
  | { readonly type: "collect"; readonly id: number }
  | { readonly type: "extended"; readonly id: number; readonly call: number; readonly grantedMs: number }
  | {
      readonly type: "validate";
      readonly questions: readonly {
        readonly id: number;
        readonly workflow: string;
        readonly input: unknown;
      }[];
    }
  /** The answer to a database call. */
  | { readonly type: "rows"; readonly id: number; readonly call: number; readonly rows: readonly object[] }
  | { readonly type: "failed"; readonly id: number; readonly call: number; readonly error: ErrorData }
  /** The effect has not been done yet: run its body in this transaction. */
  | { readonly type: "do-effect"; readonly id: number; readonly call: number; readonly transaction: number }
  | { readonly type: "effect-result"; readonly id: number; readonly call: number; readonly result: unknown };

export type FromThread =
  | { readonly type: "ready"; readonly catalog: readonly WorkflowCatalogEntry[] }
  | { readonly type: "broken"; readonly error: WireError }
  | { readonly type: "update"; readonly id: number; readonly update: ShardUpdate }
  /** Answers every `collect`, after the update if there was one. */
  | { readonly type: "collected"; readonly id: number }
  | { readonly type: "outcome"; readonly id: number; readonly outcome: ShardOutcome }
  /** The attempt asks for more time; answered by `extended`. */
  | { readonly type: "extend"; readonly id: number; readonly call: number; readonly done: number }
  | {
      readonly type: "validated";
      readonly answers: readonly { readonly id: number; readonly answer: ValidateInputAnswer }[];
    }
  | DatabaseCall;

/** `id` names the attempt: what an attempt that is over still asks for is not done for the next one. */
export type DatabaseCall = { readonly id: number } & (
  | {
      readonly type: "query";
      readonly call: number;
      /** Undefined: outside any transaction. */
      readonly transaction: number | undefined;
      readonly text: string;
      readonly values: readonly unknown[];
    }
  | { readonly type: "effect"; readonly call: number; readonly name: string }
  /** The end of an effect's body. */
  | { readonly type: "commit"; readonly transaction: number; readonly result: unknown }
  | { readonly type: "rollback"; readonly transaction: number }
);
