import { PassThrough } from "node:stream";
import { createHandlers, serve, tcpTransport } from "@holdfast/connection";
import { seededRandom, silentLogger, systemClock } from "@holdfast/kernel";
import { type DatacenterView, getCluster } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import { createSession } from "../terminal/session.ts";
import { datacentersCommand } from "./cluster-commands.ts";

const view = (datacenter: string, state: "active" | "offline"): DatacenterView => ({
  datacenter,
  health: state === "active" ? "healthy" : "unhealthy",
  managers: [{ nodeId: "m-1", address: "127.0.0.1:7411", state, isLeader: true }],
  workers: [],
  totalCores: 0,
  availableCores: 0,
  activeJobs: 0,
  pendingTasks: 0,
  workflows: [],
});

it("the list of datacenters says of each when the gate heard it last", async () => {
  const handlers = createHandlers();
  const node = { nodeId: "g", role: "gate", address: "127.0.0.1:7401", state: "active" } as const;
  const heardAt = systemClock.wallNow() - 3 * 60_000;
  handlers.onRequest(getCluster, async () => ({
    node: { ...node, version: "1.4" },
    gates: [],
    datacenters: [view("east", "active"), { ...view("west", "offline"), heardAt }, view("north", "offline")],
    activeJobs: 0,
  }));
  await using gate = await serve({
    listen: "127.0.0.1:0",
    transport: tcpTransport(),
    clock: systemClock,
    random: seededRandom(1),
    logger: silentLogger,
    handlers,
    identity: node,
  });
  const stdout = new PassThrough();
  const session = createSession({
    stdout: stdout as unknown as NodeJS.WriteStream,
    stderr: process.stderr,
    env: {},
    cwd: ".",
    clock: systemClock,
    signal: new AbortController().signal,
  });
  await datacentersCommand(session).parseAsync(["--gate", gate.address], { from: "user" });
  const rows = String(stdout.read()).split("\n");
  const heard = (name: string): string | undefined => rows.find((row) => row.startsWith(name));
  expect(heard("east")).toMatch(/^east +healthy +now /);
  expect(heard("west")).toMatch(/^west +unhealthy +3 m ago /);
  expect(heard("north")).toMatch(/^north +unhealthy +never /);
});
