export { type Console, type ConsoleOptions, startConsole } from "./console-server.ts";
