// `npm start`: sets everything up on a fresh clone, then becomes `holdfast dev`. Arguments go to that command:
// npm start -- --port 0
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { ensureBuilt, ensureInstalled, root } from "./workspace.mjs";

ensureInstalled();
ensureBuilt();
// In this process, not a child of it: signals, the exit code and the terminal are the command's own.
const command = join(root, "apps/cli/bin/holdfast.js");
process.argv = [process.execPath, command, "dev", ...process.argv.slice(2)];
await import(pathToFileURL(command).href);
