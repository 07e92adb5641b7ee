import pg from "pg";

const CHUNK_BYTES = 65_536;

interface CopyConnection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  readonly stream: { readonly writableNeedDrain: boolean; once(event: "drain", listener: () => void): void };
}

/** COPY FROM STDIN in text over a bare client of `pg`, with the lines as they come and the socket's back-pressure. */
export const copyText = (client: pg.Client, text: string, lines: () => Iterable<string>): Promise<void> =>
  new Promise((resolve, reject) => {
    const query = new pg.Query(text) as pg.Query & {
      callback: (error: Error | null | undefined) => void;
      handleCopyInResponse: (connection: CopyConnection) => void;
    };
    query.callback = (error) => (error ? reject(error) : resolve());
    query.handleCopyInResponse = (connection) => {
      const source = lines()[Symbol.iterator]();
      const pump = (): void => {
        while (!connection.stream.writableNeedDrain) {
          let chunk = "";
          for (let line = source.next(); ; line = source.next()) {
            if (line.done === true) {
              if (chunk !== "") connection.sendCopyFromChunk(Buffer.from(chunk));
              connection.endCopyFrom();
              return;
            }
            chunk += line.value;
            if (chunk.length >= CHUNK_BYTES) break;
          }
          connection.sendCopyFromChunk(Buffer.from(chunk));
        }
        connection.stream.once("drain", pump);
      };
      pump();
    };
    client.query(query as unknown as pg.Submittable);
  });
