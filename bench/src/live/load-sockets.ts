import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";

/** How a kind of server is spoken to over its WebSocket. */
export interface Dialect {
  readonly path: string;
  /** What client number so and so says once the socket is open. */
  readonly greeting: (client: number) => readonly string[];
  /** What to say to a text of the server, `ready` when from now on events come, or nothing. */
  readonly onText: (text: string, client: number) => string | "ready" | undefined;
  /** First bytes of the text of an event. */
  readonly eventStart: string;
}

/** The simple WebSocket: events come as they are, from the start. */
export const BARE: Dialect = {
  path: "/ws",
  greeting: () => [],
  onText: () => undefined,
  eventStart: '{"channel"',
};

export const OURS: Dialect = {
  path: "/ws/broadcast",
  greeting: () => ['{"hello":{"version":2}}', '{"id":1,"subscribe":["room"]}'],
  onText: (text) => {
    if (text.startsWith('{"ok":1')) return "ready";
    return text.startsWith('{"ping"') ? text.replace("ping", "pong") : undefined;
  },
  eventStart: '{"channel"',
};

export const SOCKET_IO: Dialect = {
  path: "/socket.io/?EIO=4&transport=websocket",
  greeting: () => ["40"],
  onText: (text) => (text.startsWith("40") ? "ready" : text === "2" ? "3" : undefined),
  eventStart: "42[",
};

/** One text in a masked frame, as clients must send it. */
const maskedFrame = (text: string): Buffer => {
  const payload = Buffer.from(text);
  const mask = randomBytes(4);
  const head = payload.length < 126 ? Buffer.alloc(2) : Buffer.alloc(4);
  head[0] = 0x81;
  if (payload.length < 126) head[1] = 0x80 | payload.length;
  else {
    head[1] = 0x80 | 126;
    head.writeUInt16BE(payload.length, 2);
  }
  for (let index = 0; index < payload.length; index += 1)
    payload[index] = (payload[index] as number) ^ (mask[index & 3] as number);
  return Buffer.concat([head, mask, payload]);
};

export interface LoadSocketsOptions {
  readonly port: number;
  readonly count: number;
  readonly dialect: Dialect;
  /** Of every so many sockets one looks at the time in its events. Default 50. */
  readonly sampleEvery?: number;
}

/** All sockets read into it, one after the other: a buffer for each read would cost more than what is measured. */
const READ_BUFFER = Buffer.allocUnsafeSlow(262_144);

/** Many WebSocket clients that cost as little as can be: they count events, and some read the time in them. */
export class LoadSockets {
  readonly sockets: Socket[] = [];
  eventCount = 0;
  /** The text of the newest event of one of them. */
  lastEvent = "";
  /** Milliseconds from the time in an event to its arrival. */
  latencies: number[] = [];
  closedCount = 0;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  static async open(options: LoadSocketsOptions): Promise<LoadSockets> {
    const load = new LoadSockets();
    let next = 0;
    const opener = async (): Promise<void> => {
      while (next < options.count) {
        next += 1;
        const client = next - 1;
        await load.#openOne(options, client, client % (options.sampleEvery ?? 50) === 0);
      }
    };
    await Promise.all(Array.from({ length: 50 }, opener));
    return load;
  }

  /** Resolves when so many events have come in all. */
  until(count: number): Promise<void> {
    if (this.eventCount >= count) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push({ count, resolve });
    });
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  #openOne({ port, dialect }: LoadSocketsOptions, client: number, isSample: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const onRead = (length: number): boolean => {
        onData(READ_BUFFER.subarray(0, length));
        return true;
      };
      const socket = connect({
        port,
        host: "127.0.0.1",
        noDelay: true,
        onread: { buffer: READ_BUFFER, callback: onRead },
      });
      const start = Buffer.from(dialect.eventStart);
      let left: Buffer | undefined;
      let isUpgraded = false;
      const onFrame = (opcode: number, payload: Buffer): void => {
        if (opcode === 9) socket.write(Buffer.from([0x8a, 0x80, 0, 0, 0, 0]));
        if (opcode !== 1) return;
        if (payload.length > start.length && payload.compare(start, 0, start.length, 0, start.length) === 0) {
          this.#onEvent(payload, isSample);
          return;
        }
        const answer = dialect.onText(payload.toString(), client);
        if (answer === "ready") resolve();
        else if (answer !== undefined) socket.write(maskedFrame(answer));
      };
      socket.on("connect", () => {
        socket.write(
          `GET ${dialect.path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
            `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString("base64")}\r\n\r\n`,
        );
      });
      const onData = (chunk: Buffer): void => {
        let data = left === undefined ? chunk : Buffer.concat([left, chunk]);
        left = undefined;
        if (!isUpgraded) {
          const end = data.indexOf("\r\n\r\n");
          if (end < 0) {
            left = Buffer.from(data);
            return;
          }
          if (!data.subarray(0, 12).toString().endsWith("101")) {
            reject(new Error(`refused: ${data.subarray(0, end)}`));
            return;
          }
          isUpgraded = true;
          data = data.subarray(end + 4);
          const greeting = dialect.greeting(client);
          for (const text of greeting) socket.write(maskedFrame(text));
          if (greeting.length === 0) resolve();
        }
        left = readFrames(data, onFrame);
      };
      socket.on("error", reject);
      socket.on("close", () => {
        this.closedCount += 1;
      });
      this.sockets.push(socket);
    });
  }

  #onEvent(payload: Buffer, isSample: boolean): void {
    this.eventCount += 1;
    if (isSample) {
      this.lastEvent = payload.toString("latin1");
      const at = payload.indexOf('"t":');
      if (at > 0)
        this.latencies.push(performanceMs() - Number.parseFloat(payload.toString("latin1", at + 4, at + 24)));
    }
    const [first] = this.#waiting;
    if (first === undefined || this.eventCount < first.count) return;
    this.#waiting.shift();
    first.resolve();
  }
}

/** Milliseconds of a clock that all processes of a machine share. */
export const performanceMs = (): number => Number(process.hrtime.bigint() / 1_000n) / 1_000;

/** Returns a copy of what is left of a frame that is not complete. */
const readFrames = (data: Buffer, onFrame: (opcode: number, payload: Buffer) => void): Buffer | undefined => {
  let at = 0;
  while (data.length - at >= 2) {
    let length = (data[at + 1] as number) & 127;
    let from = at + 2;
    if (length === 126) {
      if (data.length - at < 4) break;
      length = data.readUInt16BE(at + 2);
      from = at + 4;
    } else if (length === 127) {
      if (data.length - at < 10) break;
      length = Number(data.readBigUInt64BE(at + 2));
      from = at + 10;
    }
    if (data.length < from + length) break;
    onFrame((data[at] as number) & 15, data.subarray(from, from + length));
    at = from + length;
  }
  return at === data.length ? undefined : Buffer.from(data.subarray(at));
};
