/** What a {@link TestServer} does to one request instead of answering it properly. */
export type RequestFault =
  /** Answers with a typed error; the handler does not run. Default: `TESTKIT_UNHEALTHY`, retryable. */
  | {
      readonly kind: "error";
      readonly code?: string;
      readonly message?: string;
      readonly retryable?: boolean;
      readonly retryAfterMs?: number;
    }
  /** Never answers; the handler does not run. */
  | { readonly kind: "silence" }
  /** Hands the request on this much later. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Breaks the connection; the handler does not run. */
  | { readonly kind: "reset" }
  /** Runs the handler and then breaks the connection: the asker cannot know that it happened. */
  | { readonly kind: "lost-answer" }
  /** Runs the handler, sends the first half of the answer and closes. */
  | { readonly kind: "cut-answer" }
  /** Runs the handler and changes a byte of the answer's checksum. */
  | { readonly kind: "bad-checksum" }
  /** Runs the handler and answers a request that was never made. */
  | { readonly kind: "wrong-sequence" }
  /** Runs the handler and announces an answer of 2 GiB. */
  | { readonly kind: "oversize" }
  /** Runs the handler and sends bytes that are no frame. */
  | { readonly kind: "garbage" };

/** What happens to one connection: closed at once, or taken and never spoken to. */
export type ConnectionFault = "reset" | "silence";

/** Faults that have been ordered and not yet used up, first come, first served. */
export class FaultQueue<Fault> {
  readonly #orders: { remaining: number; readonly fault: Fault; readonly name: string | undefined }[] = [];

  /** @param name Only for requests of this name. */
  add(count: number, fault: Fault, name?: string): void {
    if (!(count >= 1)) throw new RangeError(`count must be 1 or more; got ${count}`);
    this.#orders.push({ remaining: count, fault, name });
  }

  take(name?: string): Fault | undefined {
    const index = this.#orders.findIndex((order) => order.name === undefined || order.name === name);
    const order = this.#orders[index];
    if (!order) return undefined;
    order.remaining -= 1;
    if (order.remaining === 0) this.#orders.splice(index, 1);
    return order.fault;
  }

  clear(): void {
    this.#orders.length = 0;
  }
}
