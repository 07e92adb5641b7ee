import { createSocket } from "node:dgram";
import { InvalidInputError } from "@holdfast/kernel";
import type { JobReporter } from "../../model/job-reporter.ts";
import { type Figure, figuresOf } from "./metric-figures.ts";
import type { ServerReporterOptions } from "./reporter-options.ts";

export interface StatsdOptions extends ServerReporterOptions {
  readonly host: string;
  /** Default 8125. */
  readonly port?: number;
  /** In front of every name. Default `holdfast`. */
  readonly prefix?: string;
  /** `path` puts labels into the name, as plain StatsD and Graphite want it; `datadog` sends them as tags. Default `path`. */
  readonly labels?: "path" | "datadog";
}

/** What fits into one unfragmented UDP packet on an Ethernet. */
const DATAGRAM_MAX_BYTES = 1_432;

/**
 * Sends the figures of each result as StatsD gauges, so a repeat changes nothing.
 *
 * UDP: a delivery counts as done when the packets have left this machine. Whether anybody received them, nobody
 * knows; use another reporter where that matters. A name that cannot be resolved is tried again.
 * @throws InvalidInputError naming the option.
 */
export const createStatsdReporter = (options: StatsdOptions): JobReporter => {
  const {
    name = "statsd",
    when = "always",
    host,
    port = 8_125,
    prefix = "holdfast",
    labels = "path",
  } = options;
  if (host === "") throw new InvalidInputError("host", host, "the name or address of a StatsD server");
  if (!(Number.isInteger(port) && port >= 1 && port <= 65_535)) {
    throw new InvalidInputError("port", port, "a whole number from 1 to 65535");
  }
  if (labels !== "path" && labels !== "datadog") {
    throw new InvalidInputError("labels", labels, '"path" or "datadog"');
  }
  return {
    name,
    when,
    deliver: async ({ result }, { signal }) => {
      const lines = figuresOf(result).map((figure) => lineOf(figure, { prefix, labels }));
      await sendLines(lines, { host, port, signal });
    },
    close: async () => undefined,
  };
};

const lineOf = (
  { metric, labels, value }: Figure,
  options: { readonly prefix: string; readonly labels: "path" | "datadog" },
): string => {
  const entries = Object.entries(labels).filter(([, text]) => text !== "");
  const amount = value.toFixed(6).replace(/\.?0+$/, "");
  if (options.labels === "path") {
    return `${[options.prefix, metric, ...entries.map(([, text]) => clean(text))].join(".")}:${amount}|g`;
  }
  const tags = entries.map(([label, text]) => `${label}:${clean(text)}`).join(",");
  return `${options.prefix}.${metric}:${amount}|g|#${tags}`;
};

/** Marks of the protocol, and the dot that separates parts of a path, would break a line. */
const clean = (text: string): string => text.replaceAll(/[\s.:|@#,/]+/g, "_").slice(0, 200);

const sendLines = async (
  lines: readonly string[],
  options: { readonly host: string; readonly port: number; readonly signal: AbortSignal },
): Promise<void> => {
  const socket = createSocket("udp4");
  try {
    for (const datagram of packed(lines)) {
      options.signal.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        socket.send(datagram, options.port, options.host, (error) => (error ? reject(error) : resolve()));
      });
    }
  } finally {
    socket.close();
  }
};

/** As many whole lines as fit into each packet. */
const packed = (lines: readonly string[]): readonly string[] => {
  const datagrams: string[] = [];
  let current = "";
  for (const line of lines) {
    const joined = current === "" ? line : `${current}\n${line}`;
    if (current !== "" && Buffer.byteLength(joined) > DATAGRAM_MAX_BYTES) {
      datagrams.push(current);
      current = line;
    } else {
      current = joined;
    }
  }
  if (current !== "") datagrams.push(current);
  return datagrams;
};
