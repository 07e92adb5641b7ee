import type { JobResult } from "@holdfast/protocol/contract";
import { renderCsv } from "./csv-format.ts";
import { reportName } from "./report-name.ts";
import { renderXml } from "./xml-format.ts";

/** A whole job as one document, for a download. */
export interface RenderedReport {
  readonly contentType: string;
  /** Safe on every file system. */
  readonly fileName: string;
  readonly body: string;
}

const RENDERERS: ReadonlyMap<
  string,
  { readonly contentType: string; readonly render: (job: JobResult) => string }
> = new Map([
  [
    "json",
    {
      contentType: "application/json; charset=utf-8",
      render: (job) => `${JSON.stringify(job, null, 2)}\n`,
    },
  ],
  ["csv", { contentType: "text/csv; charset=utf-8", render: renderCsv }],
  ["xml", { contentType: "application/xml; charset=utf-8", render: renderXml }],
]);

/**
 * All workflows of a job in one document: JSON with everything, CSV with one row per measure and datacenter,
 * XML with both the outcomes and the measures. Undefined for any other format.
 */
export const renderReport = (result: JobResult, format: string): RenderedReport | undefined => {
  const type = format.toLowerCase();
  const renderer = RENDERERS.get(type);
  if (renderer === undefined) return undefined;
  return {
    contentType: renderer.contentType,
    fileName: `${reportName(result.name)}_${reportName(result.jobId).slice(0, 40)}.${type}`,
    body: renderer.render(result),
  };
};
