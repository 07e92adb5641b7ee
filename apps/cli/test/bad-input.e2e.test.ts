import { mkdirSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { makeTempDirectory, reservePort, startProcess, waitUntil } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  askHoldfast,
  BIN,
  type CommandEnd,
  runHoldfast,
  startDev,
  startHoldfast,
  WORKFLOWS,
} from "./holdfast-command.ts";

const problemOf = (end: CommandEnd) =>
  (JSON.parse(end.lines.at(-1) ?? "{}") as { error: { code: string; message: string; next?: string } }).error;

describe("bad input on the command line", () => {
  let context: Awaited<ReturnType<typeof setUp>>;
  const setUp = async () => {
    const directory = await makeTempDirectory("bad-input");
    const dataDir = `${directory.path}/data`;
    const { dev, ready } = await startDev(["--port", "0", "--data-dir", dataDir]);
    return { directory, dataDir, dev, ready };
  };
  const submit = (...args: string[]) =>
    runHoldfast(["submit", ...args, "--gate", context.ready.gate, "--json"]);
  const jobCount = async () =>
    (await askHoldfast<{ jobs: unknown[] }>(["jobs", "--gate", context.ready.gate])).jobs.length;
  beforeAll(async () => {
    context = await setUp();
  });
  afterAll(async () => {
    await context.dev.stop();
    await context.directory[Symbol.asyncDispose]();
  });

  it("exits 2 on a flag that does not exist, and on a value out of range, naming both", async () => {
    const unknown = await runHoldfast(["submit", "import", "--nonsense"]);
    expect(unknown.code).toBe(2);
    expect(unknown.output).toContain("--nonsense");
    const range = await runHoldfast(["submit", "import", "--shards", "0"]);
    expect(range.code).toBe(2);
    expect(range.output).toMatch(/--shards.*1.*10000.*"0"/);
  });

  it("exits 2 on a variable that is no time, naming it, and takes one that is", async () => {
    const gate = ["--gate", "127.0.0.1:1", "--json"];
    const wrong = await runHoldfast(["jobs", ...gate], { env: { HOLDFAST_CLIENT_DEADLINE_MS: "soon" } });
    expect(wrong.code).toBe(2);
    expect(problemOf(wrong)).toMatchObject({ code: "USAGE" });
    expect(problemOf(wrong).message).toMatch(/HOLDFAST_CLIENT_DEADLINE_MS.*soon/);
    const brief = await runHoldfast(["jobs", ...gate], { env: { HOLDFAST_CLIENT_DEADLINE_MS: "1" } });
    expect(problemOf(brief)).toMatchObject({ code: "CONNECTION_REFUSED" });
  });

  it("refuses an unknown workflow, naming those there are, and stores nothing", async () => {
    const before = await jobCount();
    const end = await submit("no-such-workflow");
    expect(end.code).toBe(1);
    expect(problemOf(end)).toMatchObject({ code: "JOBS_UNKNOWN_WORKFLOW" });
    expect(problemOf(end).message).toMatch(/no-such-workflow.*import/);
    expect(await jobCount()).toBe(before);
  });

  it("refuses input that fails its schema with the field's path and value, and stores nothing", async () => {
    const before = await jobCount();
    const end = await submit("import", "--input", '{"batchRows":-5}');
    expect(end.code).toBe(1);
    expect(problemOf(end)).toMatchObject({ code: "JOBS_INVALID_INPUT" });
    expect(problemOf(end).message).toMatch(/batchRows.*-5/);
    expect(await jobCount()).toBe(before);
  });

  it("refuses a job over 5 MiB before sending it", async () => {
    const file = `${context.directory.path}/large.json`;
    writeFileSync(file, JSON.stringify({ path: "x".repeat(5 * 1024 * 1024) }));
    const end = await submit("import", "--input", `@${file}`);
    expect(end.code).toBe(1);
    expect(problemOf(end)).toMatchObject({ code: "JOBS_TOO_LARGE" });
  });

  it("says which port is in use", async () => {
    using port = await reservePort();
    const squatter = createServer().listen(port.port + 1, "127.0.0.1");
    try {
      const end = await runHoldfast([
        "dev",
        "--json",
        "--port",
        String(port.port),
        "--data-dir",
        `${context.directory.path}/other`,
      ]);
      expect(end.code).toBe(1);
      expect(problemOf(end).message).toContain(String(port.port + 1));
      expect(problemOf(end).next).toContain("--port");
    } finally {
      squatter.close();
    }
  });

  it("exits 2 on a position that is none", async () => {
    for (const after of ["soon", "1:", ":1", "1:x"]) {
      const end = await runHoldfast(["watch", "job-1", "--after", after, "--gate", "127.0.0.1:1", "--json"]);
      expect([end.code, problemOf(end).message]).toEqual([2, expect.stringContaining("--after")]);
    }
  });

  it("ends when the console's port is in use, and when a workflow module does not load", async () => {
    using port = await reservePort();
    const squatter = createServer().listen(port.port, "127.0.0.1");
    const dev = (...args: string[]) =>
      runHoldfast(["dev", "--json", "--data-dir", `${context.directory.path}/failing`, ...args]);
    try {
      const inUse = await dev("--port", String(port.port), "--workflows", WORKFLOWS);
      expect([inUse.code, problemOf(inUse).message]).toEqual([1, expect.stringContaining(String(port.port))]);
    } finally {
      squatter.close();
    }
    const broken = `${context.directory.path}/broken-too.mjs`;
    writeFileSync(broken, "export const x = ;");
    const doesNotLoad = await dev("--port", "0", "--workflows", broken);
    expect([doesNotLoad.code, problemOf(doesNotLoad).message]).toEqual([
      1,
      expect.stringContaining("broken-too.mjs"),
    ]);
  }, 60_000);

  it("refuses datacenters that would share their tables", async () => {
    const end = await runHoldfast(["dev", "--json", "--port", "0", "--datacenters", "eu-west,eu_west"]);
    expect([end.code, problemOf(end).message]).toEqual([2, expect.stringMatching(/eu-west.*eu_west/)]);
  });

  it("refuses a data directory that another process holds, naming that process", async () => {
    const end = await runHoldfast(["dev", "--json", "--port", "0", "--data-dir", context.dataDir]);
    expect(end.code).toBe(1);
    expect(problemOf(end)).toMatchObject({ code: "DATA_DIRECTORY_LOCKED" });
    expect(problemOf(end).message).toContain(String(context.dev.pid));
  });

  it("refuses a directory that is not a data directory, and leaves it as it was", async () => {
    const foreign = `${context.directory.path}/foreign`;
    mkdirSync(foreign);
    writeFileSync(`${foreign}/diary.txt`, "mine");
    const end = await runHoldfast(["dev", "--json", "--port", "0", "--data-dir", foreign]);
    expect(end.code).toBe(1);
    expect(problemOf(end).code).toMatch(/^DATA_DIRECTORY_/);
  });

  it("says that no gate answers and how to start one", async () => {
    using port = await reservePort();
    const end = await runHoldfast(["jobs", "--json", "--gate", `127.0.0.1:${port.port}`]);
    expect(end.code).toBe(1);
    expect(problemOf(end).next).toContain("holdfast dev");
  });

  it("refuses a worker module that does not load, and one that registers a name twice", async () => {
    const broken = `${context.directory.path}/broken.mjs`;
    writeFileSync(broken, "export const x = ;");
    const doesNotLoad = await runHoldfast([
      "worker",
      "--json",
      "--datacenter",
      "local",
      "--workflows",
      broken,
    ]);
    expect(doesNotLoad.code).toBe(1);
    expect(problemOf(doesNotLoad).message).toContain("broken.mjs");
    const twice = `${context.directory.path}/twice.mjs`;
    const jobs = import.meta.resolve("@holdfast/jobs").replace("/src/index.ts", "/dist/index.js");
    writeFileSync(
      twice,
      `import { defineWorkflow } from ${JSON.stringify(jobs)};
       const input = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
       export const a = defineWorkflow({ name: "same", input, run: async () => null });
       export const b = defineWorkflow({ name: "same", input, run: async () => null });`,
    );
    const registersTwice = await runHoldfast([
      "worker",
      "--json",
      "--datacenter",
      "local",
      "--workflows",
      twice,
    ]);
    expect(registersTwice.code).toBe(1);
    expect(problemOf(registersTwice).message).toContain("same");
  });

  it("refuses to listen beyond loopback without TLS and tokens", async () => {
    const end = await runHoldfast([
      "gate",
      "--listen",
      "0.0.0.0:0",
      "--datacenter",
      "a=127.0.0.1:1",
      "--database",
      "postgres://localhost/none",
    ]);
    expect(end.code).toBe(2);
    expect(end.output).toContain("--insecure");
  });

  it("loses nothing but the connection to garbage, oversize and half frames on the gate's port", async () => {
    const [host = "", port = ""] = context.ready.gate.split(":");
    const attacks = [
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
      Buffer.alloc(64),
      Buffer.from([0, 0, 0, 40, 0]),
    ];
    for (const bytes of attacks) {
      const socket = connect(Number(port), host);
      socket.on("error", () => undefined);
      socket.end(bytes);
      await waitUntil(
        "the attacked connection to end",
        () => socket.destroyed || socket.readableEnded || socket.closed,
        { timeoutMs: 60_000 },
      );
      socket.destroy();
    }
    const { jobId } = await askHoldfast<{ jobId: string }>([
      "submit",
      "import",
      "--gate",
      context.ready.gate,
      "--dry-run",
    ]);
    expect(jobId).toMatch(/^job-/);
  }, 60_000);

  it("starts without any workflow module and says how to offer one", async () => {
    await using dev = await startHoldfast(
      ["dev", "--port", "0", "--data-dir", `${context.directory.path}/empty`],
      { cwd: context.directory.path },
    );
    await dev.waitForLine(/no workflows.*holdfast\.workflows\.js/, { timeoutMs: 60_000 });
    expect(WORKFLOWS).toContain("holdfast.workflows.mjs");
  });

  it("ends quietly, as on a signal, when nobody reads its output any more", async () => {
    const command = `"${process.execPath}" "${BIN}" submit load-test --input '{"durationMs":1000}' --gate ${context.ready.gate} --watch --json`;
    await using shell = await startProcess(
      "bash",
      ["-c", `${command} | head -1; echo "code \${PIPESTATUS[0]}"`],
      { name: "holdfast submit | head -1" },
    );
    await shell.closed;
    expect(shell.stdout).toEqual([expect.stringMatching(/^\{"jobId"/), "code 141"]);
    expect(shell.output).not.toContain("EPIPE");
  });

  it("ends with its own exit code though nobody reads its problems", async () => {
    const command = `"${process.execPath}" "${BIN}" submit load-test --shards 0`;
    await using shell = await startProcess(
      "bash",
      ["-c", `exec 3>&1; { ${command} 2>&1 >/dev/null; echo "code $?" >&3; } | true`],
      { name: "holdfast submit 2>&1 | true" },
    );
    await shell.closed;
    expect(shell.stdout).toEqual(["code 2"]);
  });
});
