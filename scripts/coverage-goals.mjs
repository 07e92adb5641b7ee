// What `npm run coverage` wants of each package and of some parts, in percent of their lines.

const GOAL = 80;
/** A part is held to its own goal besides that of its package. */
const PARTS = {
  connection: { "connection/src/pool": 85 },
  coordination: { "coordination/src/lock": 85, "coordination/src/event-bus": 90 },
  data: { "data/src/postgres": 85 },
  resilience: { "resilience/src/retry": 85 },
};

/** What is held to a goal by its own tests alone, without those of the rest of its package. */
export const BY_ITSELF = {
  "jobs-client": {
    tests: ["packages/jobs/test/client/", "packages/jobs/src/client/", "packages/jobs/src/caller/"],
    sources: "packages/jobs/src/{client,caller}/**/*.ts",
    goal: 95,
  },
};

export const PACKAGES = [
  "kernel",
  "resilience",
  "protocol",
  "connection",
  "coordination",
  "data",
  "jobs",
  "live",
  "live-react",
];

/** Everything that has a goal and can be measured. */
export const NAMES = [...PACKAGES, ...Object.keys(BY_ITSELF)];

const percentOf = (files) => {
  const total = files.reduce((sum, { lines }) => sum + lines.total, 0);
  const covered = files.reduce((sum, { lines }) => sum + lines.covered, 0);
  return total === 0 ? 0 : (100 * covered) / total;
};

/**
 * Holds a package and its parts, or what is measured by itself, to their goals.
 * @param {string} name one of NAMES
 * @param {{ path: string, lines: { total: number, covered: number } }[]} files those of `name`, with paths below `packages/`
 * @returns {{ part: string, percent: number, goal: number, isReached: boolean }[]} the whole first
 */
export const judgeCoverage = (name, files) => {
  const judge = (part, goal, some) => {
    const percent = percentOf(some);
    return { part, percent, goal, isReached: percent >= goal };
  };
  const parts = Object.entries(PARTS[name] ?? {}).map(([part, goal]) =>
    judge(
      part,
      goal,
      files.filter(({ path }) => path.startsWith(`${part}/`)),
    ),
  );
  return [judge(name, BY_ITSELF[name]?.goal ?? GOAL, files), ...parts];
};
