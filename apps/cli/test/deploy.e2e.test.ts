import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Cluster } from "@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1/Cluster";
import { Deployment } from "kubernetes-models/apps/v1/Deployment";
import { StatefulSet } from "kubernetes-models/apps/v1/StatefulSet";
import { NetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget";
import { Namespace } from "kubernetes-models/v1/Namespace";
import { Service } from "kubernetes-models/v1/Service";
import { describe, expect, it } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { runHoldfast } from "./holdfast-command.ts";

const DEPLOY = fileURLToPath(new URL("../../../deploy", import.meta.url));
const SECRETS = ["node.crt", "node.key", "ca.crt", "tokens.json"];

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec?: Record<string, unknown>;
}

const MODELS: Readonly<Record<string, new (data: never) => { validate(): void }>> = {
  "apps/v1 Deployment": Deployment,
  "apps/v1 StatefulSet": StatefulSet,
  "networking.k8s.io/v1 NetworkPolicy": NetworkPolicy,
  "policy/v1 PodDisruptionBudget": PodDisruptionBudget,
  "postgresql.cnpg.io/v1 Cluster": Cluster,
  "v1 Namespace": Namespace,
  "v1 Service": Service,
};

const manifests = readdirSync(`${DEPLOY}/kubernetes`)
  .filter((file) => file !== "kustomization.yaml")
  .flatMap((file) =>
    parseAllDocuments(readFileSync(`${DEPLOY}/kubernetes/${file}`, "utf8")).map((document) => {
      expect(document.errors).toEqual([]);
      return { file, manifest: document.toJS() as Manifest };
    }),
  );

interface PodSpec {
  readonly containers: readonly {
    readonly name: string;
    readonly image: string;
    readonly args: readonly string[];
    readonly ports?: readonly { readonly name: string }[];
    readonly volumeMounts: readonly { readonly name: string }[];
  }[];
  readonly volumes?: readonly { readonly name: string }[];
}

const podOf = (manifest: Manifest): PodSpec | undefined =>
  (manifest.spec?.["template"] as { spec: PodSpec } | undefined)?.spec;

const known = new Map<string, Promise<ReadonlySet<string>>>();

/** The flags that a role's help lists. */
const flagsOf = (role: string): Promise<ReadonlySet<string>> => {
  const flags =
    known.get(role) ??
    runHoldfast([role, "--help"]).then(({ output }) => new Set(output.match(/--[a-z-]+/g) ?? []));
  known.set(role, flags);
  return flags;
};

const expectKnownFlags = async (role: string, args: readonly string[]): Promise<void> => {
  const flags = await flagsOf(role);
  for (const arg of args) {
    const [flag = ""] = arg.split("=");
    expect(flags, `holdfast ${role} ${arg}`).toContain(flag);
    if (arg.includes("/secrets/")) expect(SECRETS).toContain(arg.split("/secrets/")[1]);
  }
};

