import { execFileSync } from "node:child_process";
import { userInfo } from "node:os";

/** Who runs a server: nobody in particular, or the user that root steps down to. */
export interface ServiceUser {
  readonly name: string;
  readonly uid?: number;
  readonly gid?: number;
}

const idOf = (user: string, flag: "-u" | "-g"): number | undefined => {
  try {
    return Number(
      execFileSync("id", [flag, user], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    );
  } catch {
    return undefined;
  }
};

let known: ServiceUser | undefined;

/** PostgreSQL and Patroni refuse root. As root this is `postgres` (or `nobody`), otherwise the current user. */
export const serviceUser = (): ServiceUser => {
  if (known) return known;
  if (process.getuid?.() !== 0) {
    known = { name: userInfo().username };
    return known;
  }
  for (const name of ["postgres", "nobody"]) {
    const uid = idOf(name, "-u");
    const gid = idOf(name, "-g");
    if (uid === undefined || gid === undefined) continue;
    known = { name, uid, gid };
    return known;
  }
  known = { name: "root" };
  return known;
};

/** The service user as options of a process; empty when no change of user is needed. */
export const userIds = (): { readonly uid?: number; readonly gid?: number } => {
  const { uid, gid } = serviceUser();
  return uid === undefined || gid === undefined ? {} : { uid, gid };
};
