import type { JobsClient, SubmitOptions } from "@holdfast/jobs/client";
import { compareResults, type SignificanceLevel } from "@holdfast/jobs/compare";
import { renderReport } from "@holdfast/jobs/reports";
import { InvalidInputError, isHoldfastError, toWireError } from "@holdfast/kernel";
import type { JobResult, JobStatus, Scope } from "@holdfast/protocol/contract";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { allows, bearerToken, type TokenCheck } from "./authorization.ts";
import type { DataSource } from "./data-source.ts";

interface ApiOptions {
  readonly client: JobsClient;
  readonly data: DataSource | undefined;
  readonly authenticate: TokenCheck;
}

/** How long one REST call may take before it answers 504; the client itself retries inside that time. */
const CALL_TIMEOUT_MS = 15_000;

const HTTP_STATUS: Readonly<Record<string, number>> = {
  JOBS_NOT_FOUND: 404,
  JOBS_UNKNOWN_WORKFLOW: 422,
  JOBS_INVALID_INPUT: 422,
  JOBS_IDEMPOTENCY_CONFLICT: 409,
  JOBS_TOO_LARGE: 413,
  JOBS_RATE_LIMITED: 429,
  KERNEL_INVALID_INPUT: 422,
  KERNEL_TIMEOUT: 504,
};

/** The REST interface: what the page and scripts ask once, beside what they follow over the WebSocket. */
export const registerApi = (app: FastifyInstance, { client, data, authenticate }: ApiOptions): void => {
  const need = (scope: Scope) => async (request: FastifyRequest, reply: FastifyReply) => {
    if (allows(authenticate, bearerToken(request.headers.authorization), scope)) return;
    await reply.code(401).send({
      error: { code: "CONSOLE_UNAUTHORIZED", message: `this needs a token with the scope "${scope}"` },
    });
  };
  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof DOMException && error.name === "TimeoutError") {
      const message = `the cluster did not answer within ${CALL_TIMEOUT_MS} ms; try again`;
      return reply.code(504).send({ error: { code: "CONSOLE_TIMEOUT", message, retryable: true } });
    }
    const wire = toWireError(error);
    const own = isHoldfastError(error);
    const status =
      HTTP_STATUS[wire.code] ??
      (own ? (wire.retryable ? 503 : 422) : ((error as { statusCode?: number }).statusCode ?? 500));
    if (wire.retryAfterMs !== undefined) reply.header("retry-after", Math.ceil(wire.retryAfterMs / 1000));
    return reply.code(status).send({ error: wire });
  });

  app.get("/health/live", async () => ({ status: "ok" }));
  app.get("/health/ready", async (_request, reply) => {
    try {
      await client.cluster(bounded());
      return { status: "ok" };
    } catch (error) {
      return reply.code(503).send({ status: "unavailable", error: toWireError(error) });
    }
  });
  app.get("/api/cluster", { preHandler: need("read") }, () => client.cluster(bounded()));
  app.get("/api/data", { preHandler: need("read") }, async (_request, reply) => {
    if (data !== undefined) return data.look(AbortSignal.timeout(CALL_TIMEOUT_MS));
    const message = "this console was started without a database to look at";
    return reply.code(404).send({ error: { code: "CONSOLE_NOT_FOUND", message } });
  });
  app.get<{ Querystring: Readonly<Record<string, unknown>> }>(
    "/api/jobs",
    { preHandler: need("read") },
    async ({ query }) => {
      const [limit, search, cursor, status] = ["limit", "search", "cursor", "status"].map((name) =>
        onlyOne(name, query[name]),
      );
      return client.list({
        ...bounded(),
        limit: Math.min(1000, Math.max(1, Math.floor(Number(limit ?? 50)) || 50)),
        ...(search ? { search } : {}),
        ...(cursor ? { cursor } : {}),
        ...(status ? { statuses: status.split(",") as JobStatus[] } : {}),
      });
    },
  );
  app.get<{ Params: { id: string } }>("/api/jobs/:id", { preHandler: need("read") }, ({ params }) =>
    client.get(params.id, bounded()),
  );
  app.get<{ Querystring: { a?: unknown; b?: unknown; level?: unknown } }>(
    "/api/compare",
    { preHandler: need("read") },
    async ({ query }, reply) => {
      const [a, b] = [jobIdOf("a", query.a), jobIdOf("b", query.b)];
      // A question about its state is answered at once; one for the result would wait for the end.
      const views = await Promise.all([client.get(a, bounded()), client.get(b, bounded())]);
      const open = views.find(({ finishedAt }) => finishedAt === undefined);
      if (open !== undefined) {
        const message = `${open.jobId} is ${open.status}; only what has ended can be compared`;
        return reply.code(409).send({ error: { code: "CONSOLE_NOT_ENDED", message, retryable: true } });
      }
      const [resultA, resultB] = await Promise.all(
        [a, b].map((jobId) => client.result(jobId, { ...bounded(), timeoutMs: CALL_TIMEOUT_MS })),
      );
      const level = query.level === undefined ? {} : { level: Number(query.level) as SignificanceLevel };
      return compareResults(resultA as JobResult, resultB as JobResult, level);
    },
  );
  app.post<{ Body: Omit<SubmitOptions, "signal"> }>(
    "/api/jobs",
    { preHandler: need("submit") },
    async ({ body }, reply) => reply.code(201).send(await client.submit({ ...body, ...bounded() })),
  );
  app.post<{ Params: { id: string }; Body: { workflowId?: string; reason?: string } | undefined }>(
    "/api/jobs/:id/cancel",
    { preHandler: need("cancel") },
    ({ params, body }) =>
      client.cancel(params.id, {
        ...bounded(),
        reason: body?.reason ?? "cancelled from the console",
        ...(body?.workflowId === undefined ? {} : { workflowId: body.workflowId }),
      }),
  );
  app.get<{ Params: { id: string; format: string } }>(
    "/api/jobs/:id/report/:format",
    { preHandler: need("read") },
    async ({ params }, reply) => {
      const result = await client.result(params.id, { ...bounded(), timeoutMs: CALL_TIMEOUT_MS });
      const report = renderReport(result, params.format);
      if (report === undefined) {
        return reply.code(404).send({
          error: {
            code: "CONSOLE_NOT_FOUND",
            message: `reports come as json, csv and xml, not as ${params.format}`,
          },
        });
      }
      return reply
        .header("content-type", report.contentType)
        .header("content-disposition", `attachment; filename*=UTF-8''${encodeURIComponent(report.fileName)}`)
        .send(report.body);
    },
  );
};

const onlyOne = (name: string, value: unknown): string | undefined => {
  if (value === undefined || typeof value === "string") return value;
  throw new InvalidInputError(name, value, "given once");
};

const jobIdOf = (side: "a" | "b", value: unknown): string => {
  if (typeof value === "string" && value !== "") return value;
  throw new InvalidInputError(side, value, "the id of a job");
};

const bounded = (): { readonly signal: AbortSignal } => ({ signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
