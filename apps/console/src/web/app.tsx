import { type ReactNode, useState } from "react";
import { formatAge, formatClock } from "./format.ts";
import { ClusterPage } from "./pages/cluster-page.tsx";
import { ComparePage } from "./pages/compare-page.tsx";
import { DataPage } from "./pages/data-page.tsx";
import { JobPage } from "./pages/job-page.tsx";
import { JobsPage } from "./pages/jobs-page.tsx";
import { Link } from "./parts/link.tsx";
import { StaleBanner } from "./parts/stale-banner.tsx";
import { EmptyState } from "./parts/states.tsx";
import { ThemeToggle } from "./parts/theme-toggle.tsx";
import { type Route, useRoute } from "./route.ts";
import { useConnection, useNow } from "./use-live.ts";
import { useStale } from "./use-snapshot.ts";

export const App = (): ReactNode => {
  const route = useRoute();
  const { lostAt } = useConnection();
  const isOld = useStale().length > 0 || lostAt !== undefined;
  return (
    <>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <header className="top">
        <Link className="brand" to="/">
          <span className="mark" aria-hidden="true" />
          Holdfast
        </Link>
        <nav aria-label="Main">
          <Link to="/" current={route.page === "cluster"}>
            Cluster
          </Link>
          <Link to="/jobs" current={route.page === "jobs" || route.page === "job"}>
            Jobs
          </Link>
          <Link to="/compare" current={route.page === "compare"}>
            Compare
          </Link>
          <Link to="/data" current={route.page === "data"}>
            Data
          </Link>
        </nav>
        <ConnectionNote />
        <ThemeToggle />
      </header>
      <ConnectionBanner />
      {lostAt === undefined ? <StaleBanner /> : null}
      <main id="content" tabIndex={-1} className={isOld ? "old" : undefined}>
        <Page route={route} />
      </main>
    </>
  );
};

const Page = ({ route }: { readonly route: Route }): ReactNode => {
  switch (route.page) {
    case "cluster":
      return <ClusterPage />;
    case "jobs":
      return <JobsPage />;
    case "data":
      return <DataPage />;
    case "compare":
      return <ComparePage a={route.a} b={route.b} level={route.level} />;
    case "job":
      return <JobPage key={route.jobId} jobId={route.jobId} />;
    default:
      return (
        <EmptyState title="There is no such page">
          <Link to="/">Go to the cluster</Link>
        </EmptyState>
      );
  }
};

const ConnectionNote = (): ReactNode => {
  const { state } = useConnection();
  const isStale = useStale().length > 0 && state === "connected";
  const text = {
    connected: isStale ? "not up to date" : "live",
    connecting: "connecting",
    reconnecting: "reconnecting",
    disconnected: "connecting",
    "signed-out": "signed out",
  }[state];
  return (
    <output className={`connection ${isStale ? "stale" : state}`}>
      <span className="dot" aria-hidden="true" />
      {text}
    </output>
  );
};

const ConnectionBanner = (): ReactNode => {
  const { state, lostAt, retryNow, signIn } = useConnection();
  const [token, setToken] = useState("");
  const now = useNow(1_000, lostAt !== undefined);
  if (state === "reconnecting") {
    return (
      <div className="banner warning" role="alert">
        <span>
          The connection to the gate is lost.{" "}
          {lostAt === undefined ? (
            "It is tried again by itself."
          ) : (
            <>
              What you see is{" "}
              <strong>
                as of {formatClock(lostAt)}, {formatAge(now - lostAt)}
              </strong>
              ; it goes on from here by itself.
            </>
          )}
        </span>
        <button type="button" onClick={retryNow}>
          Retry now
        </button>
      </div>
    );
  }
  if (state === "signed-out") {
    return (
      <form
        className="banner"
        onSubmit={(event) => {
          event.preventDefault();
          signIn(token);
        }}
      >
        <label htmlFor="token">This console needs a token with the scope “read”.</label>
        <input
          id="token"
          type="password"
          autoComplete="current-password"
          value={token}
          onChange={(event) => setToken(event.target.value)}
        />
        <button type="submit">Sign in</button>
      </form>
    );
  }
  return null;
};
