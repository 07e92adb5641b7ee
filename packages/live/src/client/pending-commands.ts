import { type Deferred, deferred, type HoldfastError, OutcomeUnknownError } from "@holdfast/kernel";
import type { ServerFrame } from "../model/messages.ts";

export type OkFrame = Extract<ServerFrame, { ok: number }>;

/** Commands that were sent and wait for their answer. Ids are never used twice by one client. */
export class PendingCommands {
  readonly #pending = new Map<number, { readonly name: string; readonly answer: Deferred<OkFrame> }>();
  #lastId = 0;

  /** Rejects with what `send` throws; nothing waits then. */
  async send(name: string, send: (id: number) => void): Promise<OkFrame> {
    this.#lastId += 1;
    const id = this.#lastId;
    send(id);
    const answer = deferred<OkFrame>();
    this.#pending.set(id, { name, answer });
    return answer.promise;
  }

  resolve(frame: OkFrame): void {
    this.#take(frame.ok)?.answer.resolve(frame);
  }

  /** Returns false when no command of this id waits. */
  reject(id: number, error: HoldfastError): boolean {
    const command = this.#take(id);
    command?.answer.reject(error);
    return command !== undefined;
  }

  /** The connection is gone: what became of the commands is not known. */
  loseAll(cause: HoldfastError): void {
    for (const [id, { name, answer }] of this.#pending) {
      this.#pending.delete(id);
      answer.reject(new OutcomeUnknownError(name, { cause }));
    }
  }

  #take(id: number): { readonly answer: Deferred<OkFrame> } | undefined {
    const command = this.#pending.get(id);
    this.#pending.delete(id);
    return command;
  }
}
