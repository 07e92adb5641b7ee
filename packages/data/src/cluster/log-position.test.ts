import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatToken, parseToken } from "../session/session-token.ts";
import { formatLsn, parseLsn } from "./log-position.ts";
import { continuityOf, mergeHistories, parseHistoryFile } from "./timeline-history.ts";

describe("a log position", () => {
  it("survives being written and read, over the whole range", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (lsn) => parseLsn(formatLsn(lsn)) === lsn),
    );
    expect(parseLsn("16/B374D848")).toBe(0x16_b374d848n);
    expect(formatLsn(0x16_b374d848n)).toBe("16/B374D848");
  });

  it.each(["", "16", "16/", "/B3", "16/B374D8488", "g/1", "1/2/3"])("refuses %j", (text) => {
    expect(() => parseLsn(text, "token")).toThrow(/token must be a log position/);
  });
});

describe("a session's token", () => {
  const position = { systemId: "7710549446034601065", timeline: 3, lsn: 0x1_0000_0028n, durable: 0x40n };

  it("survives being written and read", () => {
    expect(parseToken(formatToken(position))).toEqual(position);
  });

  it.each(["", "1:2:3", "x:1:0/1:0/1", `${formatToken(position)}:1`])("refuses %j", (text) => {
    expect(() => parseToken(text)).toThrow(/token must be a token that a session gave/);
  });
});

describe("a timeline history", () => {
  const history = parseHistoryFile(
    "1\t0/5000000\tno recovery target specified\n\n2\t0/7000000\tbefore 2000-01-01\n",
  );

  it("is read from PostgreSQL's file", () => {
    expect(history.map(({ timeline, forkLsn }) => [timeline, forkLsn])).toEqual([
      [1, 0x5000000n],
      [2, 0x7000000n],
    ]);
  });

  it("tells what a failover kept, what it lost, and what nobody can tell", () => {
    expect(continuityOf(history, { timeline: 1, lsn: 0x5000000n }, 3)).toBe("kept");
    expect(continuityOf(history, { timeline: 1, lsn: 0x5000001n }, 3)).toBe("lost");
    expect(continuityOf(history, { timeline: 3, lsn: 0x9000000n }, 3)).toBe("kept");
    expect(continuityOf(history, { timeline: 4, lsn: 1n }, 3)).toBe("unknown");
    expect(continuityOf([], { timeline: 1, lsn: 1n }, 2)).toBe("unknown");
  });

  it("is put together from several sources, each promotion once, in order, with what each knows", () => {
    const merged = mergeHistories(history, [
      { timeline: 2, forkLsn: 0x7000000n, reason: "", at: 5, leader: "n2" },
      { timeline: 3, forkLsn: 0x9000000n, reason: "", at: 9, leader: "n1" },
    ]);
    expect(merged.map(({ timeline, leader, at }) => [timeline, leader, at])).toEqual([
      [1, undefined, undefined],
      [2, "n2", 5],
      [3, "n1", 9],
    ]);
  });
});
