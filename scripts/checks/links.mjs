// Every local link of a Markdown file leads somewhere: to a file, and to a heading where it names one.
import { existsSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { root } from "../workspace.mjs";
import { read, repositoryFiles } from "./sources.mjs";

const withoutCode = (text) => text.replace(/^(```|~~~)[\s\S]*?^\1/gm, "").replace(/`[^`\n]*`/g, "");

/** The anchors that headings get on code hosts. */
const anchorsOf = (text) =>
  new Set(
    [...text.replace(/^(```|~~~)[\s\S]*?^\1/gm, "").matchAll(/^#{1,6}\s+(.*)$/gm)].map(([, title]) =>
      title
        .trim()
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, "")
        .replace(/\s/g, "-"),
    ),
  );

export const checkLinks = () => {
  const problems = [];
  for (const path of repositoryFiles().filter((each) => each.endsWith(".md"))) {
    for (const [, target] of withoutCode(read(path)).matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)) {
      if (/^[a-z][a-z0-9+.-]*:/i.test(target)) continue;
      const [file, anchor] = target.split("#");
      const place = file === "" ? path : normalize(join(dirname(path), decodeURI(file)));
      if (!existsSync(join(root, place))) problems.push(`${path}: ${target} leads nowhere`);
      else if (
        anchor &&
        place.endsWith(".md") &&
        statSync(join(root, place)).isFile() &&
        !anchorsOf(read(place)).has(anchor)
      ) {
        problems.push(`${path}: ${place} has no heading #${anchor}`);
      }
    }
  }
  return problems;
};
