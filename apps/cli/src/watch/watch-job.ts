import type { WirePosition } from "@holdfast/coordination";
import type { JobsClient, WatchItem } from "@holdfast/jobs/client";
import { emptyProjection, projectEvent } from "@holdfast/jobs/projection";
import { silentLogger, TaskGroup } from "@holdfast/kernel";
import type { JobResult } from "@holdfast/protocol/contract";
import type { Session } from "../terminal/session.ts";
import { renderLiveView } from "./live-view.ts";
import { renderPlainLine } from "./plain-lines.ts";

/** A person reads about ten changes a second; redrawing more often only costs. */
const REDRAW_EVERY_MS = 100;

/**
 * Shows a job until its result: a live screen on a terminal, plain lines in a pipe, one JSON document per item
 * with `json`. Reconnects are the client's business; they are shown. Returns the result.
 */
export const watchJob = async (
  session: Session,
  client: JobsClient,
  jobId: string,
  options: { readonly json: boolean; readonly after?: WirePosition },
): Promise<JobResult | undefined> => {
  const items = client.watch(jobId, {
    signal: session.signal,
    ...(options.after === undefined ? {} : { after: options.after }),
  });
  if (options.json) return watchAsJson(session, jobId, items);
  return session.stdout.isTTY ? watchLive(session, jobId, items) : watchPlain(session, items);
};

const watchAsJson = async (
  session: Session,
  jobId: string,
  items: AsyncIterable<WatchItem>,
): Promise<JobResult | undefined> => {
  let result: JobResult | undefined;
  for await (const item of items) {
    session.printJson({ jobId, ...item });
    if (item.kind === "event" && item.event.type === "job.result" && item.event.datacenter === undefined)
      result = item.event.result;
  }
  return result;
};

const watchPlain = async (
  session: Session,
  items: AsyncIterable<WatchItem>,
): Promise<JobResult | undefined> => {
  const names = new Map<string, string>();
  let result: JobResult | undefined;
  for await (const item of items) {
    if (item.kind === "connection") {
      session.printError(item.state === "lost" ? "connection lost, reconnecting …" : "connection restored");
      continue;
    }
    if (item.kind === "reset") {
      session.printError(`earlier history is gone (${item.reason}); going on from what is there`);
      continue;
    }
    const { event } = item;
    if (event.type === "workflow.status") names.set(event.workflowId, event.name);
    if (event.type === "job.result" && event.datacenter === undefined) result = event.result;
    const line = renderPlainLine(event, names);
    if (line !== undefined) session.print(line);
  }
  return result;
};

const watchLive = async (
  session: Session,
  jobId: string,
  items: AsyncIterable<WatchItem>,
): Promise<JobResult | undefined> => {
  let projection = emptyProjection;
  let connected = true;
  let drawnLines = 0;
  const draw = (): void => {
    const width = session.stdout.columns ?? 80;
    const rows = Math.max(6, (session.stdout.rows ?? 24) - 1);
    const lines = renderLiveView(projection, {
      jobId,
      now: session.clock.wallNow(),
      width,
      connected,
      style: session.style,
    }).slice(0, rows);
    const up = drawnLines === 0 ? "" : `\u001b[${drawnLines}A`;
    session.stdout.write(`${up}${lines.map((line) => `\u001b[2K${line}`).join("\n")}\n\u001b[0J`);
    drawnLines = lines.length;
  };
  await using group = new TaskGroup({ logger: silentLogger });
  group.spawn("redraw", async (signal) => {
    for (;;) {
      draw();
      await session.clock.sleep(REDRAW_EVERY_MS, { signal });
    }
  });
  session.stdout.write("\u001b[?25l");
  try {
    for await (const item of items) {
      if (item.kind === "connection") connected = item.state === "restored";
      else if (item.kind === "reset") projection = emptyProjection;
      else projection = projectEvent(projection, item.event);
    }
  } finally {
    await group.stop();
    draw();
    session.stdout.write("\u001b[?25h");
  }
  return projection.result;
};
