import type { DatacenterView, WorkerView } from "@holdfast/protocol/contract";
import type { ReactNode } from "react";
import type { ClusterData, SilentDatacenter } from "../../messages.ts";
import { formatAge, formatCount } from "../format.ts";
import { Figure } from "../parts/figure.tsx";
import { SilentNote } from "../parts/silent-note.tsx";
import { EmptyState, LoadingState, UnseenState } from "../parts/states.tsx";
import { StatusBadge } from "../parts/status-badge.tsx";
import { Table } from "../parts/table.tsx";
import { useNow } from "../use-live.ts";
import { useSnapshot } from "../use-snapshot.ts";

export const ClusterPage = (): ReactNode => {
  const { data, error } = useSnapshot<ClusterData>("cluster");
  if (data === undefined)
    return error === undefined ? (
      <LoadingState lines={6} />
    ) : (
      <UnseenState title="The cluster cannot be read" message={error} />
    );
  const workers = data.datacenters.flatMap((dc) => dc.workers);
  const cores = workers.reduce((sum, worker) => sum + worker.cores, 0);
  const busy = workers.reduce((sum, worker) => sum + worker.busyCores, 0);
  const silent = data.silent.map(({ datacenter }) => datacenter).join(", ");
  const lastHeard = silent === "" ? "" : ` (${silent} as last heard)`;
  return (
    <>
      <h1>Cluster</h1>
      <dl className="figures">
        <Figure label="Datacenters" value={formatCount(data.datacenters.length)} />
        <Figure label={`Workers${lastHeard}`} value={formatCount(workers.length)} />
        <Figure label={`Cores busy${lastHeard}`} value={`${formatCount(busy)} / ${formatCount(cores)}`} />
        <Figure label="Active jobs" value={formatCount(data.activeJobs)} to="/jobs" />
      </dl>
      <Leaders cluster={data} />
      {data.datacenters.length === 0 ? (
        <EmptyState title="This gate knows no datacenter">
          <p>
            Start it with <code>--datacenter NAME=host:port</code>.
          </p>
        </EmptyState>
      ) : (
        data.datacenters.map((dc) => (
          <Datacenter
            key={dc.datacenter}
            dc={dc}
            silent={data.silent.find(({ datacenter }) => datacenter === dc.datacenter)}
          />
        ))
      )}
    </>
  );
};

const Leaders = ({ cluster }: { readonly cluster: ClusterData }): ReactNode => (
  <section className="card">
    <h2>Who leads</h2>
    <Table columns={["Role", "Node", "Address", "State", { number: "Fence" }]}>
      {cluster.gates.map((gate) => (
        <tr key={gate.nodeId}>
          <td>gate{gate.isLeader ? ", leads" : ""}</td>
          <td>{gate.nodeId}</td>
          <td className="mono">{gate.address}</td>
          <td>
            <StatusBadge status={gate.state} />
          </td>
          <td className="number mono">{gate.fence ?? "–"}</td>
        </tr>
      ))}
      {cluster.datacenters.flatMap((dc) =>
        dc.managers.map((manager) => (
          <tr key={`${dc.datacenter} ${manager.nodeId}`}>
            <td>
              manager of {dc.datacenter}
              {manager.isLeader ? ", leads" : ""}
            </td>
            <td>{manager.nodeId}</td>
            <td className="mono">{manager.address}</td>
            <td>
              <StatusBadge status={manager.state} />
            </td>
            <td className="number mono">{manager.isLeader ? (dc.leader?.fence ?? "–") : "–"}</td>
          </tr>
        )),
      )}
    </Table>
  </section>
);

const Datacenter = ({
  dc,
  silent,
}: {
  readonly dc: DatacenterView;
  readonly silent: SilentDatacenter | undefined;
}): ReactNode => (
  <section className="card">
    <h2>
      {dc.datacenter} <StatusBadge status={dc.health} />
      <span className="aside">
        {formatCount(dc.availableCores)} of {formatCount(dc.totalCores)} cores free ·{" "}
        {formatCount(dc.pendingTasks)} shards waiting
      </span>
    </h2>
    {silent === undefined ? null : (
      <SilentNote silent={silent}>
        What follows is what it said last. New jobs go elsewhere until one answers.
      </SilentNote>
    )}
    <div className={silent === undefined ? undefined : "old"}>
      <Workers dc={dc} isSilent={silent !== undefined} />
    </div>
  </section>
);

const Workers = ({
  dc,
  isSilent,
}: {
  readonly dc: DatacenterView;
  readonly isSilent: boolean;
}): ReactNode => {
  const now = useNow(5_000);
  if (dc.workers.length === 0)
    return isSilent ? null : (
      <p className="muted">
        No worker is connected. Start one with{" "}
        <code>holdfast worker --datacenter {dc.datacenter} --workflows FILE</code>.
      </p>
    );
  return (
    <Table
      columns={[
        "Worker",
        "State",
        "Cores",
        { number: "Shards done" },
        { number: "Failed" },
        "Process",
        "Started",
        "Workflows",
      ]}
    >
      {dc.workers.map((worker) => (
        <tr key={worker.nodeId}>
          <td>{worker.nodeId}</td>
          <td>
            <StatusBadge status={worker.state} />
          </td>
          <td>
            <Cores worker={worker} />
          </td>
          <td className="number">{formatCount(worker.completedShards)}</td>
          <td className="number">{formatCount(worker.failedShards)}</td>
          <td className="mono">
            {worker.host}:{worker.pid}
          </td>
          <td>{formatAge(now - worker.startedAt)}</td>
          <td className="muted">{worker.workflows.join(", ")}</td>
        </tr>
      ))}
    </Table>
  );
};

const Cores = ({ worker }: { readonly worker: WorkerView }): ReactNode => (
  <span className="cores" title={`${worker.busyCores} of ${worker.cores} busy`}>
    <span className="visually-hidden">
      {worker.busyCores} of {worker.cores} busy
    </span>
    {worker.cores > 16 ? (
      <span aria-hidden="true">
        {worker.busyCores} / {worker.cores}
      </span>
    ) : (
      Array.from({ length: worker.cores }, (_, core) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: cores are alike and never reordered
        <span key={core} aria-hidden="true" className={core < worker.busyCores ? "core busy" : "core"} />
      ))
    )}
  </span>
);
