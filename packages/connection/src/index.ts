export { formatAddress, type HostAndPort, parseAddress } from "./address.ts";
export { connect } from "./connect.ts";
export type {
  Connect,
  Credential,
  EndpointOptions,
  Grant,
  ReconnectingOptions,
  ReconnectingPeer,
  Serve,
  Server,
  ServerOptions,
} from "./endpoint.ts";
export {
  AddressInUseError,
  AuthenticationFailedError,
  ConnectionDrainingError,
  ConnectionLostError,
  ConnectionOverloadedError,
  ConnectionRefusedError,
  ConnectionTimeoutError,
  LeaseReleasedError,
  NetworkError,
  PermissionDeniedError,
  PoolClosedError,
  PoolExhaustedError,
  PoolExistsError,
  PoolNotFoundError,
  TlsError,
  TokenExpiredError,
} from "./errors.ts";
export { createHandlers, type HandlersOptions } from "./handlers.ts";
export type {
  Handlers,
  Peer,
  PushHandler,
  RemoteIdentity,
  RequestContext,
  RequestHandler,
  RequestOptions,
} from "./peer.ts";
export { Pool } from "./pool/pool.ts";
export { PoolLease } from "./pool/pool-lease.ts";
export type { AcquireOptions, CreateContext, PoolOptions } from "./pool/pool-options.ts";
export { PoolRegistry } from "./pool/pool-registry.ts";
export type { CloseReason, PoolEvents, PoolStats } from "./pool/pool-stats.ts";
export { reconnecting } from "./reconnecting.ts";
export { serve } from "./serve.ts";
export type { Link, Listener, Transport } from "./transport.ts";
export { createMemoryNetwork, type MemoryNetworkOptions } from "./transports/memory.ts";
export { type TcpTransportOptions, tcpTransport } from "./transports/tcp.ts";
export { type TlsTransportOptions, tlsTransport } from "./transports/tls.ts";
