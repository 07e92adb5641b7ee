import { type ReactNode, useState } from "react";
import { call, downloadReport } from "../rest.ts";
import { comparePath } from "../route.ts";
import { Link } from "./link.tsx";

const FORMATS = ["json", "csv", "xml"] as const;

/** Cancel while it runs (asked twice), reports when it is over. */
export const JobActions = ({
  jobId,
  isOver,
}: {
  readonly jobId: string;
  readonly isOver: boolean;
}): ReactNode => {
  const [isAsking, setAsking] = useState(false);
  const [problem, setProblem] = useState<string>();
  const attempt = (work: () => Promise<unknown>): void => {
    setProblem(undefined);
    work().catch((error: Error) => setProblem(error.message));
  };
  const cancel = (): void => {
    setAsking(false);
    attempt(() => call("POST", `/api/jobs/${encodeURIComponent(jobId)}/cancel`, {}));
  };
  return (
    <div className="actions">
      {isOver ? (
        <>
          <Link to={comparePath({ b: jobId })}>Compare with another run</Link>
          <span className="muted">Report</span>
          {FORMATS.map((format) => (
            <button key={format} type="button" onClick={() => attempt(() => downloadReport(jobId, format))}>
              {format.toUpperCase()}
            </button>
          ))}
        </>
      ) : isAsking ? (
        <>
          <span>Cancel this job?</span>
          <button type="button" className="danger" onClick={cancel}>
            Yes, cancel it
          </button>
          <button type="button" onClick={() => setAsking(false)}>
            Keep running
          </button>
        </>
      ) : (
        <button type="button" onClick={() => setAsking(true)}>
          Cancel job
        </button>
      )}
      {problem === undefined ? null : (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
};
