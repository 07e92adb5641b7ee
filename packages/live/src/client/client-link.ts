import { type HoldfastError, hasCode, type Timer } from "@holdfast/kernel";
import { ConnectionClosedError, UnauthenticatedError } from "../errors.ts";
import { isTerminalCode } from "../model/close-codes.ts";
import { type ClientFrame, PROTOCOL_VERSION, type ServerFrame, type Welcome } from "../model/messages.ts";
import { parseServerFrame } from "../model/parse.ts";
import { type ClientSettings, reconnectDelayMs } from "./client-options.ts";
import { EventStreamSocket } from "./event-stream-socket.ts";
import type { ConnectionState, StateDetail } from "./events.ts";
import type { WebSocketLike } from "./platform.ts";

/** A token is renewed this long before its end, milliseconds, but not before four fifths of its life. */
const REFRESH_EARLY_MS = 30_000;

/** Tries by WebSocket that were not welcomed before a stream of events is tried. */
const FALLBACK_AFTER_COUNT = 2;

export interface LinkOwner {
  readonly client: string;
  onState(state: ConnectionState, detail: StateDetail): void;
  /** The server welcomed us on a new connection. */
  onUp(welcome: Welcome): void;
  /** The connection that was up is gone. */
  onDown(error: HoldfastError): void;
  onFrame(frame: ServerFrame): void;
  onError(error: HoldfastError): void;
  /** Asks the server to take a new token; resolves with when that one ends. */
  refresh(token: string): Promise<number | undefined>;
}

/**
 * Keeps one socket to the server.
 *
 * | state | means | left by |
 * |---|---|---|
 * | disconnected | at rest | connect |
 * | connecting | the first try | welcome → connected, loss → reconnecting, disconnect |
 * | connected | welcomed | loss → reconnecting, terminal close or disconnect → disconnected |
 * | reconnecting | waiting or trying again | welcome, last try failed or terminal close → disconnected, disconnect |
 *
 * Each try has a generation. Whatever an earlier one still says is not heard, so a late close of an old socket
 * cannot disturb a new one.
 */
export class ClientLink {
  readonly #url: string;
  readonly #settings: ClientSettings;
  readonly #owner: LinkOwner;
  #generation = 0;
  #state: ConnectionState = "disconnected";
  #detail: StateDetail = { attempt: 0, delayMs: 0, reason: "not connected yet", terminal: false };
  #socket: WebSocketLike | undefined;
  #attempt = 0;
  /** Waits for the next try, or for a welcome. */
  #timer: Timer | undefined;
  #isWaiting = false;
  #livenessTimer: Timer | undefined;
  #refreshTimer: Timer | undefined;
  #heardAt = 0;
  #heardCount = 0;
  #welcomedAt = 0;
  #welcome: Welcome | undefined;
  #spreadMs: number | undefined;
  #stopListening: (() => void) | undefined;
  #pingCount = 0;
  /** Tries by WebSocket since the last that was welcomed. */
  #failedOpens = 0;

  constructor(url: string, settings: ClientSettings, owner: LinkOwner) {
    this.#url = url;
    this.#settings = settings;
    this.#owner = owner;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get detail(): StateDetail {
    return this.#detail;
  }

