/** What a test must give back. Files and DNS requests end by themselves; the test runner holds pipes of its own. */
const KINDS = ["TCPSocketWrap", "TCPServerWrap", "TLSWrap", "UDPWRAP", "ProcessWrap", "Timeout", "Immediate"];

export type ActiveResources = ReadonlyMap<string, number>;

/** What keeps this process alive now: sockets, ports, child processes, timers; counted by kind. */
export const activeResources = (): ActiveResources => {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    if (KINDS.includes(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
};

/** What there is more of than before, as `2 TCPSocketWrap`. */
export const leftOpen = (before: ActiveResources, now: ActiveResources): readonly string[] =>
  [...now].flatMap(([kind, count]) => {
    const more = count - (before.get(kind) ?? 0);
    return more > 0 ? [`${more} ${kind}`] : [];
  });
