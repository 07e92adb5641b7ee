import { inspect } from "node:util";
import { RemoteError, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { type Authenticator, type Token, TokenExpiredError, TokenIssuer, TokenKeeper } from "../src/index.ts";
import { cluster } from "./cluster-fixture.ts";
import { echo, operate } from "./fixture.ts";

expectNoLeaks();

const SECRET = "a secret of at least thirty-two bytes";
const HOUR_MS = 3_600_000;

const setup = (ttlMs = HOUR_MS) => {
  const clock = new VirtualClock();
  const issuer = new TokenIssuer({ clock, random: seededRandom(3), secret: SECRET, ttlMs });
  const issue = () => issuer.issue({ userId: "ada", roles: ["admin"] });
  return { clock, issuer, issue };
};

const expired = expect.objectContaining({ code: "AUTHENTICATION_TOKEN_EXPIRED" });
const invalid = expect.objectContaining({ code: "AUTHENTICATION_INVALID_CREDENTIALS", retryable: false });

describe("a token", () => {
  it("carries user, roles, times and a signature of 32 bytes", () => {
    const { issuer, issue } = setup();
    const token = issue();
    expect(token).toMatchObject({ userId: "ada", roles: ["admin"], ttlMs: HOUR_MS });
    const signature = token.credential.token.split(".")[1] ?? "";
    expect(Buffer.from(signature, "base64url").length).toBe(32);
    expect(issuer.verify(token.credential).toJSON()).toEqual(token.toJSON());
  });

  it("is good exactly as long as it says", async () => {
    const { clock, issuer, issue } = setup(1_000);
    const token = issue();
    await clock.advance(1_000);
    expect(issuer.verify(token.credential).userId).toBe("ada");
    await clock.advance(1);
    expect(() => issuer.verify(token.credential)).toThrowError(expired);
  });

  it("is refused when anything in it was changed, or another secret signed it", () => {
    const { clock, issuer, issue } = setup();
    const { token } = issue().credential;
    for (let at = 0; at < token.length; at += 7) {
      const changed = `${token.slice(0, at)}${token[at] === "A" ? "B" : "A"}${token.slice(at + 1)}`;
      // The last character of base64url holds unused bits: a change of those alone is no change.
      if (Buffer.from(changed, "base64url").equals(Buffer.from(token, "base64url"))) continue;
      expect(() => issuer.verify({ token: changed })).toThrowError(invalid);
    }
    const other = new TokenIssuer({ clock, random: seededRandom(3), secret: `${SECRET}!` });
    expect(() => other.verify({ token })).toThrowError(invalid);
    for (const nonsense of ["", ".", "a.b.c", "x"]) {
      expect(() => issuer.verify({ token: nonsense })).toThrowError(invalid);
    }
  });

  it("is refused after it was revoked, and only that one", () => {
    const { issuer, issue } = setup();
    const [first, second] = [issue(), issue()];
    issuer.revoke(first.credential);
    issuer.revoke({ token: "not ours" });
    expect(() => issuer.verify(first.credential)).toThrowError(invalid);
    expect(issuer.verify(second.credential).userId).toBe("ada");
  });

  it("stays revoked where the wall clock jumps ahead or back", async () => {
    for (const jumpMs of [30 * HOUR_MS, -HOUR_MS]) {
      const { clock, issuer, issue } = setup();
      const token = issue();
      issuer.revoke(token.credential);
      clock.jumpWall(jumpMs);
      // By this clock the first has ended, or a life has passed.
      if (jumpMs < 0) await clock.advance(HOUR_MS + 1);
      issuer.revoke(issue().credential);
      if (jumpMs > 0) clock.jumpWall(-jumpMs);
      expect(() => issuer.verify(token.credential)).toThrowError(invalid);
      expect(issuer.grant(token.credential, () => ["read"])).toBeUndefined();
    }
  });

  it("does not show its proof when it is printed or turned into JSON", () => {
    const { issuer, issue } = setup();
    const token = issue();
    const shown = [
      inspect(token, { depth: 9, showHidden: true }),
      JSON.stringify({ token }),
      String(token),
      inspect(issuer, { depth: 9, showHidden: true }),
    ];
    for (const text of shown) {
      expect(text).not.toContain(token.credential.token);
      expect(text).not.toContain(SECRET);
    }
    expect(
      () => new TokenIssuer({ clock: new VirtualClock(), random: seededRandom(1), secret: "short" }),
    ).toThrowError(expect.objectContaining({ message: expect.not.stringContaining("short") }));
  });
});

const keeping = (options: { readonly ttlMs?: number; readonly refresh?: boolean } = {}) => {
  const { clock, issuer, issue } = setup(options.ttlMs ?? HOUR_MS);
  const authenticate = vi.fn(async () => {
    await clock.sleep(10);
    return issue();
  });
  const refresh = vi.fn(async (old: Token) => {
    await clock.sleep(10);
    return issuer.issue({ userId: old.userId, roles: old.roles });
  });
  const logout = vi.fn(async (token: Token) => issuer.revoke(token.credential));
  const authenticator: Authenticator = options.refresh
    ? { authenticate, refresh, logout }
    : { authenticate, logout };
  const keeper = new TokenKeeper({ clock, authenticator });
  return { clock, issuer, keeper, authenticate, refresh, logout };
};

describe("TokenKeeper", () => {
  it("authenticates once for 50 who wait, and lends the token until it ends", async () => {
    const { clock, keeper, authenticate } = keeping();
    const all = Promise.all(Array.from({ length: 50 }, () => keeper.valid()));
    await clock.advance(10);
    expect(new Set(await all).size).toBe(1);
    await clock.advance(HOUR_MS / 2);
    await keeper.valid();
    expect(authenticate).toHaveBeenCalledOnce();
    expect(keeper.timeLeftMs).toBe(HOUR_MS / 2 - 10);
  });

  it("renews in the background from 80 % of the life on, keeping user and roles", async () => {
    const { clock, keeper, authenticate, refresh } = keeping({ refresh: true });
    const asked = keeper.valid();
    await clock.advance(10);
    const first = await asked;
    await clock.advance(0.8 * HOUR_MS - 11);
    expect(await keeper.valid()).toBe(first);
    expect(refresh).not.toHaveBeenCalled();
    await clock.advance(1);
    expect(await keeper.valid()).toBe(first);
    await clock.advance(10);
    const second = await keeper.valid();
    expect(second).not.toBe(first);
    expect(second).toMatchObject({ userId: "ada", roles: ["admin"] });
    expect(second.expiresAt).toBeGreaterThan(first.expiresAt);
    expect(refresh).toHaveBeenCalledOnce();
    expect(authenticate).toHaveBeenCalledOnce();
  });

  it("goes on with a token that is still good when its renewal fails, and does not hammer", async () => {
    const { clock, keeper, refresh } = keeping({ refresh: true });
    const asked = keeper.valid();
    await clock.advance(10);
    const first = await asked;
    refresh.mockRejectedValue(new Error("down"));
    await clock.advance(0.9 * HOUR_MS);
    for (let index = 0; index < 100; index += 1) expect(await keeper.valid()).toBe(first);
    await clock.advance(100);
    for (let index = 0; index < 100; index += 1) expect(await keeper.valid()).toBe(first);
    expect(refresh).toHaveBeenCalledOnce();
  });

  it("authenticates anew when a refresh comes after the end", async () => {
    const { clock, keeper, authenticate, refresh } = keeping({ refresh: true, ttlMs: 1_000 });
    const asked = keeper.valid();
    await clock.advance(10);
    await asked;
    await clock.advance(5_000);
    expect(keeper.timeLeftMs).toBe(0);
    const renewed = keeper.refresh();
    await clock.advance(10);
    expect((await renewed).userId).toBe("ada");
    expect(authenticate).toHaveBeenCalledTimes(2);
    expect(refresh).not.toHaveBeenCalled();
  });

  it("fails to refresh or log out without a token, and after a logout for good", async () => {
    const { clock, issuer, keeper } = keeping();
    await expect(keeper.refresh()).rejects.toThrowError(invalid);
    await expect(keeper.logout()).rejects.toThrowError(invalid);
    const asked = keeper.valid();
    await clock.advance(10);
    const token = await asked;
    await keeper.logout();
    expect(() => issuer.verify(token.credential)).toThrowError(invalid);
    expect(keeper.token).toBeUndefined();
    await expect(keeper.valid()).rejects.toThrowError(invalid);
  });

  it("lets one who waits give up while the others get their token", async () => {
    const { clock, keeper } = keeping();
    const controller = new AbortController();
    const aborted = expect(keeper.valid({ signal: controller.signal })).rejects.toThrow("enough");
    const other = keeper.valid();
    controller.abort(new Error("enough"));
    await aborted;
    await clock.advance(10);
    expect((await other).userId).toBe("ada");
  });
});

describe("the options of a TokenKeeper", () => {
  it.each([
    ["renewAtShare", Number.NaN],
    ["renewAtShare", 0],
    ["renewAtShare", 1.5],
    ["timeoutMs", Number.NaN],
    ["timeoutMs", Number.POSITIVE_INFINITY],
    ["timeoutMs", 0],
  ])("are refused where %s is %d", (field, value) => {
    const { clock, issue } = setup();
    const authenticator: Authenticator = { authenticate: async () => issue() };
    expect(() => new TokenKeeper({ clock, authenticator, [field]: value })).toThrowError(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field, retryable: false }),
    );
  });
});

