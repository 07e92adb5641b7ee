// The test cluster as a program: started by scripts/start-test-cluster, ended by SIGTERM.
import { startTestCluster } from "@holdfast/testkit/servers";

const cluster = await startTestCluster();
console.log(`listening on ${cluster.addresses.join(",")}`);
// The sockets of the servers keep the process alive until then.
process.once("SIGTERM", () => {
  void cluster[Symbol.asyncDispose]().then(() => process.exit(0));
});
