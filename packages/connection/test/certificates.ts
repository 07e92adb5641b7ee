import { readFileSync } from "node:fs";

const read = (name: string): string =>
  readFileSync(new URL(`./certificates/${name}`, import.meta.url), "utf8");

export const certificates = {
  authority: read("authority.cert.pem"),
  stranger: read("stranger.cert.pem"),
  server: { certificate: read("server.cert.pem"), key: read("server.key.pem") },
  client: { certificate: read("client.cert.pem"), key: read("client.key.pem") },
  expired: { certificate: read("expired.cert.pem"), key: read("expired.key.pem") },
  early: { certificate: read("early.cert.pem"), key: read("early.key.pem") },
  impostor: { certificate: read("impostor.cert.pem"), key: read("impostor.key.pem") },
};
