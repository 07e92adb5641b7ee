import { systemClock } from "@holdfast/kernel";
import { testJobTable } from "../../testing/job-table.suite.ts";
import { createMemoryJobStore } from "./memory-job-store.ts";

testJobTable("memory", { open: async () => createMemoryJobStore({ clock: systemClock }) });
