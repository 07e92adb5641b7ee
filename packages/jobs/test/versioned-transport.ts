import type { Link, Transport } from "@holdfast/connection";
import {
  decodeFrame,
  decodeValue,
  encodeFrame,
  encodeValue,
  FRAME_MAX_BYTES,
  type Frame,
} from "@holdfast/protocol";
import { ForwardingLink } from "@holdfast/testkit/servers";

export interface SpokenVersion {
  /** `major.minor`, as the hello says it. */
  readonly version: string;
  /** Requests and pushes that this version does not have yet: who asks for them is told that they are unknown. */
  readonly lacks?: readonly string[];
  /** Fields of requests that it does not send yet. */
  readonly omits?: readonly string[];
  /** What it says more than we know, in every request, answer and push. */
  readonly adds?: Readonly<Record<string, unknown>>;
  /** A feature that it has and we do not know. */
  readonly feature?: string;
}

const OPTIONS = { frameMaxBytes: FRAME_MAX_BYTES };

/** The transport of a node that speaks another version of the protocol: changes what goes over its links. */
export const speaking = (transport: Transport, spoken: SpokenVersion): Transport => ({
  kind: transport.kind,
  dial: async (address, options) => new VersionedLink(await transport.dial(address, options), spoken),
  listen: (address, onLink) => transport.listen(address, (link) => onLink(new VersionedLink(link, spoken))),
});

class VersionedLink extends ForwardingLink {
  readonly #spoken: SpokenVersion;

  constructor(link: Link, spoken: SpokenVersion) {
    super(link);
    this.#spoken = spoken;
  }

  override send(bytes: Uint8Array): void {
    const frame = decodeFrame(bytes, OPTIONS);
    const { version, adds, omits = [], feature } = this.#spoken;
    if (frame.type === "hello") {
      const said = decodeValue(frame.payload) as { readonly features: readonly string[] };
      const features = feature === undefined ? said.features : [...said.features, feature].sort();
      this.#send(frame, { ...said, version, features, ...adds });
    } else if (frame.type === "request") {
      const [name, timeoutMs, input, ...rest] = decodeValue(frame.payload) as [
        string,
        number,
        object,
        ...unknown[],
      ];
      const kept = Object.fromEntries(Object.entries(input).filter(([field]) => !omits.includes(field)));
      this.#send(frame, [name, timeoutMs, { ...kept, ...adds }, ...rest]);
    } else if (frame.type === "push" && adds !== undefined) {
      const [name, payload, ...rest] = decodeValue(frame.payload) as [string, object, ...unknown[]];
      this.#send(frame, [name, { ...payload, ...adds }, ...rest]);
    } else if (frame.type === "answer" && adds !== undefined) {
      this.#send(frame, { ...(decodeValue(frame.payload) as object), ...adds });
    } else this.inner.send(bytes);
  }

  override onFrame(listener: (bytes: Uint8Array) => void): void {
    const { lacks = [] } = this.#spoken;
    this.inner.onFrame((bytes) => {
      const frame = decodeFrame(bytes, OPTIONS);
      if (frame.type !== "request" && frame.type !== "push") return listener(bytes);
      const [name, ...rest] = decodeValue(frame.payload) as [string, ...unknown[]];
      if (!lacks.includes(name)) return listener(bytes);
      const payload = encodeValue([`${name} of a later version`, ...rest]);
      return listener(encodeFrame({ ...frame, payload }, OPTIONS));
    });
  }

  #send(frame: Frame, value: unknown): void {
    this.inner.send(encodeFrame({ ...frame, payload: encodeValue(value) }, OPTIONS));
  }
}
