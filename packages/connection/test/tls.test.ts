import { type AddressInfo, createServer, connect as netConnect, type Socket } from "node:net";
import { inspect } from "node:util";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { connect, serve, type TlsTransportOptions, tcpTransport, tlsTransport } from "../src/index.ts";
import { certificates } from "./certificates.ts";
import { echo, endpoint, recordingHandlers } from "./fixture.ts";

expectNoLeaks();

const { authority, stranger, server: serverPair, client: clientPair, impostor } = certificates;

const setup = async (options: Partial<TlsTransportOptions> = {}) => {
  const { handlers } = recordingHandlers();
  const server = await serve({
    ...endpoint(tlsTransport({ ...serverPair, authorities: authority, ...options }), { handlers }),
    listen: "127.0.0.1:0",
  });
  return {
    server,
    dial: (client: TlsTransportOptions) =>
      connect({ ...endpoint(tlsTransport(client)), address: server.address, timeoutMs: 20_000 }),
    [Symbol.asyncDispose]: () => server.close({ drainMs: 50 }),
  };
};

const tlsError = expect.objectContaining({ code: "CONNECTION_TLS", retryable: false });

describe("a server with TLS", () => {
  it("serves who trusts its authority", async () => {
    await using both = await setup();
    const peer = await both.dial({ authorities: authority });
    expect(await peer.request(echo, { text: "a" })).toEqual({ text: "a" });
    await peer.close();
  });

  it("is refused by who trusts another authority", async () => {
    await using both = await setup();
    await expect(both.dial({ authorities: stranger })).rejects.toThrowError(tlsError);
  });

  it("is refused when its certificate is for another name, and accepted for each of its own", async () => {
    await using both = await setup();
    await expect(both.dial({ authorities: authority, serverName: "other.test" })).rejects.toThrowError(
      tlsError,
    );
    const peer = await both.dial({ authorities: authority, serverName: "node.holdfast.test" });
    await peer.close();
  });

  it.each<[string, Partial<TlsTransportOptions>, string]>([
    ["a certificate", {}, "certificate"],
    ["anything but an authority", { authorities: authority }, "certificate"],
  ])("without %s does not listen", async (_, options, field) => {
    const listening = tlsTransport(options).listen("127.0.0.1:0", () => undefined);
    // Closes what should not have come about.
    listening.then((listener) => listener.close()).catch(() => undefined);
    await expect(listening).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field,
      message: expect.stringContaining("given to listen"),
    });
  });

  it("does not talk to a plain dialler, and goes on serving others", async () => {
    await using both = await setup();
    await expect(
      connect({ ...endpoint(tcpTransport()), address: both.server.address, timeoutMs: 20_000 }),
    ).rejects.toThrowError(expect.objectContaining({ code: "CONNECTION_LOST" }));
    const peer = await both.dial({ authorities: authority });
    await peer.close();
  });

  it("takes only certified diallers when it asks for certificates", async () => {
    await using both = await setup({
      requireClientCertificate: true,
      authorities: [authority, certificates.expired.certificate],
    });
    await expect(both.dial({ authorities: authority })).rejects.toMatchObject({
      code: expect.stringMatching(/^CONNECTION_(TLS|LOST)$/),
    });
    await expect(both.dial({ authorities: authority, ...impostor })).rejects.toMatchObject({
      code: expect.stringMatching(/^CONNECTION_(TLS|LOST)$/),
    });
    await expect(both.dial({ authorities: authority, ...certificates.expired })).rejects.toMatchObject({
      code: expect.stringMatching(/^CONNECTION_(TLS|LOST)$/),
    });
    expect(both.server.peers.size).toBe(0);
    const peer = await both.dial({ authorities: authority, ...clientPair });
    expect(await peer.request(echo, { text: "a" })).toEqual({ text: "a" });
    await peer.close();
  });
});

describe("what a TLS transport is given", () => {
  const cut = authority.slice(0, authority.length / 2);
  const indented = authority.replaceAll(/^/gm, "  ");
  const damaged = authority.replace(/\n[A-Za-z0-9+/]{10}/, "\nAAAAAAAAAA");

  it.each<[string, TlsTransportOptions, string, string]>([
    ["no key", { certificate: serverPair.certificate }, "key", "given with the certificate"],
    ["no certificate", { key: serverPair.key }, "certificate", "given with the key"],
    ["an empty key", { ...serverPair, key: "" }, "key", "given with the certificate"],
    ["a number for a key", { ...serverPair, key: 7 as never }, "key", "number"],
    ["a broken certificate", { ...serverPair, certificate: "secret" }, "certificate", "PEM"],
    ["a broken key", { ...serverPair, key: Buffer.from("secret") }, "key", "PEM"],
    ["another's key", { ...serverPair, key: clientPair.key }, "key", "of the certificate"],
    ["no authorities", { authorities: [] }, "authorities", "an empty list"],
    ["an empty authority", { authorities: "" }, "authorities", "0 bytes"],
    ["an authority that is no PEM", { authorities: Buffer.from("secret") }, "authorities", "6 bytes"],
    ["a key for an authority", { authorities: serverPair.key }, "authorities", "certificates in PEM"],
    ["an authority of half its length", { authorities: cut }, "authorities", "each of them whole"],
    ["an authority that is indented", { authorities: indented }, "authorities", "certificates in PEM"],
    ["an authority that is damaged", { authorities: damaged }, "authorities", "certificates in PEM"],
    [
      "a second one in a text cut short",
      { authorities: authority + cut },
      "authorities",
      "each of them whole",
    ],
    ["a second one damaged", { authorities: authority + damaged }, "authorities", "each of them whole"],
    ["a broken one in a list", { authorities: [authority, "secret"] }, "authorities[1]", "6 bytes"],
  ])("is refused at once with %s, by its field and unseen", (_, options, field, expected) => {
    let error: unknown;
    try {
      tlsTransport(options);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field,
      retryable: false,
      message: expect.stringContaining(expected),
    });
    expect(`${inspect(error, { depth: 9 })}${JSON.stringify(error)}`).not.toMatch(
      /'secret'|"secret"|BEGIN|M[A-Z]{2,}[A-Za-z0-9+/]{20}/,
    );
  });

  it("may be several authorities in one text with words around them, and each of them is trusted", async () => {
    await using both = await setup();
    const authorities = Buffer.from(`# Ours, since 2026\r\n${stranger}\nand another\n${authority}`);
    const peer = await both.dial({ authorities });
    await peer.close();
  });
});

