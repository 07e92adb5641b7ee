// What `npm start`, `npm test` and `npm run check` do first: install when the lock file asks for it, build when
// a source is newer than the last build. Plain Node, because nothing is installed yet when it runs.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const cache = join(root, "node_modules/.cache/holdfast");

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));

/** Runs a program with its output on stderr, so that stdout stays what the caller prints. Ends the process on failure. */
export const run = (command, args, options = {}) => {
  const result = spawnSync(command, args, { cwd: root, stdio: ["ignore", 2, 2], ...options });
  if (result.status === 0) return;
  console.error(
    `${command} ${args.join(" ")} failed (${result.error?.message ?? result.signal ?? `code ${result.status}`})`,
  );
  process.exit(result.status || 1);
};

/** The directories of all workspaces, relative to the root. */
export const workspaces = () =>
  readJson(join(root, "package.json"))
    .workspaces.flatMap((pattern) => {
      if (!pattern.endsWith("/*")) return [pattern];
      const parent = pattern.slice(0, -2);
      return readdirSync(join(root, parent)).map((name) => `${parent}/${name}`);
    })
    .filter((path) => existsSync(join(root, path, "package.json")));

/** Whether node_modules holds exactly what the lock file names. By content: a checkout changes times, not content. */
const isInstalled = () => {
  const hidden = join(root, "node_modules/.package-lock.json");
  if (!existsSync(hidden)) return false;
  const installed = readJson(hidden).packages;
  for (const [path, wanted] of Object.entries(readJson(join(root, "package-lock.json")).packages)) {
    if (!path.startsWith("node_modules/") || wanted.optional || wanted.peer) continue;
    if (wanted.link && !existsSync(join(root, wanted.resolved))) continue;
    const found = installed[path];
    // Where it came from is another matter: npm notes that in one of the two files only.
    if (!found || found.version !== wanted.version || found.link !== wanted.link) return false;
  }
  return true;
};

export const ensureInstalled = () => {
  if (isInstalled()) return;
  console.error("installing dependencies (npm ci)");
  run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
};

const newestIn = (path) => {
  let newest = 0;
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestIn(child) : statSync(child).mtimeMs);
  }
  return newest;
};

const timeOf = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);

/** What a workspace is built from: newest change, in milliseconds. */
const sourceTime = (workspace) => {
  const inputs = ["package.json", "tsconfig.json", "vite.config.ts", "index.html"].map((name) =>
    timeOf(join(root, workspace, name)),
  );
  for (const name of ["src", "web"]) {
    const path = join(root, workspace, name);
    if (existsSync(path)) inputs.push(newestIn(path));
  }
  return Math.max(...inputs);
};

const isBuilt = (workspace) => {
  const { exports = {} } = readJson(join(root, workspace, "package.json"));
  const targets = Object.values(exports)
    .map((entry) => entry.default)
    .filter(Boolean);
  // An entry without a source has not been written yet; that is for the checks to say.
  return targets.every(
    (target) =>
      existsSync(join(root, workspace, target)) || !existsSync(join(root, workspace, sourceOf(target))),
  );
};

const sourceOf = (target) => target.replace("/dist/", "/src/").replace(/\.js$/, ".ts");

/** SQL, Lua and other files that the compiler leaves alone but the code reads at run time. */
const copyAssets = (workspace) => {
  const from = join(root, workspace, "src");
  if (!existsSync(from)) return;
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(sql|lua)$/.test(entry.name)) continue;
    const source = join(entry.parentPath ?? entry.path, entry.name);
    const target = source.replace(from, join(root, workspace, "dist"));
    mkdirSync(dirname(target), { recursive: true });
    cpSync(source, target);
  }
};

/** Compiles every package, copies its assets and bundles the web console. Incremental. */
export const build = () => {
  const startedAt = new Date();
  run(process.execPath, ["node_modules/typescript/bin/tsc", "-b"]);
  for (const workspace of workspaces()) copyAssets(workspace);
  // An empty embedded database, made once: creating one takes seconds, copying it a fraction of one.
  run(process.execPath, ["packages/data/scripts/build-embedded-image.mjs"]);
  for (const workspace of workspaces()) {
    if (!existsSync(join(root, workspace, "vite.config.ts"))) continue;
    const stamp = join(cache, `bundle-${workspace.replaceAll("/", "-")}`);
    if (timeOf(stamp) > sourceTime(workspace)) continue;
    run(process.execPath, [join(root, "node_modules/vite/bin/vite.js"), "build", "--logLevel", "warn"], {
      cwd: join(root, workspace),
    });
    touch(stamp, startedAt);
  }
  touch(join(cache, "build"), startedAt);
};

const touch = (path, time) => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "");
  utimesSync(path, time, time);
};

export const ensureBuilt = () => {
  const builtAt = timeOf(join(cache, "build"));
  const inputs = [timeOf(join(root, "tsconfig.json")), timeOf(join(root, "tsconfig.base.json"))];
  const all = workspaces();
  const changedAt = Math.max(...inputs, ...all.map(sourceTime));
  if (builtAt > changedAt && all.every(isBuilt)) return;
  console.error("building");
  build();
};
