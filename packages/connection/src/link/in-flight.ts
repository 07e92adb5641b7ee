import { Deadline } from "./deadline-queue.ts";

/** Keeps what was asked and not yet answered. */
export interface InFlightOwner {
  /** It has its end; nothing that comes for it later counts. */
  release(entry: InFlight): boolean;
  /** Nobody waits for it any more: the other side is told, and it fails with `reason`. */
  giveUp(entry: InFlight, reason: unknown): void;
  /** Its time is over. */
  timeOut(entry: InFlight): void;
  /** Calls `onDeadline` after `timeoutMs` from now unless cancelled. */
  startWaiting(entry: InFlight): void;
  /** Bytes of the stream's items that were read since it began. */
  credit(entry: InFlight, readBytes: number): void;
}

/** One thing that was asked of the other side: a request, or a stream. */
export abstract class InFlight extends Deadline {
  readonly sequence: bigint;
  readonly name: string;
  readonly repeatable: boolean;
  readonly timeoutMs: number;
  protected readonly owner: InFlightOwner;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;

  constructor(
    owner: InFlightOwner,
    sequence: bigint,
    name: string,
    options: { readonly repeatable: boolean; readonly timeoutMs: number },
  ) {
    super();
    this.owner = owner;
    this.sequence = sequence;
    this.name = name;
    this.repeatable = options.repeatable;
    this.timeoutMs = options.timeoutMs;
  }

  /** The other side's answer, or the end of its stream. */
  abstract onAnswer(payload: Uint8Array): void;

  /** Fails it. Called once, after it was released. */
  abstract reject(reason: unknown): void;

  onDeadline(): void {
    this.owner.timeOut(this);
  }

  /** Whoever asked does not want it any more. */
  onAbort(reason: unknown): void {
    this.owner.giveUp(this, reason);
  }

  abortWith(signal: AbortSignal): void {
    this.#signal = signal;
    this.#onAbort = () => this.onAbort(signal.reason);
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Lets go of the deadline and of the signal. */
  settle(): void {
    this.cancelDeadline();
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}
