// One server that broadcasts, in a process of its own. Its parent says over the channel between them what to publish.
//
//   contender.mjs KIND [REDIS URL]    KIND: ours, ws, socket.io, bare
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { createRedisStore } from "@holdfast/coordination/redis";
import { openRedis } from "@holdfast/data";
import { LiveServer, MemoryChannelLog, StoredChannelLog } from "@holdfast/live/server";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { WebSocketServer } from "ws";

const [kind, redisUrl] = process.argv.slice(2);
const http = createServer();
/** No ping during a bench of some seconds per turn. */
const QUIET_MS = 120_000;
const now = () => Number(process.hrtime.bigint() / 1_000n) / 1_000;
const text = "x".repeat(150);
/** About 200 bytes of payload. */
const payloadOf = (n) => ({ t: now(), n, entity_id: `order-${n}`, text });

const ours = async () => {
  const log =
    redisUrl === undefined
      ? new MemoryChannelLog()
      : new StoredChannelLog({
          log: (await createRedisStore({ redis: openRedis({ url: redisUrl }), namespace: "bench" })).log,
        });
  const live = new LiveServer({
    log,
    origins: [],
    missingOrigin: "allow",
    pingIntervalMs: QUIET_MS,
    pingTimeoutMs: QUIET_MS,
  });
  live.attach(http);
  const large = "x".repeat(50_000);
  return {
    publish: (n) => void live.broadcast("room", "created", payloadOf(n)),
    flood: (n) => void live.broadcast("flood", "large", { n, text: large }),
    stats: () => live.stats(),
  };
};

/** One text for all, made once, and sent to each by the engine. */
const ws = () => {
  const engine = new WebSocketServer({ server: http, perMessageDeflate: false });
  return {
    publish: (n) => {
      const data = Buffer.from(JSON.stringify({ channel: "room", event: "created", payload: payloadOf(n) }));
      for (const socket of engine.clients) socket.send(data, { binary: false });
    },
  };
};

const socketIo = async () => {
  let adapter;
  if (redisUrl !== undefined) {
    const client = createClient({ url: redisUrl });
    await client.connect();
    adapter = createAdapter(client);
  }
  const io = new Server(http, {
    transports: ["websocket"],
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    pingInterval: QUIET_MS,
    pingTimeout: QUIET_MS,
    ...(adapter === undefined ? {} : { adapter }),
    ...(process.env.RECOVERY === "1"
      ? { connectionStateRecovery: { maxDisconnectionDuration: QUIET_MS, skipMiddlewares: true } }
      : {}),
  });
  return { publish: (n) => io.emit("created", payloadOf(n)) };
};

/** Sockets with ready frames and nothing else: the limit of what any such server can reach. */
const bare = () => {
  const sockets = new Set();
  http.on("upgrade", (request, socket) => {
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  return {
    publish: (n) => {
      const data = Buffer.from(JSON.stringify({ channel: "room", event: "created", payload: payloadOf(n) }));
      const head = Buffer.from([0x81, 126, data.length >> 8, data.length & 255]);
      const frame = Buffer.concat([head, data]);
      for (const socket of sockets) socket.write(frame);
    },
  };
};

const KINDS = { ours, ws, "socket.io": socketIo, bare };
const contender = await KINDS[kind]();
http.listen(0, "127.0.0.1", () => process.send({ port: http.address().port }));
process.on("message", ({ publish, flood, stats, memory, cpu }) => {
  for (const n of flood ?? []) contender.flood(n);
  for (const n of publish ?? []) contender.publish(n);
  if (cpu) process.send({ cpu: process.cpuUsage() });
  if (stats) process.send({ stats: contender.stats() });
  if (memory) {
    globalThis.gc?.();
    process.send({ memory: process.memoryUsage() });
  }
});
process.on("disconnect", () => process.exit(0));
