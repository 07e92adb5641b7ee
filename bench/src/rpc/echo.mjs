import { defineRequest } from "@holdfast/protocol/contract";
import { z } from "zod";

/** Both sides check every message against this. */
export const echo = defineRequest({
  name: "bench.echo",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ data: z.instanceof(Uint8Array) }),
  output: z.object({ data: z.instanceof(Uint8Array) }),
});

const asIs = (bytes) => bytes;

/** The peer carries the bytes as they are: no protobuf, which only makes it faster. */
export const grpcService = {
  echo: {
    path: "/bench.Echo/Echo",
    requestStream: false,
    responseStream: false,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
};
