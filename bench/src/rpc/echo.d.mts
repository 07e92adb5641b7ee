import type { ServiceDefinition } from "@grpc/grpc-js";
import type { RequestDefinition } from "@holdfast/protocol/contract";
import type { z } from "zod";

type Bytes = z.ZodObject<{ data: z.ZodType<Uint8Array> }>;

export const echo: RequestDefinition<Bytes, Bytes>;
export const grpcService: ServiceDefinition;
