import { type Deferred, deferred, isHoldfastError, toWireError } from "@holdfast/kernel";
import {
  authenticate,
  checkShape,
  decodeFrame,
  decodeValue,
  encodeFrame,
  encodeValue,
  type Frame,
  type FrameType,
  HANDSHAKE_MAX_BYTES,
  type Hello,
  hello,
  negotiate,
  PROTOCOL_VERSION,
  parseVersion,
  ready,
  UnexpectedFrameError,
  VersionMismatchError,
} from "@holdfast/protocol";
import { SCOPES, type Scope } from "@holdfast/protocol/contract";
import type { Credential, Grant } from "../endpoint.ts";
import { AuthenticationFailedError, ConnectionLostError, ConnectionOverloadedError } from "../errors.ts";
import type { Link } from "../transport.ts";
import { EarlyFrames } from "./early-frames.ts";
import { encodeWireError } from "./incoming-requests.ts";
import { remoteErrorOf } from "./outgoing-requests.ts";
import type { EndpointSettings } from "./settings.ts";
import { WirePeer } from "./wire-peer.ts";

// Both ends are written as callbacks on frames, not as awaits: the frame after `ready` may stand in the same
// chunk of bytes and must find the peer in its place.

const FRAME_OPTIONS = { frameMaxBytes: HANDSHAKE_MAX_BYTES };
/** The number of each step, so that a path that repeats frames cannot confuse two of them. */
const HELLO_STEP = 0n;
const AUTHENTICATE_STEP = 1n;

/**
 * The dialling side. The link is destroyed when anything goes wrong. Until it is ready the other side can make us hold
 * one frame of the handshake that is not complete (64 KiB), and {@link EarlyFrames}: `frameMaxBytes` in all.
 * @throws VersionMismatchError, AuthenticationFailedError, ConnectionOverloadedError as the other side says;
 * ConnectionLostError when it hangs up.
 */
export const dialHandshake = (
  link: Link,
  settings: EndpointSettings,
  credential: Credential | undefined,
): Promise<WirePeer> => {
  const done = deferred<WirePeer>();
  const early = new EarlyFrames(settings);
  let theirs: Hello | undefined;
  const fail = failWith(link, done);

  // On a path that keeps order nothing comes before `ready` but the handshake.
  link.limitFrames?.(HANDSHAKE_MAX_BYTES);
  link.onClose((error) => done.reject(error ?? lost(link)));
  link.onFrame((bytes) => {
    try {
      const frame = decodeFrame(bytes, { frameMaxBytes: settings.frameMaxBytes });
      if (frame.type === "failure") {
        fail(refusalOf(frame.payload, link.remoteAddress));
      } else if (frame.type === "hello" && frame.sequence === HELLO_STEP) {
        if (theirs !== undefined) return;
        theirs = checkShape(hello, decodeValue(frame.payload), "hello", "payload");
        requireCompatible(settings, theirs);
        sendStep(
          link,
          "authenticate",
          AUTHENTICATE_STEP,
          credential === undefined ? {} : { token: credential.token },
        );
      } else if (frame.type === "ready" && frame.sequence === AUTHENTICATE_STEP && theirs !== undefined) {
        const { scopes } = checkShape(ready, decodeValue(frame.payload), "ready", "payload");
        // Whom we dialled we trust with what it asks of us: a manager that a worker registered with, for example.
        const peer = readyPeer(link, settings, theirs, {
          scopes,
          granted: { scopes: SCOPES },
          address: link.remoteAddress,
          judge: undefined,
        });
        done.resolve(peer);
        early.deliver((bytesBefore) => peer.receive(bytesBefore));
      } else if (HANDSHAKE_TYPES.has(frame.type)) {
        throw new UnexpectedFrameError(frame.type, "before the connection is ready");
      } else {
        early.add(frame.type, bytes);
      }
    } catch (error) {
      fail(error);
    }
  });
  sendStep(link, "hello", HELLO_STEP, ourHello(settings, settings.features));
  return done.promise;
};

export interface AcceptOptions {
  readonly judge: (credential: Credential | undefined) => Grant | undefined;
  /** Called before the frame that follows the handshake is looked at. */
  readonly onReady: (peer: WirePeer) => void;
}

/**
 * The listening side. The link is closed when anything goes wrong, after the reason was sent where it helps. Until it is
 * ready a stranger can make us hold one frame of the handshake that is not complete (64 KiB), and what its hello said.
 */
