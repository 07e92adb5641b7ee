// Each public package can be used as its package.json says: entries exist, types resolve, files are listed.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { root, workspaces } from "../workspace.mjs";
import { read } from "./sources.mjs";

const ourRules = (workspace, manifest) => {
  const problems = [];
  for (const field of ["description", "license", "engines", "files", "exports"]) {
    if (manifest[field] === undefined) problems.push(`${workspace}/package.json: ${field} is missing`);
  }
  for (const [entry, target] of Object.entries(manifest.exports ?? {})) {
    for (const file of Object.values(target)) {
      if (!existsSync(join(root, workspace, file)))
        problems.push(`${workspace}/package.json: "${entry}" names ${file}, which is not there`);
    }
  }
  if (!existsSync(join(root, workspace, "README.md"))) problems.push(`${workspace}: README.md is missing`);
  return problems;
};

export const checkPackages = async () => {
  const { publint } = await import("publint");
  const { formatMessage } = await import("publint/utils");
  const problems = [];
  for (const workspace of workspaces()) {
    const manifest = JSON.parse(read(`${workspace}/package.json`));
    if (manifest.private) continue;
    problems.push(...ourRules(workspace, manifest));
    const { messages } = await publint({ pkgDir: join(root, workspace), pack: false, strict: true });
    for (const message of messages)
      problems.push(`${workspace}/package.json: ${formatMessage(message, manifest, { color: false })}`);
  }
  return problems;
};
