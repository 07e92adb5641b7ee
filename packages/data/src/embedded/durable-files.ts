import { fdatasyncSync } from "node:fs";
import { NodeFS } from "@electric-sql/pglite/nodefs";

/** The part of the engine's file layer (Emscripten's NODEFS) that we complete. */
interface NodeFileStream {
  readonly nfd?: number;
  readonly path: string;
}
interface NodeFileLayer {
  readonly stream_ops: { fsync?: (stream: NodeFileStream) => number };
}

/** Flushes an open file to the disk; replaced in tests of power loss. */
export type FlushFile = (fd: number, path: string) => void;

/**
 * Files in a directory, for which PostgreSQL's own `fsync` really flushes.
 *
 * The engine calls fsync wherever PostgreSQL does, but the file layer below it has no such operation and
 * reports success. We add it, so that commits, checkpoints and renames are as durable as on a server.
 * (It has no way at all to hear of `fdatasync`: the engine must run with `wal_sync_method=fsync`.)
 */
export class DurableFiles extends NodeFS {
  readonly #flush: FlushFile;

  constructor(directory: string, flush: FlushFile = fdatasyncSync) {
    super(directory);
    this.#flush = flush;
  }

  override async init(...args: Parameters<NodeFS["init"]>): ReturnType<NodeFS["init"]> {
    const { emscriptenOpts } = await super.init(...args);
    const addFlush = (module: {
      readonly FS: { readonly filesystems: { readonly NODEFS: NodeFileLayer } };
    }): void => {
      module.FS.filesystems.NODEFS.stream_ops.fsync = (stream) => {
        if (stream.nfd !== undefined) this.#flush(stream.nfd, stream.path);
        return 0;
      };
    };
    return {
      emscriptenOpts: { ...emscriptenOpts, preRun: [...(emscriptenOpts.preRun ?? []), addFlush] },
    } as Awaited<ReturnType<NodeFS["init"]>>;
  }
}
