import { describe, expect, it } from "vitest";
import { parseServerUrl } from "./server-address.ts";

describe("the address of a server", () => {
  it("is read from a URL as libpq reads it", async () => {
    expect(
      await parseServerUrl("postgres://u%40x:p%2Fw@db.example:6543/app%20db?application_name=me"),
    ).toEqual({
      host: "db.example",
      port: 6543,
      database: "app db",
      user: "u@x",
      password: "p/w",
      tls: undefined,
      applicationName: "me",
    });
    expect(await parseServerUrl("postgresql://")).toMatchObject({
      host: "127.0.0.1",
      port: 5432,
      user: "postgres",
      database: "postgres",
      password: undefined,
    });
    expect(await parseServerUrl("postgres://[::1]/x")).toMatchObject({ host: "::1", database: "x" });
    expect(await parseServerUrl("postgres:///x?host=/run/postgresql")).toMatchObject({
      host: "/run/postgresql",
    });
  });

  it("says how the server is identified over TLS", async () => {
    expect((await parseServerUrl("postgres://h/d?sslmode=disable")).tls).toBeUndefined();
    expect((await parseServerUrl("postgres://h/d?sslmode=require")).tls?.rejectUnauthorized).toBe(false);
    expect((await parseServerUrl("postgres://h/d?sslmode=verify-ca")).tls).toMatchObject({
      rejectUnauthorized: true,
      checkServerIdentity: expect.any(Function),
    });
    const full = (await parseServerUrl("postgres://h/d?sslmode=verify-full")).tls;
    expect(full).toEqual({ rejectUnauthorized: true });
  });

  it("is refused with the part that is wrong, without the password", async () => {
    for (const [url, part] of [
      ["mysql://u:hunter2@h/d", "url"],
      ["not a url hunter2", "url"],
      ["postgres://u:hunter2@h:99999/d", "url"],
      ["postgres://u:hunter2%@h/d", "url.password"],
      ["postgres://u:hunter2@h/d?sslmode=prefer", "url.sslmode"],
      ["postgres://u:hunter2@h/d?sslrootcert=/nowhere&sslmode=verify-ca", "url.sslrootcert"],
      ["postgres://u:hunter2@h/d?slmode=require", "url"],
    ] as const) {
      const error = await parseServerUrl(url).catch((reason: unknown) => reason as Error);
      expect(error).toMatchObject({ code: "KERNEL_INVALID_INPUT", field: part });
      expect(`${error} ${JSON.stringify(error)} ${(error as { stack: string }).stack}`).not.toContain(
        "hunter2",
      );
    }
  });
});
