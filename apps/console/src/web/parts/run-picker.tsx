import type { JobSummary } from "@holdfast/protocol/contract";
import type { ReactNode } from "react";
import { formatAge } from "../format.ts";
import { useNow } from "../use-live.ts";

/** Chooses one of the newest jobs that have ended. One that is older stays in the list while it is chosen. */
export const RunPicker = (props: {
  readonly label: string;
  readonly jobs: readonly JobSummary[];
  readonly jobId: string | undefined;
  readonly onChoose: (jobId: string | undefined) => void;
}): ReactNode => {
  const { jobs, jobId } = props;
  const now = useNow(10_000);
  return (
    <label>
      <span>{props.label}</span>
      <select value={jobId ?? ""} onChange={(event) => props.onChoose(event.target.value || undefined)}>
        <option value="">Choose a run</option>
        {jobId === undefined || jobs.some((job) => job.jobId === jobId) ? null : (
          <option value={jobId}>{jobId}</option>
        )}
        {jobs.map((job) => (
          <option key={job.jobId} value={job.jobId}>
            {`${job.name} · ${formatAge(now - job.submittedAt)} · ${job.status} · ${job.jobId}`}
          </option>
        ))}
      </select>
    </label>
  );
};
