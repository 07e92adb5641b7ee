import { openEmbedded } from "@holdfast/data";
import { MemoryChannelLog } from "@holdfast/live/server";
import { expect, it } from "vitest";
import { startShop } from "../src/server/index.ts";

it("tells who sent it what is wrong with a request, and takes no blame for it", async () => {
  await using sql = await openEmbedded();
  await using log = new MemoryChannelLog();
  const shop = await startShop({ sql, signals: { with: "commit", log } });
  try {
    const send = async (method: string, path: string, body: string, type = "application/json") => {
      const response = await fetch(`${shop.url}${path}`, { method, body, headers: { "content-type": type } });
      return { status: response.status, ...((await response.json()) as object) };
    };
    const bad = { error: { code: "SHOP_BAD_REQUEST", retryable: false } };
    for (const [method, path] of [
      ["POST", "/api/orders"],
      ["PATCH", "/api/orders/o-1"],
    ] as const) {
      for (const body of ['{"item":', "nonsense", ""])
        expect(await send(method, path, body)).toMatchObject({ status: 400, ...bad });
      expect(await send(method, path, "{}", "application/x-nonsense")).toMatchObject({ status: 415, ...bad });
      expect(await send(method, path, `"${"x".repeat(2 ** 21)}"`)).toMatchObject({ status: 413, ...bad });
      expect(await send(method, path, "{}")).toMatchObject({
        status: 422,
        error: { code: "SHOP_INVALID_INPUT", retryable: false },
      });
    }
    expect(await send("PATCH", "/api/orders/o-7", '{"quantity":1,"version":1}')).toMatchObject({
      status: 404,
      error: { code: "SHOP_NOT_FOUND" },
    });
    expect(await send("POST", "/api/nothing", "{}")).toMatchObject({
      status: 404,
      error: { code: "SHOP_NOT_FOUND" },
    });
    await sql.query("DROP TABLE order_mutations");
    await sql.query("DROP TABLE orders");
    expect(await send("POST", "/api/orders", '{"item":"tea","quantity":1}')).toMatchObject({
      status: 500,
      error: { code: "SHOP_FAILED", message: "the shop failed; try again", retryable: true },
    });
  } finally {
    await shop.close();
  }
});
