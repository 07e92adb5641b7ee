import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import { create } from "xmlbuilder2";
import type { XMLBuilder } from "xmlbuilder2/lib/interfaces.js";
import { type ReportFormat, workflowRows } from "./report-format.ts";
import type { WorkflowReport } from "./reporter.ts";
import { stepRows } from "./step-rows.ts";

/** Attributes hold what is short, elements what may be long. Characters that XML cannot carry become U+FFFD. */
export const xmlFormat: ReportFormat = {
  type: "xml",
  whenExists: "overwrite",
  workflowResults: (report) => {
    const root = document().ele("workflowResults");
    addWorkflows(root, report);
    return root.end({ prettyPrint: true });
  },
  stepResults: ({ job, workflow }) => {
    const root = document().ele("stepResults", { jobId: job.jobId, workflowId: workflow.workflowId });
    root.ele("name").txt(workflow.name);
    addSteps(root, workflow);
    return root.end({ prettyPrint: true });
  },
};

/** A whole job: the outcomes of each workflow and what it measured. */
export const renderXml = (job: JobResult): string => {
  const { jobId, status, elapsedMs } = job;
  const root = document().ele("job", attributes({ jobId, status, elapsedMs }));
  root.ele("name").txt(job.name);
  for (const error of job.errors) root.ele("error").txt(error);
  for (const workflow of job.workflows) {
    const element = root.ele("workflowReport");
    addWorkflows(element.ele("workflowResults"), { job, workflow });
    addSteps(element.ele("stepResults"), workflow);
  }
  return root.end({ prettyPrint: true });
};

const addWorkflows = (parent: XMLBuilder, report: WorkflowReport): void => {
  for (const { errorCode, errorMessage, name, ...rest } of workflowRows(report)) {
    const row = parent.ele("workflow", attributes(rest));
    row.ele("name").txt(name);
    if (errorCode !== "") row.ele("error", { code: errorCode }).txt(errorMessage);
  }
};

const addSteps = (parent: XMLBuilder, workflow: WorkflowResult): void => {
  for (const { measure, ...figures } of stepRows(workflow)) {
    parent.ele("step", attributes(figures)).ele("measure").txt(measure);
  }
};

const document = () => create({ version: "1.0", encoding: "UTF-8", invalidCharReplacement: "\ufffd" });

const attributes = (row: object): Record<string, string> =>
  Object.fromEntries(
    Object.entries(row)
      .filter(([, value]) => value !== undefined && value !== "")
      .map(([name, value]) => [name, String(value)]),
  );
