export { type JobTableSuiteOptions, testJobTable } from "./job-table.suite.ts";
