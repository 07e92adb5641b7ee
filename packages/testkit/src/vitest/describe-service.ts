import { describe, it } from "vitest";
import { ServiceUnavailableError } from "../errors.ts";
import { type ServiceName, serviceUnavailable } from "../services/availability.ts";

/** Whether a missing service is a failure (CI says so by HOLDFAST_REQUIRE_SERVICES=1) or a reason to skip. */
const servicesRequired = (): boolean => process.env["HOLDFAST_REQUIRE_SERVICES"] === "1";

/** What cannot be installed everywhere. */
const OPTIONAL: readonly ServiceName[] = ["citus", "small-disk"];

/**
 * `describe` for tests that need a real service. Where it is missing the suite is skipped, with the reason
 * in its title; with HOLDFAST_REQUIRE_SERVICES=1 it fails instead. Citus, which Debian does not package, and a small
 * disk, which a container may not mount, are always skipped when missing.
 *
 * @param name One service, or several that are all needed.
 */
export const describeService = (
  name: ServiceName | readonly ServiceName[],
  title: string,
  suite: () => void,
): void => {
  const names = typeof name === "string" ? [name] : name;
  for (const each of names) {
    const reason = serviceUnavailable(each);
    if (reason === undefined) continue;
    if (servicesRequired() && !OPTIONAL.includes(each)) {
      describe(title, () => {
        it(`finds ${each}`, () => {
          throw new ServiceUnavailableError(reason);
        });
      });
    } else {
      describe.skip(`${title} [skipped: ${reason}]`, suite);
    }
    return;
  }
  describe(title, suite);
};
