import type { ComparedJob } from "@holdfast/jobs/compare";
import type { ReactNode } from "react";
import { formatDuration } from "../format.ts";
import { jobPath } from "../route.ts";
import { Fact } from "./fact.tsx";
import { Link } from "./link.tsx";
import { StatusBadge } from "./status-badge.tsx";

/** One of the two runs of a comparison. */
export const ComparedRun = (props: {
  readonly mark: string;
  readonly job: ComparedJob;
  readonly elapsedMs: number;
  readonly age: string;
}): ReactNode => (
  <section className="card" aria-label={`Run ${props.mark}`}>
    <h2>
      <span className="run-mark">{props.mark}</span>
      {props.job.name}
      <StatusBadge status={props.job.status} />
    </h2>
    <p className="mono note">
      <Link to={jobPath(props.job.jobId)}>{props.job.jobId}</Link>
    </p>
    <dl className="facts">
      <Fact label="Took" value={formatDuration(props.elapsedMs)} />
      <Fact label="Submitted" value={props.age} />
    </dl>
  </section>
);
