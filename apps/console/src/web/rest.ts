import { storedToken } from "./token.ts";

/** Calls the REST interface; a refusal becomes an Error with the server's message. */
export const call = async <T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> => {
  const token = storedToken();
  const response = await fetch(path, {
    method,
    headers: {
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer: unknown = await response.json();
  if (!response.ok)
    throw new Error(
      (answer as { error?: { message?: string } }).error?.message ?? `the server answered ${response.status}`,
    );
  return answer as T;
};

/** Saves a report as a file, also where a token is needed (a plain link could not send it). */
export const downloadReport = async (jobId: string, format: string): Promise<void> => {
  const token = storedToken();
  const response = await fetch(`/api/jobs/${encodeURIComponent(jobId)}/report/${format}`, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  });
  if (!response.ok) throw new Error(`the report could not be made (${response.status})`);
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = `${jobId}.${format}`;
  link.click();
  URL.revokeObjectURL(url);
};