describe("the end of a TokenKeeper", () => {
  it("gives up the first authentication under way, for all who wait and for good", async () => {
    const { clock, issue } = setup();
    const signals: AbortSignal[] = [];
    const authenticate = vi.fn(async ({ signal }: { readonly signal: AbortSignal }) => {
      signals.push(signal);
      // It does not heed its signal, and is done too late.
      await clock.sleep(1_000);
      return issue();
    });
    const logout = vi.fn(async () => undefined);
    const keeper = new TokenKeeper({ clock, authenticator: { authenticate, logout } });
    const waiting = [keeper.valid(), keeper.credential({}), keeper.renew(undefined, {})];
    const refused = Promise.all(waiting.map((wait) => expect(wait).rejects.toThrowError(invalid)));
    const end = new AbortController();
    await keeper.end({ signal: end.signal });
    await refused;
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    await clock.advance(1_000);
    expect(keeper.token).toBeUndefined();
    await expect(keeper.valid()).rejects.toThrowError(invalid);
    await keeper.end({ signal: end.signal });
    expect(authenticate).toHaveBeenCalledOnce();
    expect(logout).not.toHaveBeenCalled();
    expect(clock.pendingCount).toBe(0);
  });

  it("keeps no token that came at the same moment", async () => {
    const { clock, issue } = setup();
    const keeper = new TokenKeeper({ clock, authenticator: { authenticate: async () => issue() } });
    // Between the answer and whoever waits for it lie some turns of promise callbacks: the end comes at each of them.
    const waiting = expect(keeper.valid()).rejects.toThrowError(invalid);
    await Promise.resolve();
    await keeper.end({});
    await waiting;
    expect(keeper.token).toBeUndefined();
  });
});

