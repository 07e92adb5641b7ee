import { CLOSE_CODES } from "../../model/close-codes.ts";
import type { ClientFrame, ServerFrame, SubscribeRequest, Welcome } from "../../model/messages.ts";
import { parseServerFrame } from "../../model/parse.ts";
import type { WebSocketLike } from "../platform.ts";

/** One tab, as the hub sees it. */
export interface HubPort {
  tell(text: string): void;
  close(code: number, reason: string): void;
}

interface Member {
  readonly port: HubPort;
  client: string | undefined;
  readonly channels: Map<string, SubscribeRequest>;
  isWelcome: boolean;
  /** Pings since it was last heard. */
  silence: number;
}

/** A tab that leaves so many pings of the server unanswered is gone, or sleeps: it comes back when it wakes. */
const SILENCE_MAX_COUNT = 2;

/**
 * Lets many tabs use one connection to a live server. It asks for what any of them wants, sends everybody what comes,
 * and each answer to the tab that asked. Where a tab makes the server begin a channel anew, the others drop what they
 * have had and ask for what they miss: each keeps its own positions.
 */
export class SocketHub {
  readonly #openSocket: () => WebSocketLike;
  /** Tells all tabs but this one's, in one message. */
  readonly #tellOthers: (text: string) => void;
  readonly #members = new Map<string, Member>();
  readonly #asked = new Map<number, { readonly tab: string; readonly id: number }>();
  #socket: WebSocketLike | undefined;
  #welcome: Welcome | undefined;
  #lastId = 0;

  constructor(parts: {
    readonly openSocket: () => WebSocketLike;
    readonly tellOthers: (text: string) => void;
  }) {
    this.#openSocket = parts.openSocket;
    this.#tellOthers = parts.tellOthers;
  }

  get memberCount(): number {
    return this.#members.size;
  }

  join(tab: string, port: HubPort): void {
    this.leave(tab);
    const member = { port, client: undefined, channels: new Map(), isWelcome: false, silence: 0 };
    this.#members.set(tab, member);
  }

  leave(tab: string): void {
    const member = this.#members.get(tab);
    if (member === undefined) return;
    this.#members.delete(tab);
    this.#leaveChannels(member, [...member.channels.keys()]);
    if (this.#members.size === 0) this.#disconnect();
  }

  /** Takes a frame of a tab. */
  receive(tab: string, text: string): void {
    const member = this.#members.get(tab);
    if (member === undefined) return;
    member.silence = 0;
    const frame = JSON.parse(text) as ClientFrame;
    if (frame.hello !== undefined) this.#onHello(member, text, frame.hello.client);
    if (frame.ping !== undefined) tell(member, { pong: frame.ping });
    if (frame.id === undefined) return;
    const { id, subscribe, unsubscribe, ...rest } = frame;
    const wanted = subscribe?.map((request) => this.#want(member, request));
    const unwanted = this.#leaveChannels(member, unsubscribe ?? [], false);
    const hasMore = wanted !== undefined || unwanted.length > 0 || Object.keys(rest).length > 0;
    if (!hasMore) {
      tell(member, { ok: id });
      return;
    }
    this.#lastId += 1;
    this.#asked.set(this.#lastId, { tab, id });
    this.#send({
      ...rest,
      id: this.#lastId,
      ...(wanted === undefined ? {} : { subscribe: wanted }),
      ...(unwanted.length === 0 ? {} : { unsubscribe: unwanted }),
    });
  }

  /** Somebody else leads now, or nobody: every tab has to connect anew. */
  close(reason: string): void {
    this.#closeAll(CLOSE_CODES.shutdown, reason);
  }

  #closeAll(code: number, reason: string): void {
    this.#disconnect();
    const members = [...this.#members.values()];
    // Our own tab, told first, may close the hub.
    this.#members.clear();
    for (const { port } of members) port.close(code, reason);
  }

  #onHello(member: Member, text: string, client: string | undefined): void {
    member.client = client;
    if (this.#welcome !== undefined) this.#greet(member, this.#welcome);
    else if (this.#socket === undefined) this.#connect(text);
  }

  #greet(member: Member, welcome: Welcome): void {
    member.isWelcome = true;
    tell(member, {
      welcome: { ...welcome, ...(member.client === undefined ? {} : { client: member.client }) },
    });
  }