describe("the Kubernetes manifests", () => {
  it.each(
    manifests.map(({ file, manifest }) => [`${manifest.kind} ${manifest.metadata.name}`, file, manifest]),
  )("fit the schema: %s of %s", (_name, _file, manifest) => {
    const { apiVersion, kind } = manifest as Manifest;
    const Model = MODELS[`${apiVersion} ${kind}`];
    if (Model === undefined) throw new Error(`there is no schema for ${apiVersion} ${kind}`);
    new Model(manifest as never).validate();
  });

  it("refuse what does not fit: the check can fail", () => {
    const broken = manifests.find(({ manifest }) => manifest.kind === "StatefulSet")?.manifest;
    const copy = structuredClone(broken) as unknown as { spec: { replicas: unknown } };
    copy.spec.replicas = "three";
    expect(() => new StatefulSet(copy as never).validate()).toThrow(/replicas/);
  });

  it("are all in the kustomization, and name volumes and flags that exist", async () => {
    const { resources } = parse(readFileSync(`${DEPLOY}/kubernetes/kustomization.yaml`, "utf8")) as {
      resources: string[];
    };
    expect(resources.toSorted()).toEqual([...new Set(manifests.map(({ file }) => file))].toSorted());
    const roles: string[] = [];
    for (const { manifest } of manifests) {
      const pod = podOf(manifest);
      const claims = (manifest.spec?.["volumeClaimTemplates"] ?? []) as { metadata: { name: string } }[];
      const volumes = [
        ...(pod?.volumes ?? []).map(({ name }) => name),
        ...claims.map(({ metadata }) => metadata.name),
      ];
      for (const { image, args, volumeMounts } of pod?.containers ?? []) {
        for (const { name } of volumeMounts) expect(volumes).toContain(name);
        if (image !== "holdfast") continue;
        const [role = "", ...flags] = args;
        roles.push(role);
        await expectKnownFlags(role, flags);
      }
    }
    expect(roles.toSorted()).toEqual(["gate", "manager", "worker"]);
  });

  it("let something reach every service, and name ports that it has", () => {
    interface Policy {
      readonly podSelector: { readonly matchLabels?: Readonly<Record<string, string>> };
      readonly ingress?: readonly { readonly ports?: readonly { readonly port: string }[] }[];
    }
    const specs = (kind: string) =>
      manifests.filter(({ manifest }) => manifest.kind === kind).map(({ manifest }) => manifest.spec);
    const policies = specs("NetworkPolicy") as unknown as readonly Policy[];
    const services = specs("Service") as unknown as readonly {
      readonly selector: Readonly<Record<string, string>>;
      readonly ports: readonly { readonly name: string }[];
    }[];
    for (const { selector, ports } of services) {
      const name = selector["app.kubernetes.io/name"];
      const open = policies
        .filter(({ podSelector }) => podSelector.matchLabels?.["app.kubernetes.io/name"] === name)
        .flatMap(({ ingress = [] }) => ingress.flatMap((rule) => rule.ports ?? []))
        .map(({ port }) => port);
      expect(open, name).toEqual(expect.arrayContaining(ports.map((port) => port.name)));
    }
  });
});

describe("the image", () => {
  it("carries no secrets of a deployment", () => {
    const ignored = readFileSync(`${DEPLOY}/image/Dockerfile.dockerignore`, "utf8").split("\n");
    const compose = readFileSync(`${DEPLOY}/compose/compose.yaml`, "utf8");
    expect(compose).toContain("deploy/make-secrets deploy/compose/secrets");
    expect(ignored).toContain("deploy");
    expect(ignored.filter((line) => line.startsWith("!"))).toEqual([]);
  });
});

describe("the Compose file", () => {
  interface ComposeService {
    readonly image: string;
    readonly command?: readonly string[];
    readonly depends_on?: readonly string[];
    readonly networks: readonly string[];
    readonly volumes?: readonly string[];
    readonly ports?: readonly string[];
  }
  const compose = parse(readFileSync(`${DEPLOY}/compose/compose.yaml`, "utf8"), { merge: true }) as {
    services: Record<string, ComposeService>;
    networks: Record<string, unknown>;
    volumes: Record<string, unknown>;
  };

  it("names services, networks, volumes and flags that exist", async () => {
    const names = Object.keys(compose.services);
    const roles: string[] = [];
    for (const service of Object.values(compose.services)) {
      for (const other of service.depends_on ?? []) expect(names).toContain(other);
      for (const network of service.networks) expect(Object.keys(compose.networks)).toContain(network);
      for (const volume of service.volumes ?? []) {
        const [source = ""] = volume.split(":");
        if (!source.startsWith(".")) expect(Object.keys(compose.volumes)).toContain(source);
      }
      if (!service.image.startsWith("holdfast:")) continue;
      const [role = "", ...flags] = service.command ?? [];
      roles.push(role);
      await expectKnownFlags(role, flags);
    }
    expect(roles.toSorted()).toEqual(["gate", "gate", "manager", "manager", "manager", "worker", "worker"]);
  });

  it("opens only ports with TLS to other machines", () => {
    for (const { ports = [], command = [] } of Object.values(compose.services))
      for (const port of ports.filter((text) => !text.startsWith("127.0.0.1:"))) {
        expect(command).toContain(`--listen=0.0.0.0:${port.split(":").at(-1)}`);
        expect(command.some((flag) => flag.startsWith("--tls-key="))).toBe(true);
      }
  });

  it("dials only hosts that are there", () => {
    const names = Object.keys(compose.services);
    const proxy = readFileSync(`${DEPLOY}/compose/haproxy.cfg`, "utf8");
    for (const [, host] of proxy.matchAll(/^\s+server \S+ ([^:\s]+):/gm)) expect(names).toContain(host);
    for (const { command } of Object.values(compose.services)) {
      for (const [, host] of (command ?? []).join(" ").matchAll(/(?:=|,)([a-z]+\d):\d+/g)) {
        expect(names).toContain(host);
      }
    }
  });
});
