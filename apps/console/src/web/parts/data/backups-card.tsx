import type { ReactNode } from "react";
import type { BackupPart, BackupsPart, Part } from "../../../data-view.ts";
import { formatAge, formatBytes, formatCount, formatDuration } from "../../format.ts";
import { useNow } from "../../use-live.ts";
import { Fact } from "../fact.tsx";
import { DataCard } from "./data-card.tsx";

/** The last backup that was compared with its manifest, the newest one, and the last recovery. */
export const BackupsCard = ({ backups }: { readonly backups: Part<BackupsPart> }): ReactNode => (
  <DataCard title="Backups" part={backups} aside={countOf(backups)}>
    {(shown) => <Backups backups={shown} />}
  </DataCard>
);

const countOf = (backups: Part<BackupsPart>): string | undefined =>
  backups.kind === "shown" && backups.value.count > 0
    ? `${formatCount(backups.value.count)} kept`
    : undefined;

const Backups = ({ backups }: { readonly backups: BackupsPart }): ReactNode => {
  const now = useNow(5_000);
  const age = (at: string): string => formatAge(now - Date.parse(at));
  const { newest, lastVerified, lastRecovery } = backups;
  if (newest === null)
    return (
      <p className="problem note">
        There is no backup yet. Make one with <code>holdfast ha backup</code>.
      </p>
    );
  const hasFailed = lastRecovery?.outcome.startsWith("failed") ?? false;
  return (
    <>
      <dl className="facts">
        <Fact
          label="Last verified"
          value={lastVerified?.verifiedAt == null ? "never" : age(lastVerified.verifiedAt)}
          isWrong={lastVerified === null}
        />
        <Fact label="Verified backup" value={lastVerified === null ? "none" : describe(lastVerified)} />
        <Fact label="Newest" value={`${describe(newest)}, ${age(newest.finishedAt)}`} />
        <Fact
          label="Log since then"
          value={
            newest.isArchived ? "archived: any later time can be restored" : "not kept: only its own end"
          }
          isWrong={!newest.isArchived}
        />
        <Fact
          label="Last recovery"
          value={
            lastRecovery === null
              ? "none on record"
              : `${lastRecovery.kind} to ${lastRecovery.target}: ${lastRecovery.outcome}, ${age(lastRecovery.at)}`
          }
          isWrong={hasFailed}
        />
        {lastRecovery?.downtimeMs == null ? null : (
          <Fact label="Until it took writes" value={formatDuration(lastRecovery.downtimeMs)} />
        )}
        {lastRecovery?.dataLossMs == null ? null : (
          <Fact
            label="Work lost"
            value={lastRecovery.dataLossMs === 0 ? "none" : formatDuration(lastRecovery.dataLossMs)}
          />
        )}
      </dl>
      {lastRecovery === null ? (
        <p className="muted">
          A backup that was never restored is a hope: <code>holdfast ha drill</code> restores one and measures
          it.
        </p>
      ) : null}
    </>
  );
};

const describe = ({ id, sizeBytes, timeline }: BackupPart): string =>
  `${id}, ${formatBytes(sizeBytes)}, timeline ${timeline}`;
