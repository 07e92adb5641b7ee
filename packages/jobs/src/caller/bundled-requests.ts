import type { Peer } from "@holdfast/connection";
import { hasCode, isHoldfastError, RemoteError, untilAborted, type WireError } from "@holdfast/kernel";
import type { InputOf, OutputOf, RequestDefinition, wireError } from "@holdfast/protocol/contract";
import type { z } from "zod";
import { approximateBytes } from "../model/approximate-bytes.ts";

/** A request, and the one that carries many of it. */
export interface BundleKind<One extends RequestDefinition, Many extends RequestDefinition> {
  readonly one: One;
  readonly many: Many;
  /** Most in one message, as the contract has it. */
  readonly maxCount: number;
  readonly pack: (inputs: readonly InputOf<One>[]) => InputOf<Many>;
  /** One outcome per input, in order. */
  readonly unpack: (output: OutputOf<Many>) => readonly BundledOutcome<OutputOf<One>>[];
}

export interface BundledOutcome<Out> {
  readonly value?: Out | undefined;
  readonly refused?: z.output<typeof wireError> | undefined;
}

interface Asked<In, Out> {
  readonly input: In;
  readonly sizeBytes: number;
  readonly resolve: (value: Out) => void;
  readonly reject: (error: unknown) => void;
}

interface Bundle<In, Out> {
  readonly timeoutMs: number;
  readonly items: Asked<In, Out>[];
  sizeBytes: number;
}

/** About so much goes into one message; a larger single input goes alone. */
const BUNDLE_MAX_BYTES = 256 * 1024;

/** The bundle as such was not taken; what is in it may be all right. */
const BUNDLE_REFUSALS = [
  "PROTOCOL_UNKNOWN_MESSAGE",
  "PROTOCOL_INVALID_MESSAGE",
  "PROTOCOL_FRAME_TOO_LARGE",
  "PROTOCOL_SERIALIZATION",
];

/**
 * Sends together what is asked of one peer within one turn: a message, its checks and its answer cost nearly as
 * much for one input as for a hundred. Whoever asks alone waits for nobody.
 *
 * Each input has its own answer or error. A peer that does not know the bundle is asked one by one, and so is
 * one that refuses it as a whole, so that the fault of one input does not hit those beside it.
 */
export class BundledRequests<One extends RequestDefinition, Many extends RequestDefinition> {
  readonly #kind: BundleKind<One, Many>;
  readonly #open = new Map<Peer, Bundle<InputOf<One>, OutputOf<One>>>();
  readonly #oneByOne = new WeakSet<Peer>();

  constructor(kind: BundleKind<One, Many>) {
    this.#kind = kind;
  }

  /**
   * @throws what `peer.request` throws; RemoteError for what the other side says of this input; signal.reason when
   * aborted, the request goes on then.
   */
  ask(
    peer: Peer,
    input: InputOf<One>,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<OutputOf<One>> {
    if (this.#oneByOne.has(peer)) return peer.request(this.#kind.one, input, options);
    const answer = new Promise<OutputOf<One>>((resolve, reject) => {
      const sizeBytes = approximateBytes(input);
      let bundle = this.#open.get(peer);
      const isFull =
        bundle !== undefined &&
        (bundle.timeoutMs !== options.timeoutMs ||
          bundle.items.length >= this.#kind.maxCount ||
          bundle.sizeBytes + sizeBytes > BUNDLE_MAX_BYTES);
      if (bundle === undefined || isFull) {
        const fresh = { timeoutMs: options.timeoutMs, items: [], sizeBytes: 0 };
        bundle = fresh;
        this.#open.set(peer, bundle);
        void Promise.resolve().then(() => this.#send(peer, fresh));
      }
      bundle.sizeBytes += sizeBytes;
      bundle.items.push({ input, sizeBytes, resolve, reject });
    });
    return untilAborted(answer, options.signal);
  }

  async #send(peer: Peer, bundle: Bundle<InputOf<One>, OutputOf<One>>): Promise<void> {
    if (this.#open.get(peer) === bundle) this.#open.delete(peer);
    const { items, timeoutMs } = bundle;
    if (items.length === 1) {
      this.#sendSingly(peer, items, timeoutMs);
      return;
    }
    try {
      const { many, pack, unpack } = this.#kind;
      const output = await peer.request(many, pack(items.map(({ input }) => input)), { timeoutMs });
      const outcomes = unpack(output);
      items.forEach(({ resolve, reject }, index) => {
        const { value, refused } = outcomes[index] ?? {};
        if (value !== undefined) resolve(value);
        else reject(new RemoteError((refused ?? NO_ANSWER) as WireError));
      });
    } catch (error) {
      if (hasCode(error, "PROTOCOL_UNKNOWN_MESSAGE")) this.#oneByOne.add(peer);
      if (isHoldfastError(error) && BUNDLE_REFUSALS.includes(error.code)) {
        this.#sendSingly(peer, items, timeoutMs);
      } else for (const { reject } of items) reject(error);
    }
  }

  #sendSingly(peer: Peer, items: readonly Asked<InputOf<One>, OutputOf<One>>[], timeoutMs: number): void {
    for (const { input, resolve, reject } of items) {
      peer.request(this.#kind.one, input, { timeoutMs }).then(resolve, reject);
    }
  }
}

const NO_ANSWER: WireError = {
  code: "KERNEL_INTERNAL",
  message: "the other side answered fewer requests than it was asked",
  retryable: true,
};
