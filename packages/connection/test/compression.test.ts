import { randomBytes } from "node:crypto";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tcpTransport } from "../src/index.ts";
import { deflate } from "../src/link/deflate.ts";
import { echo, pair } from "./fixture.ts";

expectNoLeaks();

describe("deflate", () => {
  it("brings back what it squeezed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5_000 }), (bytes) => {
        const back = deflate.decompress(deflate.compress(bytes), bytes.length);
        expect(Uint8Array.from(back)).toEqual(bytes);
      }),
    );
  });

  it("stops at the limit, whatever a bomb asks for", () => {
    const bomb = deflate.compress(new Uint8Array(64 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(400_000);
    const before = process.memoryUsage().arrayBuffers;
    expect(() => deflate.decompress(bomb, 1_000)).toThrow();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
  });

  it("refuses damaged data and bytes that follow its end", () => {
    const squeezed = deflate.compress(new Uint8Array(5_000).fill(7));
    const damaged = Uint8Array.from(squeezed);
    damaged[damaged.length - 1] = (damaged[damaged.length - 1] as number) ^ 1;
    expect(() => deflate.decompress(damaged, 5_000)).toThrow();
    expect(() => deflate.decompress(squeezed.subarray(0, squeezed.length - 1), 5_000)).toThrow();
    expect(() => deflate.decompress(Buffer.concat([squeezed, Buffer.from("x")]), 5_000)).toThrow();
  });
});

describe("a connection with compression", () => {
  const large = "the same words again and again ".repeat(1_000);

  it("squeezes what both sides agreed to squeeze, and counts what does not shrink", async () => {
    await using both = await pair(tcpTransport(), {
      server: { compression: true },
      client: { compression: true },
    });
    expect(both.client.remote.features).toContain("deflate");
    expect((await both.client.request(echo, { text: large })).text).toBe(large);
    expect(both.client.traffic).toMatchObject({ compressedCount: 1, incompressibleCount: 0, framesOut: 1 });
    expect(both.client.traffic.bytesOut).toBeLessThan(1_000);
    expect(both.client.traffic.bytesIn).toBeLessThan(1_000);
    expect((await both.client.request(echo, { text: "small" })).text).toBe("small");
    expect(both.client.traffic.compressedCount).toBe(1);
  });

  it("sends random bytes as they are", async () => {
    await using both = await pair(tcpTransport(), {
      server: { compression: { minBytes: 0 } },
      client: { compression: { minBytes: 0 } },
    });
    // Too short for its hexadecimal digits to be worth squeezing.
    await both.client.request(echo, { text: randomBytes(15).toString("hex") });
    expect(both.client.traffic.incompressibleCount).toBe(1);
  });

  it.each([
    [true, false],
    [false, true],
    [false, false],
  ])("stays plain where one side does not offer it: %s and %s", async (server, client) => {
    await using both = await pair(tcpTransport(), {
      server: { compression: server },
      client: { compression: client },
    });
    expect(both.client.remote.features).not.toContain("deflate");
    await both.client.request(echo, { text: large });
    expect(both.client.traffic).toMatchObject({ compressedCount: 0, incompressibleCount: 0 });
    expect(both.client.traffic.bytesOut).toBeGreaterThan(large.length);
  });
});
