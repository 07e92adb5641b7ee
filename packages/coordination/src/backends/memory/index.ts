export { createMemoryStore, type MemoryStoreOptions } from "./store.ts";
export type { MemoryTx } from "./transactor.ts";
