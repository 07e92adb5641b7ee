import { describe, expect, it } from "vitest";
import { leadersOf, readCluster, readHistory } from "./patroni-documents.ts";

const member = (fields: object): object => ({
  name: "n1",
  role: "replica",
  state: "streaming",
  host: "10.0.0.1",
  port: 5432,
  api_url: "http://10.0.0.1:8008/patroni",
  timeline: 4,
  lag: 0,
  ...fields,
});
const read = (...members: readonly object[]) => readCluster({ members }, "db:8008").members;

describe("the cluster document of Patroni", () => {
  it("is read in all five roles, with the words of versions 2 to 4", () => {
    const roles = ["leader", "standby_leader", "sync_standby", "quorum_standby", "replica"];
    expect(
      read(...roles.map((role, index) => member({ role, name: `n${index}` }))).map(({ role }) => role),
    ).toEqual(roles);
  });

  it("takes an unknown lag for unknown, not for none, and believes the replay lag first", () => {
    expect(read(member({ lag: "unknown" }))[0]?.lagBytes).toBeUndefined();
    expect(read(member({ lag: 7 }))[0]?.lagBytes).toBe(7n);
    expect(read(member({ lag: 7, replay_lag: 9 }))[0]?.lagBytes).toBe(9n);
    expect(read(member({ role: "leader", lag: undefined }))[0]?.lagBytes).toBe(0n);
  });

  it("keeps a member without an address, tags, pause and a scheduled switchover", () => {
    const cluster = readCluster(
      {
        members: [member({ host: undefined, port: undefined, tags: { noloadbalance: true } })],
        pause: true,
        scheduled_switchover: { at: "2026-11-21T10:00:00+00:00", from: "n1", to: "n2" },
      },
      "db:8008",
    );
    expect(cluster.members[0]).toMatchObject({
      host: undefined,
      port: undefined,
      tags: { noloadbalance: true },
    });
    expect(cluster.isPaused).toBe(true);
    expect(cluster.scheduledSwitchover).toEqual({ at: "2026-11-21T10:00:00+00:00", from: "n1", to: "n2" });
  });

  it.each([
    [null, /the document is not an object/],
    [[], /the document is not an object/],
    [{}, /no list of members/],
    [{ members: [3] }, /a member is not an object/],
    [{ members: [member({ name: "" })] }, /a member has no name/],
    [{ members: [member({ role: "king" })] }, /unknown role "king"/],
    [{ members: [member({}), member({})] }, /the same name/],
  ])("is refused as %j, naming the server and what is wrong", (document, reason) => {
    expect(() => readCluster(document, "db:8008")).toThrow(reason);
    expect(() => readCluster(document, "db:8008")).toThrow(/Patroni at db:8008/);
  });

  it("names one leader over all answers, or each of them when they differ", () => {
    const one = readCluster({ members: [member({ role: "leader" }), member({ name: "n2" })] }, "a");
    const two = readCluster(
      { members: [member({}), member({ name: "n2", role: "leader", timeline: 5 })] },
      "b",
    );
    expect(leadersOf([one, one]).map(({ name }) => name)).toEqual(["n1"]);
    expect(leadersOf([one, two]).map(({ name }) => name)).toEqual(["n1", "n2"]);
  });
});

describe("the history of Patroni", () => {
  it("is read in its short and long form, oldest first", () => {
    expect(
      readHistory(
        [
          [2, 83886080, "no recovery target specified", "2026-11-21T09:10:00+00:00", "n1"],
          [1, 67109240, "x"],
        ],
        "a",
      ),
    ).toEqual([
      { timeline: 1, forkLsn: 67109240n, reason: "x", at: undefined, leader: undefined },
      {
        timeline: 2,
        forkLsn: 83886080n,
        reason: "no recovery target specified",
        at: Date.parse("2026-11-21T09:10:00Z"),
        leader: "n1",
      },
    ]);
  });

  it.each([{}, [1], [["a", 1]], [[1, -5]]])("is refused as %j", (document) => {
    expect(() => readHistory(document, "db:8008")).toThrow(/Patroni at db:8008/);
  });
});
