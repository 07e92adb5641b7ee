import { chmod, mkdir, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { InvalidInputError } from "@holdfast/kernel";

const CONTROL_DATA = "pg_controldata";
/** As long as Patroni sleeps between two questions: a stop that takes longer is hardly seen later than without this. */
const WAIT_MS = 1_000;
const LOOK_EVERY_MS = 10;

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

const patientControlData = (program: string): string => `#!/bin/sh
# Patroni asks a server that it stops for its state at once, and then only after a second. While the server stops, this
# answers when it has stopped, ${WAIT_MS} ms later at the latest, so that Patroni gives its key up and another can lead.
for data; do :; done
says() { grep -q "^$1" "$data/postmaster.pid" 2>/dev/null; }
# A server that was told to stop this moment says so a little later.
says ready && sleep ${(2 * LOOK_EVERY_MS) / 1_000}
looks=${WAIT_MS / LOOK_EVERY_MS}
while [ "$looks" -gt 0 ] && says stopping; do
  case $(${quoted(program)} "$@") in *'cluster state: '*'shut down'*) break ;; esac
  looks=$((looks - 1))
  sleep ${LOOK_EVERY_MS / 1_000}
done
exec ${quoted(program)} "$@"
`;

/** At no moment is there nothing, since a Patroni may be using it. */
const replace = async (place: string, make: (at: string) => Promise<void>): Promise<void> => {
  const fresh = `${place}.new`;
  await rm(fresh, { force: true });
  await make(fresh);
  await rename(fresh, place);
};

/**
 * Makes a directory of PostgreSQL's programs for Patroni's setting `bin_dir`, with which a planned switchover pauses
 * writes for about a second less: links to everything in `postgresBin`, but a `pg_controldata` that waits for the end of
 * a stop, where Patroni (seen with 3.0) looks again a second later. What has these names there already is replaced, also
 * under a Patroni that runs. Everybody may read it. Needs a POSIX shell.
 *
 * @param options.postgresBin Where `initdb` and the others are, for example `/usr/lib/postgresql/17/bin`.
 * @param options.directory Made when it is missing.
 * @returns the directory, absolute.
 * @throws InvalidInputError when `postgresBin` has no `pg_controldata`, or is `directory` itself; nothing was made then.
 * Otherwise what the file system says.
 */
export const makePatroniPrograms = async (options: {
  readonly postgresBin: string;
  readonly directory: string;
}): Promise<string> => {
  const postgresBin = resolve(options.postgresBin);
  const directory = resolve(options.directory);
  const names = await readdir(postgresBin);
  if (!names.includes(CONTROL_DATA)) {
    throw new InvalidInputError("postgresBin", postgresBin, `a directory with ${CONTROL_DATA}`);
  }
  if (directory === postgresBin)
    throw new InvalidInputError("directory", directory, "not postgresBin itself");
  await mkdir(directory, { recursive: true });
  // Patroni is run by another user than ours as a rule.
  await chmod(directory, 0o755);
  for (const name of names) {
    if (name !== CONTROL_DATA)
      await replace(join(directory, name), (at) => symlink(join(postgresBin, name), at));
  }
  const text = patientControlData(join(postgresBin, CONTROL_DATA));
  await replace(join(directory, CONTROL_DATA), async (at) => {
    await writeFile(at, text);
    await chmod(at, 0o755);
  });
  return directory;
};
