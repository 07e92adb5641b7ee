export { ForwardingLink } from "./forwarding-link.ts";
export type { ConnectionFault, RequestFault } from "./request-fault.ts";
export { startTestCluster, type TestCluster, type TestClusterOptions } from "./test-cluster.ts";
export { echo, write } from "./test-requests.ts";
export {
  type RecordedRequest,
  startTestServer,
  TestServer,
  type TestServerCounts,
  type TestServerOptions,
  type TestToken,
} from "./test-server.ts";
