import type { Socket } from "node:net";
import type { Clock, Random } from "@holdfast/kernel";
import type { Faults } from "./faults.ts";
import { OneWay } from "./one-way.ts";

export type Direction = "toTarget" | "toClient";

/** One client's connection through the proxy. */
export class Link {
  readonly #client: Socket;
  readonly #target: Socket;
  readonly #ways: Readonly<Record<Direction, OneWay>>;
  readonly #faults: (direction: Direction) => Faults;
  readonly #onClosed: () => void;
  /** Set while a failed side must not be noticed by the other: the cable is cut, or the link is half open. */
  #failed = false;
  #silent = false;
  #closed = false;

  constructor(parts: {
    readonly client: Socket;
    readonly target: Socket;
    readonly clock: Clock;
    readonly random: Random;
    readonly faults: (direction: Direction) => Faults;
    readonly bytesUntilReset: (direction: Direction) => number;
    readonly onPassed: (direction: Direction, byteCount: number) => void;
    readonly onClosed: () => void;
  }) {
    const { client, target, clock, random, faults } = parts;
    this.#client = client;
    this.#target = target;
    this.#faults = faults;
    this.#onClosed = parts.onClosed;
    const way = (direction: Direction, from: Socket, to: Socket): OneWay =>
      new OneWay({
        from,
        to,
        clock,
        random,
        faults: () => faults(direction),
        bytesUntilReset: () => parts.bytesUntilReset(direction),
        onPassed: (byteCount) => parts.onPassed(direction, byteCount),
      });
    this.#ways = { toTarget: way("toTarget", client, target), toClient: way("toClient", target, client) };
    for (const socket of [client, target]) {
      socket.setNoDelay(true);
      socket.on("error", () => this.#sideFailed());
      socket.on("close", () => this.#sideClosed());
    }
  }

  /** Call when the faults have changed. */
  pump(): void {
    if (this.#failed && !this.#isCut()) {
      this.reset();
      return;
    }
    this.#ways.toTarget.pump();
    this.#ways.toClient.pump();
  }

  /** Both ends see a reset connection. */
  reset(): void {
    this.#close();
    reset(this.#client);
    reset(this.#target);
  }

  /** One end is gone; the other keeps an open connection on which nothing is answered. */
  halfOpen(survivor: "client" | "target"): void {
    this.#silent = true;
    this.#ways.toTarget.close();
    this.#ways.toClient.close();
    const [stays, goes] = survivor === "client" ? [this.#client, this.#target] : [this.#target, this.#client];
    stays.resume();
    reset(goes);
  }

  #isCut(): boolean {
    return this.#faults("toTarget").cut || this.#faults("toClient").cut;
  }

  #sideFailed(): void {
    if (this.#closed || this.#silent) return;
    this.#failed = true;
    if (!this.#isCut()) this.reset();
  }

  #sideClosed(): void {
    if (this.#closed) return;
    const open = [this.#client, this.#target].filter((socket) => !socket.destroyed);
    if (open.length === 0) this.#close();
    // An orderly close travels through the queue; the other side follows when it has arrived there.
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ways.toTarget.close();
    this.#ways.toClient.close();
    this.#onClosed();
  }
}

const reset = (socket: Socket): void => {
  const isClosing = socket.writableEnded && !socket.writableFinished;
  // A socket that is still connecting has nothing to reset, and for one whose close is under way libuv refuses,
  // upon which Node loses the handle.
  if (socket.connecting || isClosing) socket.destroy();
  else socket.resetAndDestroy();
};
