import type { Credential, Grant } from "../endpoint.ts";
import type { RemoteIdentity } from "../peer.ts";
import type { Link } from "../transport.ts";
import type { EndpointSettings } from "./settings.ts";

/** What a connection is made of once its handshake is done: the settings of its endpoint, and what was agreed. */
export interface WirePeerOptions
  extends Pick<
    EndpointSettings,
    | "clock"
    | "logger"
    | "handlers"
    | "frameMaxBytes"
    | "heartbeatMs"
    | "requestsMaxCount"
    | "sendBufferMaxBytes"
  > {
  readonly link: Link;
  readonly remote: RemoteIdentity;
  /** What the other side may ask of us. */
  readonly granted: Grant;
  /** The listening side: judges a fresh credential. Undefined on the dialling side, which takes none. */
  readonly judge: ((credential: Credential | undefined) => Grant | undefined) | undefined;
  /** Undefined unless both sides have it. */
  readonly compression: EndpointSettings["compression"];
}
