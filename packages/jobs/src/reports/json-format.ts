import type { ReportFormat } from "./report-format.ts";
import { stepRows } from "./step-rows.ts";

/** Everything that is known, histograms included, so that reports can be merged and compared later. */
export const jsonFormat: ReportFormat = {
  type: "json",
  whenExists: "number",
  workflowResults: ({ job, workflow }) => {
    const { jobId, name, status, submittedAt, finishedAt, elapsedMs } = job;
    return text({ job: { jobId, name, status, submittedAt, finishedAt, elapsedMs }, ...workflow });
  },
  stepResults: ({ job, workflow }) =>
    text({
      jobId: job.jobId,
      workflowId: workflow.workflowId,
      name: workflow.name,
      steps: stepRows(workflow),
    }),
};

const text = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
