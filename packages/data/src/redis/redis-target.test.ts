import { InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { parseRedisUrl } from "./redis-target.ts";

describe("the address of a Redis server", () => {
  it("is read with user, password and database, whatever is escaped in them", () => {
    expect(parseRedisUrl("url", "rediss://us%40er:p%2Fw@[::1]:7000/3")).toEqual({
      address: { host: "::1", port: 7_000 },
      credentials: { tls: true, username: "us@er", password: "p/w", database: 3 },
    });
  });

  it.each([
    "redis://user:se/cret@host:6379",
    "redis://user:se@cret@host:6379/zero",
    "redis://user:cret%@host:6379",
    "redis:user:cret@host",
    "user:cret@host:6379",
    "http://user:se?cret@host",
    "redis://user:cret@host:notaport",
  ])("is refused by name and without its password: %s", (url) => {
    let refused: unknown;
    try {
      parseRedisUrl("url", url);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(InvalidInputError);
    expect(refused).toMatchObject({ field: "url" });
    expect(`${(refused as Error).message} ${JSON.stringify(refused)}`).not.toContain("cret");
  });
});
