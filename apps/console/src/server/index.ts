export { type Console, type ConsoleOptions, startConsole } from "./console-server.ts";
export { createDataSource, type DataSource, type DataSourceOptions } from "./data-source.ts";
