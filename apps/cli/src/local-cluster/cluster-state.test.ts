import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ClusterState, readState, refuseForeignDirectory, writeState } from "./cluster-state.ts";
import { layoutAt } from "./layout.ts";

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "holdfast-cluster-state-"));
});
afterEach(() => rm(home, { recursive: true, force: true }));

const own = process.getuid?.() ?? 0;
const users = { own, servers: undefined };
/** We, to whom what this process writes is another user's. */
const others = { own: own + 1, servers: undefined };

const stateOf = (directory: string): ClusterState => ({
  version: 1,
  layout: layoutAt(directory, 6400, 3),
  isSynchronous: true,
  passwords: { replication: "a", rewind: "b" },
  processes: {},
});

/** Tells in `directory` of a cluster that is somewhere else. */
const tell = async (directory: string, state: ClusterState): Promise<void> => {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, "cluster.json"), JSON.stringify(state));
};

describe("what a cluster has left for later commands", () => {
  it("is read where it was written, also through a link of one's own", async () => {
    const state = stateOf(join(home, "cluster"));
    await writeState(state);
    expect(await readState(join(home, "cluster"), users)).toEqual(state);
    await symlink(join(home, "cluster"), join(home, "link"));
    expect(await readState(join(home, "link"), users)).toEqual(state);
    expect(await readState(join(home, "none"), users)).toBeUndefined();
  });

  it("is refused from another user, who may have named any directory and any process", async () => {
    const directory = join(home, "cluster");
    await writeState(stateOf(directory));
    const refusal = { name: "UsageError", message: expect.stringContaining("belongs to another user") };
    await expect(readState(directory, others)).rejects.toMatchObject(refusal);
    // Also where only the file is theirs.
    await expect(readState(directory, { ...others, servers: own })).rejects.toMatchObject(refusal);
    await expect(refuseForeignDirectory(directory, others)).rejects.toMatchObject(refusal);
  });

  it("is refused when what it names lies elsewhere", async () => {
    const [directory, elsewhere] = [join(home, "cluster"), join(home, "precious")];
    await writeState(stateOf(elsewhere));
    await tell(directory, stateOf(elsewhere));
    await expect(readState(directory, users)).rejects.toThrow("cannot be used");
    const { layout, ...rest } = stateOf(directory);
    const [first, ...nodes] = layout.nodes.map((node) => ({ ...node }));
    for (const node of [
      { ...first, directory: elsewhere },
      { ...first, name: "../precious", directory: elsewhere },
    ]) {
      await tell(directory, { ...rest, layout: { ...layout, nodes: [node, ...nodes] } } as ClusterState);
      await expect(readState(directory, users)).rejects.toThrow("cannot be used");
    }
  });

  it("is not looked for behind a link in its place, nor in what is no directory", async () => {
    const directory = join(home, "cluster");
    await mkdir(directory);
    await writeFile(join(home, "planted.json"), JSON.stringify(stateOf(directory)));
    await symlink(join(home, "planted.json"), join(directory, "cluster.json"));
    expect(await readState(directory, users)).toBeUndefined();
    await writeFile(join(home, "a-file"), "");
    await expect(refuseForeignDirectory(join(home, "a-file"), users)).rejects.toThrow("is not a directory");
  });
});
