import type { ReactNode } from "react";
import type { SilentDatacenter } from "../../messages.ts";
import { formatAge, formatClock } from "../format.ts";
import { useNow } from "../use-live.ts";

/** A datacenter whose managers do not answer: since when, and what that means for what is shown of it. */
export const SilentNote = ({
  silent: { datacenter, heardAt },
  children,
}: {
  readonly silent: SilentDatacenter;
  readonly children: ReactNode;
}): ReactNode => {
  const now = useNow(1_000);
  return (
    <output className="warning silent">
      No manager of {datacenter} answers
      {heardAt === null
        ? "; none has since this gate started. "
        : `; one did last at ${formatClock(heardAt)}, ${formatAge(now - heardAt)}. `}
      {children}
    </output>
  );
};
