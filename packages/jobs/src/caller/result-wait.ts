import { type Deferred, deferred } from "@holdfast/kernel";
import type { JobEventsPush, JobResult } from "@holdfast/protocol/contract";
import type { PushTarget } from "./subscriptions.ts";

/** Waits for the result in the pushes of one subscription; whatever else they bring is let go. */
export class ResultWait implements PushTarget {
  readonly #done: Deferred<JobResult | undefined> = deferred();

  /** The final result, or undefined when the subscription ended without one: ask for it then. */
  get result(): Promise<JobResult | undefined> {
    return this.#done.promise;
  }

  take(push: JobEventsPush): void {
    for (const { event } of push.events) {
      if (event.type === "job.result" && event.datacenter === undefined) this.#done.resolve(event.result);
    }
    if (push.end) this.giveUp();
  }

  /** Nothing more will come. */
  giveUp(): void {
    this.#done.resolve(undefined);
  }
}