  connect(): void {
    if (this.#state === "connecting" || this.#state === "connected") return;
    if (this.#state === "reconnecting") {
      this.#tryNow();
      return;
    }
    this.#attempt = 0;
    this.#spreadMs = undefined;
    this.#stopListening ??= this.#settings.platform.onWake(() => this.#onWake());
    this.#setState("connecting", { reason: "connect" });
    this.#open();
  }

  disconnect(): void {
    if (this.#state === "disconnected") return;
    this.#rest("disconnect", false);
  }

  /** Returns false when there is nobody to send to. */
  send(frame: ClientFrame): boolean {
    if (this.#state !== "connected" || this.#socket === undefined) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #open(): void {
    this.#generation += 1;
    const generation = this.#generation;
    this.#isWaiting = false;
    this.#timer?.cancel();
    const { platform, connectTimeout } = this.#settings;
    this.#timer = platform.clock.schedule(connectTimeout, () =>
      this.#lose(generation, `no welcome within ${connectTimeout} ms`),
    );
    this.#openSocket(generation).catch((cause: unknown) => {
      if (generation !== this.#generation) return;
      const reason = cause instanceof Error ? cause.message : String(cause);
      this.#owner.onError(new ConnectionClosedError(`cannot connect: ${reason}`, { cause, retryable: true }));
      if (hasCode(cause, "LIVE_UNAUTHENTICATED")) this.#rest(reason, true);
      else this.#lose(generation, reason);
    });
  }

  async #openSocket(generation: number): Promise<void> {
    const { getToken } = this.#settings;
    const token = getToken === undefined ? undefined : await getToken();
    if (generation !== this.#generation) return;
    const socket = this.#makeSocket();
    this.#socket = socket;
    const isCurrent = (): boolean => generation === this.#generation;
    socket.onopen = () => {
      if (!isCurrent()) return;
      const hello = {
        version: PROTOCOL_VERSION,
        client: this.#owner.client,
        ...(token === undefined ? {} : { token }),
      };
      socket.send(JSON.stringify({ hello } satisfies ClientFrame));
    };
    socket.onmessage = (event: { readonly data: unknown }) => {
      if (isCurrent() && typeof event.data === "string") this.#receive(event.data);
    };
    socket.onclose = (event: { readonly code?: number; readonly reason?: string }) => {
      if (isCurrent()) this.#onClose(generation, event.code ?? 1006, event.reason ?? "");
    };
    // A close follows, and says more.
    socket.onerror = () => undefined;
  }

  /** A stream of events when sockets do not come through; each loss of it gives a socket another chance. */
  #makeSocket(): WebSocketLike {
    const { eventStreamUrl, platform } = this.#settings;
    if (eventStreamUrl !== undefined && this.#failedOpens >= FALLBACK_AFTER_COUNT) {
      this.#failedOpens = FALLBACK_AFTER_COUNT - 1;
      return new EventStreamSocket(eventStreamUrl, platform);
    }
    this.#failedOpens += 1;
    return platform.openSocket(this.#url);
  }

  #receive(text: string): void {
    const { clock } = this.#settings.platform;
    this.#heardAt = clock.monotonicNow();
    this.#heardCount += 1;
    const frame = parseServerFrame(text);
    if (frame === undefined) return;
    if ("welcome" in frame) this.#onWelcome(frame.welcome);
    else if ("ping" in frame) this.send({ pong: frame.ping });
    else if ("bye" in frame) this.#spreadMs = Number(frame.bye.spreadMs) || 0;
    else if (!("pong" in frame)) {
      // A stream of events welcomes us by itself: only its first answer is the server's.
      if ("ok" in frame) this.#attempt = 0;
      this.#owner.onFrame(frame);
    }
  }