  #connect(hello: string): void {
    let socket: WebSocketLike;
    try {
      socket = this.#openSocket();
    } catch (cause) {
      this.#closeAll(1006, cause instanceof Error ? cause.message : String(cause));
      return;
    }
    this.#socket = socket;
    socket.onopen = () => socket.send(hello);
    socket.onmessage = ({ data }: { readonly data: unknown }) => {
      if (this.#socket === socket && typeof data === "string") this.#onText(data);
    };
    socket.onclose = ({ code = 1006, reason = "" }: { readonly code?: number; readonly reason?: string }) => {
      if (this.#socket !== socket) return;
      this.#closeAll(code, reason);
    };
    socket.onerror = () => undefined;
  }

  #disconnect(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#welcome = undefined;
    this.#asked.clear();
    socket?.close(1000);
  }

  #onText(text: string): void {
    const frame = parseServerFrame(text);
    if (frame === undefined) return;
    if ("welcome" in frame) {
      this.#welcome = frame.welcome;
      for (const member of this.#members.values()) this.#greet(member, frame.welcome);
    } else if ("ok" in frame) {
      this.#answer(frame.ok, (id) => ({ ...frame, ok: id }));
    } else if ("error" in frame && frame.id !== undefined) {
      this.#answer(frame.id, (id) => ({ ...frame, id }));
    } else {
      if ("ping" in frame) {
        this.#send({ pong: frame.ping });
        this.#dropSilent();
      }
      this.#tellAll(text);
    }
  }

  #answer(sentId: number, make: (id: number) => ServerFrame): void {
    const asked = this.#asked.get(sentId);
    this.#asked.delete(sentId);
    const member = asked === undefined ? undefined : this.#members.get(asked.tab);
    if (asked !== undefined && member !== undefined) tell(member, make(asked.id));
  }

  /** Events and what is said to the whole connection: in one message for the other tabs. */
  #tellAll(text: string): void {
    this.#members.get(OWN_TAB)?.port.tell(text);
    this.#tellOthers(text);
  }

  #dropSilent(): void {
    for (const [tab, member] of this.#members) {
      member.silence += 1;
      if (member.silence <= SILENCE_MAX_COUNT) continue;
      this.leave(tab);
      member.port.close(CLOSE_CODES.unresponsive, "the tab did not answer");
    }
  }

  /** Whoever asks for a channel must not end the presence of another tab in it. */
  #want(member: Member, request: SubscribeRequest): SubscribeRequest {
    member.channels.set(request.channel, request);
    return { ...request, ...this.#presenceOf(request.channel, request) };
  }

  #presenceOf(channel: string, own?: SubscribeRequest): Pick<SubscribeRequest, "presence"> {
    if (own?.presence !== undefined) return {};
    for (const { channels } of this.#members.values()) {
      const presence = channels.get(channel)?.presence;
      if (presence !== undefined) return { presence };
    }
    return {};
  }

  /** The channels that nobody wants any more; with `isSent`, the server is told at once. */
  #leaveChannels(member: Member, names: readonly string[], isSent = true): readonly string[] {
    const unwanted: string[] = [];
    for (const name of names) {
      const had = member.channels.get(name);
      member.channels.delete(name);
      const isWanted = [...this.#members.values()].some(({ channels }) => channels.has(name));
      if (!isWanted) unwanted.push(name);
      // The others stay; whose presence was shown must not.
      else if (had?.presence !== undefined)
        this.#send({ subscribe: [{ channel: name, ...this.#presenceOf(name) }] });
    }
    if (isSent && unwanted.length > 0) this.#send({ unsubscribe: unwanted });
    return unwanted;
  }

  #send(frame: ClientFrame): void {
    if (this.#welcome !== undefined) this.#socket?.send(JSON.stringify(frame));
  }
}

/** The name under which the leading tab joins its own hub. */
export const OWN_TAB = "own";

const tell = ({ port }: Member, frame: ServerFrame): void => port.tell(JSON.stringify(frame));
