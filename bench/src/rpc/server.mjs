// Three echo servers in a process of their own: ours, gRPC and a bare socket with our framing. Prints their ports as
// one line of JSON and ends with its parent.
import { createServer } from "node:net";
import { Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";
import { createHandlers, serve, tcpTransport } from "@holdfast/connection";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { echo, grpcService } from "./echo.mjs";

const handlers = createHandlers();
handlers.onRequest(echo, async ({ data }) => ({ data }));
const ours = await serve({
  clock: systemClock,
  random: systemRandom,
  transport: tcpTransport(),
  identity: { nodeId: "bench", role: "bench" },
  listen: "127.0.0.1:0",
  handlers,
});

const grpc = new GrpcServer();
grpc.addService(grpcService, { echo: (call, answer) => answer(null, call.request) });
const grpcPort = await new Promise((resolve, reject) => {
  grpc.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
    error === null ? resolve(port) : reject(error),
  );
});

const bare = createServer({ noDelay: true }, (socket) => {
  socket.on("error", () => undefined);
  socket.pipe(socket);
});
await new Promise((resolve) => bare.listen(0, "127.0.0.1", resolve));

process.stdin.on("end", () => process.exit(0)).resume();
console.log(JSON.stringify({ ours: ours.address, grpc: `127.0.0.1:${grpcPort}`, bare: bare.address().port }));