  #onWelcome(welcome: Welcome): void {
    this.#timer?.cancel();
    this.#spreadMs = undefined;
    if (!(this.#socket instanceof EventStreamSocket)) {
      this.#attempt = 0;
      this.#failedOpens = 0;
    }
    this.#welcome = welcome;
    this.#watch(this.#generation);
    if (welcome.expiresAt !== undefined) this.#scheduleRefresh(welcome.expiresAt - welcome.time);
    this.#setState("connected", { reason: "welcome" });
    // A state listener may have disconnected.
    if (this.#state === "connected") this.#owner.onUp(welcome);
  }

  #onClose(generation: number, code: number, reason: string): void {
    const text = reason === "" ? `closed with code ${code}` : reason;
    if (!isTerminalCode(code)) {
      this.#lose(generation, text, code);
      return;
    }
    const details = { code, reason };
    this.#owner.onError(
      code === 4401
        ? new UnauthenticatedError(`the server refused the token: ${text}`, { details })
        : new ConnectionClosedError(`the server ended the connection for good: ${text}`, { details }),
    );
    this.#rest(text, true);
  }

  /** The try or the connection failed: wait, then try again, unless that was the last. */
  #lose(generation: number, reason: string, code?: number): void {
    if (generation !== this.#generation) return;
    const wasUp = this.#state === "connected";
    const { platform, maxReconnectAttempts } = this.#settings;
    this.#letGo();
    if (this.#attempt >= maxReconnectAttempts) {
      this.#rest(`gave up after ${this.#attempt} tries: ${reason}`, true);
      return;
    }
    this.#attempt += 1;
    const chance = platform.random.next();
    const delayMs =
      this.#spreadMs === undefined
        ? reconnectDelayMs(this.#attempt, { ...this.#settings, chance })
        : Math.floor(this.#spreadMs * chance);
    this.#spreadMs = undefined;
    this.#isWaiting = true;
    this.#timer = platform.clock.schedule(delayMs, () => this.#open());
    this.#setState("reconnecting", { attempt: this.#attempt, delayMs, reason });
    if (wasUp) this.#owner.onDown(closedError(reason, code));
  }

  /** Back to rest, from anywhere. */
  #rest(reason: string, terminal: boolean): void {
    const wasUp = this.#state === "connected";
    this.#letGo();
    this.#stopListening?.();
    this.#stopListening = undefined;
    this.#setState("disconnected", { attempt: this.#attempt, reason, terminal });
    // Whoever waits for a channel must not wait for ever.
    if (wasUp || terminal) this.#owner.onDown(closedError(reason));
  }

  /** Forgets the socket: from here on nothing it says is heard. */
  #letGo(): void {
    this.#generation += 1;
    const socket = this.#socket;
    this.#socket = undefined;
    this.#welcome = undefined;
    this.#isWaiting = false;
    for (const timer of [this.#timer, this.#livenessTimer, this.#refreshTimer]) timer?.cancel();
    try {
      socket?.close(1000);
    } catch {
      // Some engines throw when closed while opening; the generation has passed either way.
    }
  }

  /** Ends the connection when nothing was heard for the ping interval and the time to answer. */
  #watch(generation: number): void {
    const { clock } = this.#settings.platform;
    const limitMs = (this.#welcome?.pingIntervalMs ?? 25_000) + (this.#welcome?.pingTimeoutMs ?? 10_000);
    this.#livenessTimer?.cancel();
    this.#livenessTimer = clock.schedule(Math.max(1, this.#heardAt + limitMs - clock.monotonicNow()), () => {
      if (generation !== this.#generation) return;
      const silentMs = clock.monotonicNow() - this.#heardAt;
      if (silentMs >= limitMs) this.#lose(generation, `nothing heard for ${Math.round(silentMs)} ms`);
      else this.#watch(generation);
    });
  }

  /** The network came back or the page became visible: try now, or make sure that the connection still lives. */
  #onWake(): void {
    if (this.#state === "reconnecting") {
      this.#tryNow();
      return;
    }
    if (this.#state !== "connected") return;
    const generation = this.#generation;
    const { clock } = this.#settings.platform;
    const heardBefore = this.#heardCount;
    this.#pingCount += 1;
    this.send({ ping: this.#pingCount });
    this.#livenessTimer?.cancel();
    this.#livenessTimer = clock.schedule(this.#welcome?.pingTimeoutMs ?? 10_000, () => {
      if (generation !== this.#generation) return;
      if (this.#heardCount === heardBefore) this.#lose(generation, "no answer after waking up");
      else this.#watch(generation);
    });
  }

  #tryNow(): void {
    if (this.#isWaiting) this.#open();
  }

  #scheduleRefresh(leftMs: number): void {
    const { getToken, platform } = this.#settings;
    if (getToken === undefined) return;
    const generation = this.#generation;
    const waitMs = Math.max(leftMs - REFRESH_EARLY_MS, leftMs * 0.8, 0);
    this.#refreshTimer?.cancel();
    this.#refreshTimer = platform.clock.schedule(waitMs, () => {
      this.#refresh(generation, getToken).catch((cause: unknown) => {
        if (generation !== this.#generation) return;
        // The server ends the connection after its grace, and the next try asks for a token again.
        this.#owner.onError(
          new UnauthenticatedError("the token could not be refreshed", { cause, retryable: true }),
        );
      });
    });
  }

  async #refresh(generation: number, getToken: NonNullable<ClientSettings["getToken"]>): Promise<void> {
    const token = await getToken();
    if (token === undefined || generation !== this.#generation) return;
    const expiresAt = await this.#owner.refresh(token);
    if (generation !== this.#generation || expiresAt === undefined || this.#welcome === undefined) return;
    const { clock } = this.#settings.platform;
    // The server's clock is where it was at the welcome, plus what has passed here.
    this.#scheduleRefresh(expiresAt - this.#serverNow(this.#welcome, clock.monotonicNow()));
  }

  #serverNow(welcome: Welcome, now: number): number {
    return welcome.time + (now - this.#welcomedAt);
  }

  #setState(state: ConnectionState, detail: Partial<StateDetail> & { readonly reason: string }): void {
    if (state === "connected") this.#welcomedAt = this.#settings.platform.clock.monotonicNow();
    this.#state = state;
    this.#detail = { attempt: 0, delayMs: 0, terminal: false, ...detail };
    this.#owner.onState(state, this.#detail);
  }
}

const closedError = (reason: string, code?: number): HoldfastError =>
  new ConnectionClosedError(`the connection ended: ${reason}`, {
    retryable: true,
    details: { reason, ...(code === undefined ? {} : { code }) },
  });