describe("a client with tokens", () => {
  /** A cluster whose nodes accept the tokens of one issuer; the clocks are the same. */
  const tokenCluster = async (ttlMs: number) => {
    const made: { issuer?: TokenIssuer } = {};
    const authenticate = vi.fn(async () => {
      if (made.issuer === undefined) throw new Error("too early");
      return made.issuer.issue({ userId: "ada", roles: ["reader"] });
    });
    const keeperOf: { keeper?: TokenKeeper } = {};
    const setupResult = await cluster(
      2,
      {
        credential: {
          credential: async (options) => {
            if (keeperOf.keeper === undefined) throw new Error("too early");
            return keeperOf.keeper.credential(options);
          },
          renew: async (refused, options) => {
            if (keeperOf.keeper === undefined) throw new Error("too early");
            return keeperOf.keeper.renew(refused, options);
          },
          end: async (options) => keeperOf.keeper?.end(options),
        },
      },
      { authenticate: (credential) => made.issuer?.grant(credential, () => ["read"]) },
    );
    const { clock } = setupResult;
    made.issuer = new TokenIssuer({ clock, random: seededRandom(3), secret: SECRET, ttlMs });
    const { issuer } = made;
    const logout = async (token: Token): Promise<void> => issuer.revoke(token.credential);
    keeperOf.keeper = new TokenKeeper({ clock, authenticator: { authenticate, logout } });
    return { ...setupResult, authenticate, issuer, keeper: keeperOf.keeper };
  };

  it("authenticates once again for 50 callers whose token expired, on the open connections, and all are answered", async () => {
    const { authenticate, client, clock, nodes, settle } = await tokenCluster(60_000);
    await settle(client.connect());
    await settle(client.request(echo, { text: "a" }));
    const openedBefore = client.stats.connections.openedCount;
    await clock.advance(60_001);
    const answers = await settle(
      Promise.all(Array.from({ length: 50 }, () => client.request(echo, { text: "b" }))),
    );
    expect(answers.length).toBe(50);
    expect(authenticate).toHaveBeenCalledTimes(2);
    expect(nodes.reduce((sum, { calls }) => sum + calls.filter(({ text }) => text === "b").length, 0)).toBe(
      50,
    );
    expect(client.stats.retries.retryCount).toBe(0);
    expect(client.stats.connections.openedCount - openedBefore).toBeLessThanOrEqual(5);
    await settle(client.disconnect());
  });

  it("shows the current token on every connection: what was revoked is refused on open ones too", async () => {
    const { client, issuer, keeper, nodes, settle } = await tokenCluster(60_000);
    await settle(client.connect());
    const token = await settle(keeper.valid());
    issuer.revoke(token.credential);
    await expect(settle(client.request(echo, { text: "x" }))).rejects.toThrowError(invalid);
    expect(nodes.every(({ calls }) => calls.length === 0)).toBe(true);
    await settle(client.disconnect());
  });

  it("never sends a write again whose handler says that a token expired: it may have acted before", async () => {
    const renew = vi.fn(async () => ({ token: "fresh" }));
    const { client, node, settle } = await cluster(1, {
      credential: { credential: async () => ({ token: "old" }), renew, end: async () => undefined },
    });
    await settle(client.connect());
    // Also one that a third node said before it began, and that the handler passes on.
    const relayed = new RemoteError({
      code: "AUTHENTICATION_TOKEN_EXPIRED",
      message: "expired",
      retryable: false,
      details: { notBegun: true },
    });
    for (const [index, failure] of [new TokenExpiredError(0), relayed].entries()) {
      node(1).failures.push(failure);
      await expect(settle(client.request(operate, {}))).rejects.toThrowError(expired);
      expect(node(1).calls.length).toBe(index + 1);
    }
    const lease = await settle(client.lease());
    node(1).failures.push(new TokenExpiredError(0));
    await expect(settle(lease.request(operate, {}))).rejects.toThrowError(expired);
    expect(node(1).calls.length).toBe(3);
    expect(renew).not.toHaveBeenCalled();

    node(1).refusals.push(new TokenExpiredError(0));
    expect(await settle(lease.request(operate, {}))).toEqual({});
    expect(renew).toHaveBeenCalledOnce();
    lease.release();
    await settle(client.disconnect());
  });

  it("logs out when it disconnects", async () => {
    const { client, issuer, keeper, settle } = await tokenCluster(60_000);
    await settle(client.connect());
    const token = await settle(keeper.valid());
    await settle(client.disconnect());
    expect(() => issuer.verify(token.credential)).toThrowError(invalid);
  });

  it("with wrong credentials makes one attempt, and blames no node", async () => {
    let judgedCount = 0;
    const { client, settle } = await cluster(
      1,
      { credential: { token: "wrong" } },
      {
        authenticate: () => {
          judgedCount += 1;
          return undefined;
        },
      },
    );
    await expect(settle(client.connect())).rejects.toMatchObject({
      code: "AUTHENTICATION_FAILED",
      retryable: false,
    });
    expect(judgedCount).toBe(1);
    await expect(settle(client.request(echo, { text: "x" }))).rejects.toMatchObject({
      code: "AUTHENTICATION_FAILED",
    });
    expect(judgedCount).toBe(2);
    expect(client.health).toMatchObject([{ isHealthy: true, failuresInRow: 0 }]);
    expect(inspect(client, { depth: 9, showHidden: true })).not.toContain("wrong");
    await settle(client.disconnect());
  });
});
