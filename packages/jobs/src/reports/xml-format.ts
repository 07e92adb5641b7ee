import { create } from "xmlbuilder2";
import { type ReportFormat, workflowRows } from "./report-format.ts";
import { stepRows } from "./step-rows.ts";

/** Attributes hold what is short, elements what may be long. Characters that XML cannot carry become U+FFFD. */
export const xmlFormat: ReportFormat = {
  type: "xml",
  whenExists: "overwrite",
  workflowResults: (report) => {
    const root = document().ele("workflowResults");
    for (const { errorCode, errorMessage, name, ...rest } of workflowRows(report)) {
      const row = root.ele("workflow", attributes(rest));
      row.ele("name").txt(name);
      if (errorCode !== "") row.ele("error", { code: errorCode }).txt(errorMessage);
    }
    return root.end({ prettyPrint: true });
  },
  stepResults: ({ job, workflow }) => {
    const root = document().ele("stepResults", { jobId: job.jobId, workflowId: workflow.workflowId });
    root.ele("name").txt(workflow.name);
    for (const { measure, ...figures } of stepRows(workflow)) {
      root.ele("step", attributes(figures)).ele("measure").txt(measure);
    }
    return root.end({ prettyPrint: true });
  },
};

const document = () => create({ version: "1.0", encoding: "UTF-8", invalidCharReplacement: "\ufffd" });

const attributes = (row: object): Record<string, string> =>
  Object.fromEntries(
    Object.entries(row)
      .filter(([, value]) => value !== undefined && value !== "")
      .map(([name, value]) => [name, String(value)]),
  );