describe("a dialler with TLS", () => {
  const SECRET = "very-secret-token";

  /** Passes bytes on to `port` and keeps those that the dialler sent. */
  const wiretap = async (port: number) => {
    const heard: Buffer[] = [];
    const sockets = new Set<Socket>();
    const tap = createServer((near) => {
      const far = netConnect({ port, host: "127.0.0.1" });
      for (const socket of [near, far]) {
        sockets.add(socket);
        socket.on("error", () => undefined);
        socket.on("close", () => {
          near.destroy();
          far.destroy();
        });
      }
      near.on("data", (chunk) => heard.push(chunk));
      near.pipe(far).pipe(near);
    });
    await new Promise<void>((resolve) => tap.listen(0, "127.0.0.1", resolve));
    return {
      address: `127.0.0.1:${(tap.address() as AddressInfo).port}`,
      heard: () => Buffer.concat(heard),
      async [Symbol.asyncDispose]() {
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => tap.close(resolve));
      },
    };
  };

  it.each([
    ["has expired", { ...certificates.expired }, certificates.expired.certificate, {}, /expired/],
    ["is not valid yet", { ...certificates.early }, certificates.early.certificate, {}, /not yet valid/],
    ["is for another name", serverPair, authority, { serverName: "other.test" }, /altnames/],
    ["comes from an authority that nobody named", serverPair, stranger, {}, /certificate/],
  ])("tells a server nothing whose certificate %s", async (_, pair, trusted, more, why) => {
    const { handlers } = recordingHandlers();
    const credentials: unknown[] = [];
    await using server = await serve({
      ...endpoint(tlsTransport(pair), { handlers }),
      listen: "127.0.0.1:0",
      authenticate: (credential) => {
        credentials.push(credential);
        return undefined;
      },
    });
    await using tap = await wiretap(Number(server.address.split(":").at(-1)));
    await expect(
      connect({
        ...endpoint(tlsTransport({ authorities: trusted, ...more })),
        address: tap.address,
        credential: { token: SECRET },
        timeoutMs: 20_000,
      }),
    ).rejects.toThrowError(
      expect.objectContaining({
        code: "CONNECTION_TLS",
        retryable: false,
        message: expect.stringMatching(why),
      }),
    );
    // 0x16: TLS handshake records. What it had to say was never said, in the clear or otherwise.
    expect(tap.heard()[0]).toBe(0x16);
    expect(tap.heard().includes(SECRET)).toBe(false);
    expect(credentials).toEqual([]);
    expect(server.peers.size).toBe(0);
  });

  it("sends nothing in the clear to a plain server", async () => {
    const received: Buffer[] = [];
    const plain = createServer((socket) => {
      socket.on("data", (chunk) => {
        received.push(chunk);
        socket.end("this is not TLS\r\n");
      });
      socket.on("error", () => undefined);
    });
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    const { port } = plain.address() as { port: number };
    await expect(
      connect({
        ...endpoint(tlsTransport({ authorities: authority })),
        address: `127.0.0.1:${port}`,
        credential: { token: SECRET },
        timeoutMs: 20_000,
      }),
    ).rejects.toThrowError(tlsError);
    const bytes = Buffer.concat(received);
    // 0x16: a TLS handshake record, and nothing else was ever sent.
    expect(bytes[0]).toBe(0x16);
    expect(bytes.includes(SECRET)).toBe(false);
    await new Promise((resolve) => plain.close(resolve));
  });

  it("gives up at the limit when the server accepts and then says nothing", async () => {
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as { port: number };
    await expect(
      connect({
        ...endpoint(tlsTransport({ authorities: authority })),
        address: `127.0.0.1:${port}`,
        timeoutMs: 50,
      }),
    ).rejects.toMatchObject({ code: "CONNECTION_TIMEOUT", details: { timeoutMs: 50 } });
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  });
});
