import type { Abortable } from "@holdfast/kernel";
import { UnsupportedError } from "../../errors.ts";
import { encodeWakeUp } from "../../notifier.ts";
import { queueKey } from "../../wake-ups.ts";
import type { QueueScriptName, ScriptRunner } from "./script-runner.ts";

/** The scripts of one queue, with what all of them begin with. */
export class QueueScripts {
  readonly #runner: ScriptRunner;
  readonly #keys: readonly string[];
  readonly #head: readonly string[];

  /** Every key of the queue lies in the slot of `{namespace:queue:name}`, so that queues spread over a cluster. */
  constructor(runner: ScriptRunner, namespace: string, channel: string, queue: string) {
    this.#runner = runner;
    this.#keys = [`{${namespace}:queue:${queue}}`];
    this.#head = [channel, encodeWakeUp([queueKey(queue)])];
  }

  async run<Reply>(
    name: QueueScriptName,
    args: readonly string[],
    options: Abortable & { readonly tx?: never },
    isRepeatable: boolean,
  ): Promise<Reply> {
    if (options.tx !== undefined) {
      throw new UnsupportedError(
        "a queue's change in a transaction",
        "Redis has none that other changes could join",
      );
    }
    return this.#runner.run<Reply>(name, this.#keys, [...this.#head, ...args], {
      signal: options.signal,
      isRepeatable,
    });
  }
}
