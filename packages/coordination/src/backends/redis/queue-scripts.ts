import type { Abortable } from "@holdfast/kernel";
import { UnsupportedError } from "../../errors.ts";
import { encodeWakeUp } from "../../notifier.ts";
import { queueKey } from "../../wake-ups.ts";
import type { RedisTransaction } from "./redis-client.ts";
import type { QueueScriptName, ScriptRunner } from "./script-runner.ts";

type QueueOptions = Abortable & { readonly tx?: never };

/** The scripts of one queue, with what all of them begin with. */
export class QueueScripts {
  readonly #runner: ScriptRunner;
  readonly #keys: readonly [string];
  readonly #head: readonly [channel: string, message: string];

  /** Every key of the queue lies in the slot of `{namespace:queue:name}`, so that queues spread over a cluster. */
  constructor(runner: ScriptRunner, namespace: string, channel: string, queue: string) {
    this.#runner = runner;
    this.#keys = [`{${namespace}:queue:${queue}}`];
    this.#head = [channel, encodeWakeUp([queueKey(queue)])];
  }

  get hasTransactions(): boolean {
    return this.#runner.hasTransactions;
  }

  /** The name of one of the queue's keys. */
  keyOf(part: string): string {
    return `${this.#keys[0]}:${part}`;
  }

  async run<Reply>(
    name: QueueScriptName,
    args: readonly string[],
    options: QueueOptions,
    isRepeatable: boolean,
  ): Promise<Reply> {
    refuseTx(options);
    return this.#runner.run<Reply>(name, this.#keys, [...this.#head, ...args], {
      signal: options.signal,
      isRepeatable,
    });
  }

  /** After commands, in one transaction with them. The script wakes nobody: that is done after it. */
  async runAfter<Reply>(
    commands: RedisTransaction["commands"],
    name: QueueScriptName,
    args: readonly string[],
    options: QueueOptions,
  ): Promise<Reply> {
    refuseTx(options);
    return this.#runner.runTransaction<Reply>(
      name,
      { commands, keys: this.#keys, args: ["", "", ...args], publish: this.#head },
      { signal: options.signal, isRepeatable: false },
    );
  }
}

const refuseTx = ({ tx }: QueueOptions): void => {
  if (tx !== undefined) {
    throw new UnsupportedError(
      "a queue's change in a transaction",
      "Redis has none that other changes could join",
    );
  }
};
