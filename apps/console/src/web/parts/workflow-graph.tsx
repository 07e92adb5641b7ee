import type { ReactNode } from "react";

export interface GraphNode {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly detail: string;
  /** Names of nodes that come before. */
  readonly dependsOn: readonly string[];
}

const WIDTH = 190;
const HEIGHT = 56;
const GAP_X = 56;
const GAP_Y = 18;

/** Workflows as boxes, left to right in the order in which they can run. */
export const WorkflowGraph = ({ nodes }: { readonly nodes: readonly GraphNode[] }): ReactNode => {
  const layers = layerOf(nodes);
  const rows = new Map<number, number>();
  const places = new Map<string, { readonly x: number; readonly y: number; readonly node: GraphNode }>();
  for (const node of nodes) {
    const layer = layers.get(node.name) ?? 0;
    const row = rows.get(layer) ?? 0;
    rows.set(layer, row + 1);
    places.set(node.name, { x: layer * (WIDTH + GAP_X), y: row * (HEIGHT + GAP_Y), node });
  }
  const width = (Math.max(0, ...layers.values()) + 1) * (WIDTH + GAP_X) - GAP_X;
  const height = Math.max(1, ...rows.values()) * (HEIGHT + GAP_Y) - GAP_Y;
  return (
    <div className="graph">
      <svg
        width={width + 2}
        height={height + 2}
        viewBox={`-1 -1 ${width + 2} ${height + 2}`}
        role="img"
        aria-label={describe(nodes)}
      >
        {[...places.values()].flatMap(({ node, x, y }) =>
          node.dependsOn.flatMap((name) => {
            const from = places.get(name);
            if (from === undefined) return [];
            const [x1, y1, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, y + HEIGHT / 2];
            const bend = GAP_X / 2;
            return [
              <path
                key={`${name} ${node.name}`}
                className="edge"
                d={`M${x1} ${y1} C${x1 + bend} ${y1} ${x - bend} ${y2} ${x} ${y2}`}
              />,
            ];
          }),
        )}
        {[...places.values()].map(({ node, x, y }) => (
          <g key={node.id} transform={`translate(${x} ${y})`} className={`node ${node.status}`}>
            <rect width={WIDTH} height={HEIGHT} rx="8" />
            <text x="14" y="23" className="name">
              {node.name.length > 22 ? `${node.name.slice(0, 21)}…` : node.name}
            </text>
            <text x="14" y="42" className="detail">
              {node.detail}
            </text>
          </g>
        ))}
      </svg>
    </div>
  );
};

/** How many steps come before each node at the longest. Cycles cannot be submitted; a bound keeps them harmless. */
const layerOf = (nodes: readonly GraphNode[]): ReadonlyMap<string, number> => {
  const layers = new Map(nodes.map((node) => [node.name, 0]));
  for (let round = 0; round < nodes.length; round += 1) {
    let changed = false;
    for (const node of nodes) {
      const layer = Math.max(0, ...node.dependsOn.map((name) => (layers.get(name) ?? -1) + 1));
      if (layer > (layers.get(node.name) ?? 0)) {
        layers.set(node.name, layer);
        changed = true;
      }
    }
    if (!changed) break;
  }
  return layers;
};

const describe = (nodes: readonly GraphNode[]): string =>
  nodes
    .map(
      (node) =>
        `${node.name} is ${node.status}${node.dependsOn.length === 0 ? "" : `, after ${node.dependsOn.join(" and ")}`}`,
    )
    .join("; ");
