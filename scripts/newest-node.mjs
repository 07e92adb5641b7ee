// The path of a newer Node than the machine's, from npm's `node` package for this platform. It is kept beside npm's own cache, so
// that it is fetched once. As a program it prints the path: node scripts/newest-node.mjs
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { run } from "./workspace.mjs";

/** The newest long-term release. */
export const NEWEST_NODE_MAJOR = 24;

export const newestNode = () => {
  const cache = execFileSync("npm", ["config", "get", "cache"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const home = join(cache.trim(), `holdfast-node-${NEWEST_NODE_MAJOR}`);
  // What the `node` package's install script would fetch; taken directly, no script has to be allowed to run.
  const name = `node-${process.platform}-${process.arch}`;
  const program = join(home, `node_modules/${name}/bin/node`);
  if (!existsSync(program)) {
    mkdirSync(home, { recursive: true });
    console.error(`fetching Node ${NEWEST_NODE_MAJOR}`);
    const options = ["--silent", "--no-save", "--no-package-lock", "--prefix", home];
    run("npm", ["install", ...options, `${name}@${NEWEST_NODE_MAJOR}`], { cwd: home });
  }
  return program;
};

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(newestNode());
