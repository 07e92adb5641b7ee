import type { ComparedWorkflow, JobComparison } from "@holdfast/jobs/compare";
import { comparedFigures } from "@holdfast/jobs/compare/figures";
import type { JobSummary } from "@holdfast/protocol/contract";
import { type ReactNode, useEffect, useState } from "react";
import type { JobsData } from "../../messages.ts";
import { formatAge } from "../format.ts";
import { ComparedRun } from "../parts/compared-run.tsx";
import { ComparisonTable } from "../parts/comparison-table.tsx";
import { Link } from "../parts/link.tsx";
import { RunPicker } from "../parts/run-picker.tsx";
import { EmptyState, ErrorState, LoadingState } from "../parts/states.tsx";
import { StatusBadge } from "../parts/status-badge.tsx";
import { call } from "../rest.ts";
import { type Comparison, comparePath, navigate } from "../route.ts";
import { type Loadable, useConnection, useNow } from "../use-live.ts";
import { useSnapshot } from "../use-snapshot.ts";

const LEVELS = [
  ["0.05", "1 in 20"],
  ["0.01", "1 in 100"],
  ["0.001", "1 in 1,000"],
] as const;
const LEVEL_DEFAULT = "0.01";

/** Two runs side by side: percentiles, rates, and which of their differences chance does not explain. */
export const ComparePage = (chosen: Comparison): ReactNode => {
  const { a, b, level = LEVEL_DEFAULT } = chosen;
  const jobs = useSnapshot<JobsData>("jobs");
  const comparison = useComparison(a, b, level);
  const ended = (jobs.data?.jobs ?? []).filter(({ finishedAt }) => finishedAt !== undefined);
  const choose = (change: Partial<Comparison>): void => navigate(comparePath({ ...chosen, ...change }));
  return (
    <>
      <h1>Compare two runs</h1>
      <section className="card pickers">
        <RunPicker
          label="A, the baseline"
          jobs={ended}
          jobId={a}
          onChoose={(jobId) => choose({ a: jobId })}
        />
        <button
          type="button"
          className="swap"
          aria-label="Swap A and B"
          disabled={a === undefined && b === undefined}
          onClick={() => choose({ a: b, b: a })}
        >
          ⇄
        </button>
        <RunPicker
          label="B, the run to judge"
          jobs={ended}
          jobId={b}
          onChoose={(jobId) => choose({ b: jobId })}
        />
        <label>
          <span>False alarms</span>
          <select value={level} onChange={(event) => choose({ level: event.target.value })}>
            {LEVELS.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
      </section>
      <Body a={a} b={b} comparison={comparison} ended={ended} isListed={jobs.data !== undefined} />
    </>
  );
};

const Body = (props: {
  readonly a: string | undefined;
  readonly b: string | undefined;
  readonly comparison: Loadable<JobComparison>;
  readonly ended: readonly JobSummary[];
  readonly isListed: boolean;
}): ReactNode => {
  const { a, b, ended, isListed } = props;
  const { data, error } = props.comparison;
  if (a === undefined || b === undefined) {
    if (isListed && ended.length < 2) {
      return (
        <EmptyState title="There are not two runs to compare yet">
          <p>
            Only jobs that have ended can be compared. Submit the same one twice, from{" "}
            <Link to="/jobs">the jobs</Link> or with <code>holdfast submit WORKFLOW --watch</code>.
          </p>
        </EmptyState>
      );
    }
    return (
      <EmptyState title={a === b ? "Choose two runs" : "Choose the other run"}>
        <p>
          Take them from the lists above, or tick two in <Link to="/jobs">the list of jobs</Link>.
        </p>
      </EmptyState>
    );
  }
  if (a === b) {
    return (
      <EmptyState title="A and B are the same run">
        <p>Choose another one on either side.</p>
      </EmptyState>
    );
  }
  if (error !== undefined) return <ErrorState title="These two cannot be compared" message={error} />;
  if (data === undefined) return <LoadingState lines={8} />;
  return <Report comparison={data} />;
};

/** Asked anew when the connection, and with it perhaps a token, is back. */
const useComparison = (
  a: string | undefined,
  b: string | undefined,
  level: string,
): Loadable<JobComparison> => {
  const [value, setValue] = useState<Loadable<JobComparison>>({ data: undefined, error: undefined });
  const isConnected = useConnection().state === "connected";
  useEffect(() => {
    let isCurrent = true;
    setValue({ data: undefined, error: undefined });
    if (isConnected && a !== undefined && b !== undefined && a !== b) {
      call<JobComparison>("GET", `/api/compare?${new URLSearchParams({ a, b, level })}`).then(
        (data) => isCurrent && setValue({ data, error: undefined }),
        (error: Error) => isCurrent && setValue({ data: undefined, error: error.message }),
      );
    }
    return () => {
      isCurrent = false;
    };
  }, [a, b, level, isConnected]);
  return value;
};

const Report = ({ comparison }: { readonly comparison: JobComparison }): ReactNode => {
  const now = useNow(10_000);
  const { a, b, workflows, level } = comparison;
  const tested = workflows.flatMap(comparedFigures).filter(({ isTested }) => isTested);
  const differing = tested.filter(({ difference }) => difference.isSignificant === true).length;
  return (
    <>
      <div className="runs">
        <ComparedRun
          mark="A"
          job={a}
          elapsedMs={comparison.elapsedMs.a}
          age={formatAge(now - a.submittedAt)}
        />
        <ComparedRun
          mark="B"
          job={b}
          elapsedMs={comparison.elapsedMs.b}
          age={formatAge(now - b.submittedAt)}
        />
      </div>
      <output className="verdict">{verdictOf(differing, tested.length)}</output>
      {workflows.map((workflow) => (
        <WorkflowCard key={workflow.name} workflow={workflow} />
      ))}
      <p className="muted note">
        Each figure is tested by itself: of {Math.round(1 / level).toLocaleString("en-US")} that are equal one
        is called different by chance. Values of one burst or one stall are not independent of each other, so
        run each twice before you believe a difference.
      </p>
    </>
  );
};

const verdictOf = (differing: number, tested: number): string => {
  if (tested === 0) return "The two measured nothing in common.";
  if (differing === 0) return `None of ${tested} figures differs by more than chance explains.`;
  return `${differing} of ${tested} figures ${differing === 1 ? "differs" : "differ"} by more than chance explains.`;
};

const WorkflowCard = ({ workflow }: { readonly workflow: ComparedWorkflow }): ReactNode => {
  const { name, statusA, statusB, onlyInA, onlyInB } = workflow;
  const only = [
    ["A", onlyInA],
    ["B", onlyInB],
  ] as const;
  return (
    <section className="card">
      <h2>
        {name}
        <Side mark="A" status={statusA} />
        <Side mark="B" status={statusB} />
      </h2>
      {workflow.elapsedMs === undefined ? (
        <p className="muted note">Only {statusA === undefined ? "B" : "A"} has this workflow.</p>
      ) : (
        <ComparisonTable figures={comparedFigures(workflow)} />
      )}
      {only.map(([mark, names]) =>
        names.length === 0 ? null : (
          <p key={mark} className="muted note">
            Only {mark} measured {names.join(", ")}.
          </p>
        ),
      )}
    </section>
  );
};

const Side = ({ mark, status }: { readonly mark: string; readonly status: string | undefined }): ReactNode =>
  status === undefined ? null : (
    <span className="side">
      {mark} <StatusBadge status={status} />
    </span>
  );
