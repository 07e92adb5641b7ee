import { connect } from "node:net";
import { systemClock } from "@holdfast/kernel";
import { ProcessFailedError } from "../errors.ts";

/** What Redis answers in RESP2. */
export type RedisReply = string | number | null | readonly RedisReply[];

class ReplyError extends Error {}

/** Reads one reply from `text` at `at`; undefined when it is not complete yet. Fixtures are ASCII, so latin1 is exact. */
const parse = (text: string, at: number): { reply: RedisReply | ReplyError; next: number } | undefined => {
  const end = text.indexOf("\r\n", at);
  if (end < 0) return undefined;
  const rest = text.slice(at + 1, end);
  const next = end + 2;
  switch (text[at]) {
    case "+":
      return { reply: rest, next };
    case "-":
      return { reply: new ReplyError(rest), next };
    case ":":
      return { reply: Number(rest), next };
    case "$": {
      const length = Number(rest);
      if (length < 0) return { reply: null, next };
      if (text.length < next + length + 2) return undefined;
      return { reply: text.slice(next, next + length), next: next + length + 2 };
    }
    case "*": {
      const items: RedisReply[] = [];
      let position = next;
      for (let index = 0; index < Number(rest); index++) {
        const item = parse(text, position);
        if (!item) return undefined;
        items.push(item.reply instanceof ReplyError ? item.reply.message : item.reply);
        position = item.next;
      }
      return { reply: items, next: position };
    }
    default:
      return { reply: new ReplyError(`not a RESP2 reply: ${text.slice(at, at + 40)}`), next };
  }
};

/**
 * Sends one command over a connection of its own and gives the reply: for fixtures and assertions.
 * @throws ProcessFailedError when the server refuses, closes, or takes longer than 5 s.
 */
export const redisCommand = (
  port: number,
  args: readonly (string | number)[],
  options: { readonly password?: string } = {},
): Promise<RedisReply> =>
  new Promise((resolve, reject) => {
    const name = `${args.join(" ")} on Redis port ${port}`;
    const auth = options.password === undefined ? [] : [["AUTH", options.password]];
    const commands: readonly (readonly (string | number)[])[] = [...auth, args];
    const socket = connect({ host: "127.0.0.1", port });
    let text = "";
    const settle = (finish: () => void): void => {
      timer.cancel();
      socket.destroy();
      finish();
    };
    const fail = (what: string): void => settle(() => reject(new ProcessFailedError(`${name}: ${what}`, "")));
    const timer = systemClock.schedule(20_000, () => fail("no answer within 20 s"));
    socket.setEncoding("latin1");
    socket.on("error", (error) => fail(error.message));
    socket.on("close", () => fail("the connection was closed"));
    socket.on("data", (chunk: string) => {
      text += chunk;
      let position = 0;
      for (const [index] of commands.entries()) {
        const parsed = parse(text, position);
        if (!parsed) return;
        const { reply } = parsed;
        if (reply instanceof ReplyError) {
          fail(reply.message);
          return;
        }
        if (index === commands.length - 1) settle(() => resolve(reply));
        position = parsed.next;
      }
    });
    for (const command of commands) {
      const parts = command.map((part) => `$${Buffer.byteLength(String(part))}\r\n${part}\r\n`);
      socket.write(`*${command.length}\r\n${parts.join("")}`);
    }
  });
