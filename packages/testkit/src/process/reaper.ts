import { type ChildProcess, spawn } from "node:child_process";
import type { Writable } from "node:stream";

/**
 * Reads `pid N SIGNAL`, `gone N`, `dir PATH` and `nodir PATH` lines. When the pipe closes, which the kernel
 * does however the test process ends, it stops what is still listed: first politely, after two seconds by
 * SIGKILL. A program that a listed one left behind (PostgreSQL outlives Patroni) is found by the listed
 * directory on its command line; the directories hold random names, so nothing else can match.
 */
const SCRIPT = `
pids=" "; dirs=""
while IFS= read -r line; do
  value=\${line#* }
  case "\${line%% *}" in
    pid) pids="$pids\${value% *}:\${value#* } " ;;
    gone) pids=$(printf '%s' "$pids" | sed "s/ $value:[A-Z]* / /g") ;;
    dir) dirs="$dirs
$value" ;;
    nodir) dirs=$(printf '%s' "$dirs" | grep -vxF "$value") ;;
  esac
done
strays() {
  printf '%s\\n' "$dirs" | while IFS= read -r dir; do
    [ -n "$dir" ] && grep -lsF -- "$dir/" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3
  done | grep -vx $$
}
for entry in $pids; do kill -CONT "\${entry%:*}"; kill -"\${entry#*:}" "\${entry%:*}"; done 2>/dev/null
for pid in $(strays); do kill -CONT "$pid"; kill -QUIT "$pid"; done 2>/dev/null
for round in 1 2 3 4 5 6 7 8 9 10; do
  left=$(strays)
  for entry in $pids; do kill -0 "\${entry%:*}" 2>/dev/null && left="$left \${entry%:*}"; done
  [ -z "$left" ] && break
  sleep 0.2
done
for pid in $left; do kill -KILL "$pid"; done 2>/dev/null
printf '%s\\n' "$dirs" | while IFS= read -r dir; do
  [ -z "$dir" ] && continue
  grep -sF -- " $dir/" /proc/mounts | cut -d' ' -f2 | while read -r disk; do umount "$disk"; done
  rm -rf -- "$dir"
done
`;

let reaper: { readonly child: ChildProcess; readonly input: Writable } | undefined;

const tell = (line: string): void => {
  if (reaper === undefined) {
    const child = spawn("/bin/sh", ["-c", SCRIPT], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
    // A failed spawn leaves us without a safety net, not without the test: normal disposal still cleans up.
    child.on("error", () => undefined);
    child.stdin.on("error", () => undefined);
    child.unref();
    if ("unref" in child.stdin && typeof child.stdin.unref === "function") child.stdin.unref();
    reaper = { child, input: child.stdin };
  }
  reaper.input.write(`${line}\n`);
};

/** Has `pid` stopped by `signal` (then SIGKILL) should this process end, in whatever way, before {@link forgetPid}. */
export const reapPid = (pid: number, signal: "TERM" | "QUIT"): void => tell(`pid ${pid} ${signal}`);

export const forgetPid = (pid: number): void => tell(`gone ${pid}`);

/** Has `path`, and every process that names it on its command line, removed should this process end first. */
export const reapDirectory = (path: string): void => {
  // The second line of such a path would be another directory's name.
  if (!path.includes("\n")) tell(`dir ${path}`);
};

export const forgetDirectory = (path: string): void => {
  if (!path.includes("\n")) tell(`nodir ${path}`);
};
