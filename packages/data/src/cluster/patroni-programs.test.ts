import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { InvalidInputError } from "@holdfast/kernel";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { makePatroniPrograms } from "./patroni-programs.ts";

const run = promisify(execFile);

describe("PostgreSQL's programs for Patroni", () => {
  let root: string;
  let postgresBin: string;
  let data: string;
  let directory: string;

  /** A server's control file, as a stand-in for `pg_controldata` tells it; it notes each call. */
  const setState = (state: string): Promise<void> => writeFile(join(root, "state"), state);
  const setStatus = (status: string): Promise<void> =>
    writeFile(join(data, "postmaster.pid"), `4711\n${data}\n1\n5432\n\n*\n1 2\n${status.padEnd(8)}\n`);
  const callCount = async (): Promise<number> => (await readFile(join(root, "calls"), "utf8")).length;
  const ask = async (): Promise<string> => (await run(join(directory, "pg_controldata"), [data])).stdout;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "holdfast-it's programs-"));
    postgresBin = join(root, "postgres");
    data = join(root, "data");
    await mkdir(postgresBin);
    await mkdir(data);
    for (const name of ["initdb", "pg_ctl", "pg_controldata"]) {
      const program = join(postgresBin, name);
      const text = `#!/bin/sh
cd "$(dirname "$0")/.." && printf . >> calls
[ -e state ] || { echo 'no control file' >&2; exit 3; }
echo "Database cluster state:               $(cat state)"
`;
      await writeFile(program, text);
      await chmod(program, 0o755);
    }
    await writeFile(join(root, "calls"), "");
    directory = await makePatroniPrograms({ postgresBin, directory: join(root, "programs") });
  });
  afterEach(() => rm(root, { recursive: true, force: true }));

  it("are all there, and again when the directory was made before", async () => {
    await makePatroniPrograms({ postgresBin, directory });
    expect((await readdir(directory)).sort()).toEqual(["initdb", "pg_controldata", "pg_ctl"]);
    expect(await readlink(join(directory, "pg_ctl"))).toBe(join(postgresBin, "pg_ctl"));
  });

  it("are not made from a directory that has none", async () => {
    const nowhere = join(root, "nowhere");
    const made = makePatroniPrograms({ postgresBin: data, directory: nowhere });
    await expect(made).rejects.toThrow(InvalidInputError);
    expect(await readdir(root)).not.toContain("nowhere");
  });

  it("are not put in place of those that they lead to", async () => {
    const made = makePatroniPrograms({ postgresBin, directory: join(root, "data/../postgres") });
    await expect(made).rejects.toThrow(InvalidInputError);
    expect((await readFile(join(postgresBin, "pg_ctl"), "utf8")).startsWith("#!/bin/sh")).toBe(true);
  });

  it("are there while they are made again", async () => {
    await setState("shut down");
    let isMaking = true;
    const making = (async () => {
      for (let round = 0; round < 20; round += 1) await makePatroniPrograms({ postgresBin, directory });
      isMaking = false;
    })();
    while (isMaking) expect(await ask()).toContain("shut down");
    await making;
  });

  it.each([
    ["that runs", "ready", "in production"],
    ["that follows", "standby", "in archive recovery"],
    ["that was asked to stop and has stopped", "stopping", "shut down"],
    ["that followed and has stopped", "stopping", "shut down in recovery"],
  ])("tell of a server %s at once", async (_, status, state) => {
    await setStatus(status);
    await setState(state);
    expect(await ask()).toContain(`state:               ${state}\n`);
    expect(await callCount()).toBeLessThanOrEqual(2);
  });

  it("tell of a server without a process at once, and fail as the program fails", async () => {
    await setState("in production");
    expect(await ask()).toContain("in production");
    await rm(join(root, "state"));
    await expect(ask()).rejects.toMatchObject({
      code: 3,
      stderr: expect.stringContaining("no control file"),
    });
  });

  it("tell of a server that stops when it has stopped", async () => {
    await setStatus("stopping");
    await setState("in production");
    const answer = ask();
    await vi.waitFor(async () => expect(await callCount()).toBeGreaterThan(2));
    await setState("shutting down");
    const before = await callCount();
    await vi.waitFor(async () => expect(await callCount()).toBeGreaterThan(before + 1));
    await setState("shut down");
    expect(await answer).toContain("shut down\n");
  });

  it("tell of a server that was told to stop only this moment when it has stopped", async () => {
    await setStatus("ready");
    await setState("in production");
    const tools = join(root, "tools");
    await mkdir(tools);
    const saysIt = `#!/bin/sh\nsed -i s/^ready/stopping/ '${join(data, "postmaster.pid").replace("'", "'\\''")}'\n`;
    await writeFile(join(tools, "sleep"), `${saysIt}PATH=/usr/bin:/bin exec sleep "$@"\n`, { mode: 0o755 });
    const env = { ...process.env, PATH: `${tools}:/usr/bin:/bin` };
    const answer = run(join(directory, "pg_controldata"), [data], { env });
    await vi.waitFor(async () => expect(await callCount()).toBeGreaterThan(2));
    await setState("shut down");
    expect((await answer).stdout).toContain("shut down\n");
  });

  it("tell what they see of a server that does not end after a second", async () => {
    await setStatus("stopping");
    await setState("shutting down");
    expect(await ask()).toContain("shutting down\n");
    expect(await callCount()).toBe(101);
  });
});
