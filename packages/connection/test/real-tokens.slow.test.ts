import { systemClock, systemRandom } from "@holdfast/kernel";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { expect, it, vi } from "vitest";
import {
  ConnectionManager,
  connect,
  serve,
  type Token,
  TokenIssuer,
  TokenKeeper,
  tcpTransport,
} from "../src/index.ts";
import { echo, endpoint, recordingHandlers } from "./fixture.ts";

expectNoLeaks();

const HOUR_MS = 3_600_000;
const common = { clock: systemClock, random: systemRandom, transport: tcpTransport() };

/** Two nodes on real sockets that take the tokens of one issuer, and a client that holds such tokens. */
const setup = async () => {
  const issuer = new TokenIssuer({
    clock: systemClock,
    random: systemRandom,
    secret: "a secret of at least thirty-two bytes",
    ttlMs: HOUR_MS,
  });
  const shown: string[] = [];
  const firstEndsAt = systemClock.wallNow() + 500;
  const { handlers } = recordingHandlers();
  const nodes = await Promise.all(
    [1, 2].map((number) =>
      serve({
        ...endpoint(tcpTransport(), { handlers }),
        identity: { nodeId: `node-${number}`, role: "node" },
        listen: "127.0.0.1:0",
        authenticate: (credential) => {
          const grant = issuer.grant(credential, () => ["read"]);
          if (credential?.token !== undefined && !shown.includes(credential.token))
            shown.push(credential.token);
          // The nodes find the first token at its end long before its holder does.
          return grant !== undefined && credential?.token === shown[0]
            ? { ...grant, expiresAt: firstEndsAt }
            : grant;
        },
      }),
    ),
  );
  const authenticate = vi.fn(async () => issuer.issue({ userId: "ada", roles: ["reader"] }));
  const logout = async (token: Token): Promise<void> => issuer.revoke(token.credential);
  const keeper = new TokenKeeper({ clock: systemClock, authenticator: { authenticate, logout } });
  const client = new ConnectionManager({
    ...common,
    identity: { nodeId: "", role: "client" },
    hosts: nodes.map(({ address }) => address),
    credential: keeper,
  });
  return {
    authenticate,
    client,
    firstEndsAt,
    keeper,
    nodes,
    async [Symbol.asyncDispose]() {
      await client.disconnect({ drainMs: 500 });
      await Promise.all(nodes.map((node) => node.close({ drainMs: 50 })));
    },
  };
};

it("authenticates once again over TCP for 50 callers whose token the nodes find expired, and is out after logging out", async () => {
  await using both = await setup();
  await both.client.connect();
  await vi.waitFor(() => expect(systemClock.wallNow()).toBeGreaterThan(both.firstEndsAt));
  const texts = Array.from({ length: 50 }, (_, index) => `text ${index}`);
  const answers = await Promise.all(texts.map((text) => both.client.request(echo, { text })));
  expect(answers.map(({ text }) => text)).toEqual(texts);
  expect(both.authenticate).toHaveBeenCalledTimes(2);
  expect(both.client.stats.retries.retryCount).toBe(0);

  const { credential } = await both.keeper.valid();
  await both.client.disconnect();
  await expect(
    connect({
      ...endpoint(tcpTransport()),
      address: both.nodes[0]?.address ?? "",
      credential,
    }),
  ).rejects.toMatchObject({ code: expect.stringMatching(/^AUTHENTICATION_/), retryable: false });
});
