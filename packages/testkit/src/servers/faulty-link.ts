import type { Link } from "@holdfast/connection";
import { type Clock, toWireError } from "@holdfast/kernel";
import {
  decodeFrame,
  decodeValue,
  encodeFrame,
  encodeValue,
  FRAME_MAX_BYTES,
  type Frame,
} from "@holdfast/protocol";
import { UnhealthyError } from "../errors.ts";
import { ForwardingLink } from "./forwarding-link.ts";
import type { RequestFault } from "./request-fault.ts";

const FRAME_OPTIONS = { frameMaxBytes: FRAME_MAX_BYTES };

export interface FaultyLinkOptions {
  readonly clock: Clock;
  /** Called with each request before it is handled; what it returns is done to it. */
  readonly onRequest: (name: string, input: unknown) => RequestFault | undefined;
  readonly onBytes: (direction: "in" | "out", byteCount: number) => void;
  readonly onClose: () => void;
}

/** A server's end of a connection, which reads along and spoils what it is told to. */
export class FaultyLink extends ForwardingLink {
  readonly #options: FaultyLinkOptions;
  /** Requests whose answer is to be spoiled. */
  readonly #spoiled = new Map<bigint, RequestFault>();

  constructor(link: Link, options: FaultyLinkOptions) {
    super(link);
    this.#options = options;
  }

  override send(frame: Uint8Array): void {
    const sequence = this.#spoiled.size === 0 ? undefined : answeredBy(frame);
    const fault = sequence === undefined ? undefined : this.#spoiled.get(sequence);
    if (sequence === undefined || fault === undefined) {
      this.#options.onBytes("out", frame.length);
      this.inner.send(frame);
      return;
    }
    this.#spoiled.delete(sequence);
    const bytes = spoil(frame, fault);
    if (bytes) {
      this.#options.onBytes("out", bytes.length);
      this.inner.send(bytes);
    }
    if (fault.kind === "lost-answer") this.inner.destroy();
    else if (fault.kind === "cut-answer") this.inner.close();
  }

  override onFrame(listener: (frame: Uint8Array) => void): void {
    this.inner.onFrame((bytes) => {
      this.#options.onBytes("in", bytes.length);
      const request = requestIn(bytes);
      const fault = request && this.#options.onRequest(request.name, request.input);
      if (request && fault) this.#disturb(request.sequence, fault, () => listener(bytes));
      else listener(bytes);
    });
  }

  override onClose(listener: (error: Error | undefined) => void): void {
    this.inner.onClose((error) => {
      this.#options.onClose();
      listener(error);
    });
  }

  #disturb(sequence: bigint, fault: RequestFault, handle: () => void): void {
    switch (fault.kind) {
      case "silence":
        return;
      case "reset":
        this.inner.destroy();
        return;
      case "delay":
        this.#options.clock.schedule(fault.ms, handle, { unref: true });
        return;
      case "error": {
        const error = { ...toWireError(new UnhealthyError()), ...withoutUndefined(fault) };
        this.send(encodeFrame({ type: "failure", sequence, payload: encodeValue(error) }, FRAME_OPTIONS));
        return;
      }
      default:
        this.#spoiled.set(sequence, fault);
        handle();
    }
  }
}

const withoutUndefined = ({ kind: _, ...rest }: RequestFault): object =>
  Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));

const decoded = (bytes: Uint8Array): Frame | undefined => {
  try {
    return decodeFrame(bytes, FRAME_OPTIONS);
  } catch {
    // Not for us to judge: the server refuses it.
    return undefined;
  }
};

const requestIn = (bytes: Uint8Array): { sequence: bigint; name: string; input: unknown } | undefined => {
  const frame = decoded(bytes);
  if (frame?.type !== "request") return undefined;
  try {
    const [name, , input] = decodeValue(frame.payload) as readonly unknown[];
    return { sequence: frame.sequence, name: String(name), input };
  } catch {
    return undefined;
  }
};

const answeredBy = (bytes: Uint8Array): bigint | undefined => {
  const frame = decoded(bytes);
  return frame?.type === "answer" || frame?.type === "failure" ? frame.sequence : undefined;
};

/** Undefined when nothing is sent at all. */
const spoil = (bytes: Uint8Array, fault: RequestFault): Uint8Array | undefined => {
  const changed = Uint8Array.from(bytes);
  switch (fault.kind) {
    case "cut-answer":
      return changed.subarray(0, Math.ceil(changed.length / 2));
    case "bad-checksum":
      changed[changed.length - 1] = (changed[changed.length - 1] ?? 0) ^ 1;
      return changed;
    case "wrong-sequence": {
      const frame = decoded(bytes);
      return frame && encodeFrame({ ...frame, sequence: frame.sequence + 1_000_000n }, FRAME_OPTIONS);
    }
    case "oversize":
      changed.set([0x7f, 0xff, 0xff, 0xff]);
      return changed;
    case "garbage":
      return changed.fill(0xa5);
    default:
      return undefined;
  }
};