export const acceptHandshake = (
  link: Link,
  settings: EndpointSettings,
  options: AcceptOptions,
): Promise<void> => {
  const done = deferred<void>();
  let theirs: Hello | undefined;
  const fail = failWith(link, done);

  link.limitFrames?.(HANDSHAKE_MAX_BYTES);
  link.onClose((error) => done.reject(error ?? lost(link)));
  link.onFrame((bytes) => {
    let step: Frame | undefined;
    try {
      step = decodeFrame(bytes, FRAME_OPTIONS);
      if (step.type === "hello" && step.sequence === HELLO_STEP) {
        if (theirs !== undefined) return;
        const said = checkShape(hello, decodeValue(step.payload), "hello", "payload");
        const features = requireCompatible(settings, said);
        theirs = said;
        sendStep(link, "hello", HELLO_STEP, ourHello(settings, features));
      } else if (
        step.type === "authenticate" &&
        step.sequence === AUTHENTICATE_STEP &&
        theirs !== undefined
      ) {
        const { token } = checkShape(authenticate, decodeValue(step.payload), "authenticate", "payload");
        const granted = options.judge(token === undefined ? undefined : { token });
        if (granted === undefined) throw new AuthenticationFailedError(settings.identity.nodeId);
        const { scopes } = granted;
        sendStep(link, "ready", AUTHENTICATE_STEP, { scopes });
        const address = theirs.address === "" ? link.remoteAddress : theirs.address;
        options.onReady(
          readyPeer(link, settings, theirs, { scopes, granted, address, judge: options.judge }),
        );
        done.resolve();
      } else {
        throw new UnexpectedFrameError(step.type, "before the connection is ready");
      }
    } catch (error) {
      done.reject(error);
      // Nothing that follows is looked at, another credential least of all.
      link.onFrame(() => undefined);
      if (step !== undefined && isHoldfastError(error)) refuse(link, step.sequence, error);
      else fail(error);
    }
  });
  return done.promise;
};

/** Tells the dialler why it is not served, then closes the link. What it says meanwhile may be no larger than a handshake. */
export const refuse = (link: Link, sequence: bigint, error: Error): void => {
  link.limitFrames?.(HANDSHAKE_MAX_BYTES);
  const payload = encodeWireError(toWireError(error));
  link.send(encodeFrame({ type: "failure", sequence, payload }, FRAME_OPTIONS));
  link.close();
};

const HANDSHAKE_TYPES: ReadonlySet<FrameType> = new Set(["hello", "authenticate", "ready"]);

const ourHello = ({ identity }: EndpointSettings, features: readonly string[]): Hello => ({
  version: PROTOCOL_VERSION,
  features: [...features],
  nodeId: identity.nodeId,
  role: identity.role,
  address: identity.address ?? "",
});

const sendStep = (link: Link, type: FrameType, sequence: bigint, value: object): void =>
  link.send(encodeFrame({ type, sequence, payload: encodeValue(value) }, FRAME_OPTIONS));

/** @throws VersionMismatchError. */
const requireCompatible = (settings: EndpointSettings, theirs: Hello): readonly string[] => {
  const ours = { version: PROTOCOL_VERSION, features: settings.features };
  const { compatible, features } = negotiate(ours, { version: theirs.version, features: theirs.features });
  if (compatible) return features;
  throw new VersionMismatchError(
    PROTOCOL_VERSION,
    theirs.version ?? "1.0",
    parseVersion(PROTOCOL_VERSION).major,
  );
};

const readyPeer = (
  link: Link,
  settings: EndpointSettings,
  theirs: Hello,
  access: {
    readonly scopes: readonly Scope[];
    readonly granted: Grant;
    readonly address: string;
    readonly judge: AcceptOptions["judge"] | undefined;
  },
): WirePeer => {
  const features = requireCompatible(settings, theirs);
  const { compression } = settings;
  return new WirePeer({
    link,
    clock: settings.clock,
    logger: settings.logger,
    remote: {
      nodeId: theirs.nodeId,
      role: theirs.role,
      version: theirs.version ?? "1.0",
      features,
      scopes: access.scopes,
      address: access.address,
    },
    granted: access.granted,
    judge: access.judge,
    handlers: settings.handlers,
    compression:
      compression !== undefined && features.includes(compression.method.name) ? compression : undefined,
    frameMaxBytes: settings.frameMaxBytes,
    heartbeatMs: settings.heartbeatMs,
    requestsMaxCount: settings.requestsMaxCount,
    sendBufferMaxBytes: settings.sendBufferMaxBytes,
  });
};

/** What the other side gave as its reason, as the error that our callers know. */
const refusalOf = (payload: Uint8Array, address: string): Error => {
  const remote = remoteErrorOf(payload, "handshake");
  const { limit, local, requiredMajor } = remote.details;
  switch (remote.code) {
    case "AUTHENTICATION_FAILED":
      return new AuthenticationFailedError(address, { cause: remote });
    case "CONNECTION_OVERLOADED":
      return new ConnectionOverloadedError(address, Number(limit), { cause: remote });
    case "PROTOCOL_VERSION_MISMATCH":
      return new VersionMismatchError(PROTOCOL_VERSION, String(local), Number(requiredMajor));
    default:
      return remote;
  }
};

const failWith =
  (link: Link, done: Pick<Deferred<never>, "reject">) =>
  (reason: unknown): void => {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    done.reject(error);
    link.destroy(error);
  };

const lost = (link: Link): ConnectionLostError =>
  new ConnectionLostError(link.remoteAddress, "it was closed during the handshake");
