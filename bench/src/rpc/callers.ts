import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import { connect, tcpTransport } from "@holdfast/connection";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { decodeFrame, encodeFrame, FrameSplitter } from "@holdfast/protocol";
import { echo, grpcService } from "./echo.mjs";

/** Sends bytes to an echo server and waits for them to come back. */
export type Caller = (data: Uint8Array) => Promise<unknown>;

export interface Callers extends AsyncDisposable {
  readonly ours: Caller;
  readonly grpc: Caller;
  /** A socket with our frames and nothing else: the limit of what any such protocol can reach. */
  readonly bare: Caller;
}

const LIMIT = { frameMaxBytes: 1024 * 1024 };

const bareCaller = async (port: number): Promise<{ readonly call: Caller; readonly close: () => void }> => {
  const socket = connectSocket({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const waiting: (() => void)[] = [];
  const splitter = new FrameSplitter(LIMIT);
  socket.on("data", (chunk) =>
    splitter.push(chunk, (bytes) => {
      decodeFrame(bytes, LIMIT);
      waiting.shift()?.();
    }),
  );
  let sequence = 0n;
  return {
    call: (payload) => {
      socket.write(encodeFrame({ type: "request", sequence, payload }, LIMIT));
      sequence += 1n;
      return new Promise<void>((resolve) => waiting.push(resolve));
    },
    close: () => socket.destroy(),
  };
};

/** Starts the servers in a process of their own and connects to each. */
export const startCallers = async (): Promise<Callers> => {
  const script = fileURLToPath(new URL("server.mjs", import.meta.url));
  const child: ChildProcess = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] });
  if (child.stdout === null) throw new Error("the server has no output");
  const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  const ports = JSON.parse(line) as { ours: string; grpc: string; bare: number };

  const peer = await connect({
    clock: systemClock,
    random: systemRandom,
    transport: tcpTransport(),
    identity: { nodeId: "", role: "client" },
    address: ports.ours,
  });
  const Client = makeGenericClientConstructor(grpcService, "Echo");
  const client = new Client(ports.grpc, credentials.createInsecure());
  const bare = await bareCaller(ports.bare);
  return {
    ours: (data) => peer.request(echo, { data }),
    grpc: (data) =>
      new Promise((resolve, reject) => {
        client["echo"]?.(data, (error: Error | null, answer: unknown) =>
          error === null ? resolve(answer) : reject(error),
        );
      }),
    bare: bare.call,
    async [Symbol.asyncDispose]() {
      bare.close();
      client.close();
      await peer.close();
      child.stdin?.end();
      await once(child, "exit");
    },
  };
};
