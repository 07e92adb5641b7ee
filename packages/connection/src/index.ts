export type {
  Connect,
  Credential,
  EndpointOptions,
  ReconnectingOptions,
  ReconnectingPeer,
  Serve,
  Server,
  ServerOptions,
} from "./endpoint.ts";
export type {
  Handlers,
  Peer,
  PushHandler,
  RemoteIdentity,
  RequestContext,
  RequestHandler,
  RequestOptions,
} from "./peer.ts";
export type { Link, Listener, Transport } from "./transport.ts";
