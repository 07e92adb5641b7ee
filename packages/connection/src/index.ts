export { formatAddress, type HostAndPort, parseAddress } from "./address.ts";
export {
  type ClientConfig,
  type ClientConfigInput,
  type ClientConfigSources,
  managerOptionsOf,
  RETRY_PRESETS,
  resolveClientConfig,
} from "./config/client-config.ts";
export { Secret } from "./config/secret.ts";
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
  InvalidCredentialsError,
  LeaseReleasedError,
  NetworkError,
  NodeNotFoundError,
  NoHealthyNodesError,
  PermissionDeniedError,
  PoolClosedError,
  PoolExhaustedError,
  PoolExistsError,
  PoolNotFoundError,
  TlsError,
  TokenExpiredError,
  UnsupportedFeatureError,
  UnsupportedProtocolError,
} from "./errors.ts";
export { createHandlers, type HandlersOptions } from "./handlers.ts";
export { ConnectionManager, type ManagerRequestOptions } from "./nodes/connection-manager.ts";
export type { HealthReport } from "./nodes/health-checks.ts";
export type { OperationStats } from "./nodes/latency-metrics.ts";
export type { ManagerEvents } from "./nodes/manager-events.ts";
export type { ConnectionManagerOptions, ManagerPoolOptions } from "./nodes/manager-options.ts";
export type { ConnectionStats, ManagerStats } from "./nodes/manager-stats.ts";
export type { HealthOptions, NodeHealthRecord } from "./nodes/node-health.ts";
export type { NodeLease } from "./nodes/node-lease.ts";
export {
  type Candidate,
  type NodePicker,
  type PowerOfTwoOptions,
  powerOfTwoChoices,
} from "./nodes/node-picker.ts";
export type {
  Handlers,
  Peer,
  PeerTraffic,
  PushHandler,
  RemoteIdentity,
  RequestContext,
  RequestHandler,
  RequestOptions,
  StreamHandler,
  StreamOptions,
} from "./peer.ts";
export { Pool } from "./pool/pool.ts";
export { PoolLease } from "./pool/pool-lease.ts";
export type { AcquireOptions, CreateContext, PoolOptions } from "./pool/pool-options.ts";
export { PoolRegistry } from "./pool/pool-registry.ts";
export type { CloseReason, PoolEvents, PoolStats } from "./pool/pool-stats.ts";
export { chooseProtocol, LINK_PROTOCOLS, type LinkProtocol, transportOf } from "./protocol-choice.ts";
export { reconnecting } from "./reconnecting.ts";
export { serve } from "./serve.ts";
export { Token, type TokenFields } from "./tokens/token.ts";
export { TokenIssuer, type TokenIssuerOptions } from "./tokens/token-issuer.ts";
export { type Authenticator, TokenKeeper, type TokenKeeperOptions } from "./tokens/token-keeper.ts";
export type { TokenSource } from "./tokens/token-source.ts";
export type { Link, Listener, Transport } from "./transport.ts";
export { createMemoryNetwork, type MemoryNetworkOptions } from "./transports/memory.ts";
export { type TcpTransportOptions, tcpTransport } from "./transports/tcp.ts";
export { type TlsTransportOptions, tlsTransport } from "./transports/tls.ts";
