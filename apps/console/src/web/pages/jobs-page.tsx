import type { JobSummary } from "@holdfast/protocol/contract";
import { type ReactNode, useState } from "react";
import type { ClusterData, JobsData } from "../../messages.ts";
import { formatAge, formatCount, formatDuration } from "../format.ts";
import { Link } from "../parts/link.tsx";
import { EmptyState, LoadingState, UnseenState } from "../parts/states.tsx";
import { StatusBadge } from "../parts/status-badge.tsx";
import { SubmitForm } from "../parts/submit-form.tsx";
import { Table } from "../parts/table.tsx";
import { comparePath, jobPath, navigate } from "../route.ts";
import { useNow } from "../use-live.ts";
import { useSnapshot } from "../use-snapshot.ts";

export const JobsPage = (): ReactNode => {
  const { data, error } = useSnapshot<JobsData>("jobs");
  const cluster = useSnapshot<ClusterData>("cluster");
  const [search, setSearch] = useState("");
  const [chosen, setChosen] = useState<readonly JobSummary[]>([]);
  const [isSubmitting, setSubmitting] = useState(false);
  const workflows = [
    ...new Map(
      (cluster.data?.datacenters ?? []).flatMap((dc) => dc.workflows).map((entry) => [entry.name, entry]),
    ).values(),
  ];
  return (
    <>
      <div className="title-row">
        <h1>Jobs</h1>
        <button
          type="button"
          className="primary"
          aria-expanded={isSubmitting}
          onClick={() => setSubmitting(!isSubmitting)}
        >
          {isSubmitting ? "Close" : "Submit a job"}
        </button>
      </div>
      {isSubmitting ? (
        <SubmitForm
          workflows={workflows}
          datacenters={(cluster.data?.datacenters ?? []).map((dc) => dc.datacenter)}
        />
      ) : null}
      <JobsTable
        data={data}
        error={error}
        search={search}
        onSearch={setSearch}
        chosen={chosen}
        onChoose={(job) => setChosen(toggled(chosen, job))}
      />
    </>
  );
};

/** Two at most: a third takes the place of the one that was chosen first. */
const toggled = (chosen: readonly JobSummary[], job: JobSummary): readonly JobSummary[] =>
  chosen.some(({ jobId }) => jobId === job.jobId)
    ? chosen.filter(({ jobId }) => jobId !== job.jobId)
    : [...chosen.slice(-1), job];

const CompareBar = ({ chosen }: { readonly chosen: readonly JobSummary[] }): ReactNode => {
  const [a, b] = [...chosen].sort((one, other) => one.submittedAt - other.submittedAt);
  return (
    <div className="actions" aria-live="polite">
      {a === undefined ? (
        <span className="muted">Tick two runs that have ended to compare them.</span>
      ) : b === undefined ? (
        <span>Tick another run to compare it with {a.name}.</span>
      ) : (
        <button
          type="button"
          className="primary"
          onClick={() => navigate(comparePath({ a: a.jobId, b: b.jobId }))}
        >
          Compare these two
        </button>
      )}
    </div>
  );
};

const JobsTable = (props: {
  readonly data: JobsData | undefined;
  readonly error: string | undefined;
  readonly search: string;
  readonly onSearch: (text: string) => void;
  readonly chosen: readonly JobSummary[];
  readonly onChoose: (job: JobSummary) => void;
}): ReactNode => {
  const { data, error, search, chosen, onChoose } = props;
  const now = useNow(2_000);
  if (data === undefined)
    return error === undefined ? (
      <LoadingState lines={5} />
    ) : (
      <UnseenState title="The jobs cannot be read" message={error} />
    );
  if (data.jobs.length === 0) {
    return (
      <EmptyState title="No jobs yet">
        <p>
          Submit one above, or type <code>holdfast submit WORKFLOW --watch</code>. It appears here at once.
        </p>
      </EmptyState>
    );
  }
  const wanted = search.trim().toLowerCase();
  const shown = data.jobs.filter((job) =>
    `${job.jobId} ${job.name} ${job.status}`.toLowerCase().includes(wanted),
  );
  return (
    <section className="card">
      <div className="tools">
        <input
          type="search"
          aria-label="Filter by id, name or status"
          placeholder="Filter by id, name or status"
          value={search}
          onChange={(event) => props.onSearch(event.target.value)}
        />
        <CompareBar chosen={chosen} />
      </div>
      {shown.length === 0 ? (
        <p className="muted">
          None of the newest {data.jobs.length} jobs matches “{search}”.
        </p>
      ) : (
        <Table
          columns={[
            "Compare",
            "Job",
            "Name",
            "Status",
            { number: "Done" },
            "Datacenters",
            "Submitted",
            { number: "Took" },
          ]}
        >
          {shown.map((job) => (
            <tr key={job.jobId}>
              <td>
                <input
                  type="checkbox"
                  aria-label={`Compare ${job.jobId}`}
                  title={
                    job.finishedAt === undefined ? "Only runs that have ended can be compared" : undefined
                  }
                  disabled={job.finishedAt === undefined}
                  checked={chosen.some(({ jobId }) => jobId === job.jobId)}
                  onChange={() => onChoose(job)}
                />
              </td>
              <td className="mono">
                <Link to={jobPath(job.jobId)}>{job.jobId}</Link>
              </td>
              <td>{job.name}</td>
              <td>
                <StatusBadge status={job.status} />
              </td>
              <td className="number">{formatCount(job.progress.done)}</td>
              <td>{job.datacenters.join(", ") || "–"}</td>
              <td>{formatAge(now - job.submittedAt)}</td>
              <td className="number">
                {formatDuration(job.finishedAt === undefined ? now - job.submittedAt : job.elapsedMs)}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
};
