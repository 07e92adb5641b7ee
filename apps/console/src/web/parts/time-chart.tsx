import { type ReactNode, useEffect, useRef, useSyncExternalStore } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export interface Series {
  readonly label: string;
  /** A CSS variable, so that the theme decides. */
  readonly color: string;
  readonly values: readonly (number | null)[];
}

const CHART_HEIGHT = 180;

const clockTime = (seconds: number): string => new Date(seconds * 1000).toLocaleTimeString("en-GB");

/** Steps of the time axis, in seconds: none below one, since a label is a time of day to the second. */
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];

/** A small live chart over time. `times` are seconds since the epoch, shared by all series. */
export const TimeChart = (props: {
  readonly title: string;
  readonly times: readonly number[];
  readonly series: readonly Series[];
  readonly format: (value: number) => string;
}): ReactNode => {
  const holder = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  const { format } = props;
  const theme = useSyncExternalStore(onThemeChange, currentTheme);
  const shape = props.series.map((series) => `${series.label} ${series.color}`).join("|");

  // biome-ignore lint/correctness/useExhaustiveDependencies: the chart is rebuilt only when its series change; data goes in below
  useEffect(() => {
    const element = holder.current;
    if (element === null) return undefined;
    const color = (name: string): string => resolveColor(element, name);
    const axis = {
      stroke: color("--muted"),
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui",
    };
    const plot = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height: CHART_HEIGHT,
        cursor: { y: false, points: { size: 6 } },
        legend: { live: true },
        scales: { y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [
          { ...axis, incrs: TIME_STEPS, space: 70, values: (_plot, values) => values.map(clockTime) },
          { ...axis, size: 64, values: (_plot, values) => values.map((value) => format(value)) },
        ],
        series: [
          {
            label: "time",
            value: (_plot, value) => (value === null ? "–" : clockTime(value)),
          },
          ...props.series.map((series) => ({
            label: series.label,
            stroke: color(series.color),
            width: 1.75,
            points: { show: false },
            spanGaps: true,
            value: (_plot: uPlot, value: number | null) => (value === null ? "–" : format(value)),
          })),
        ],
      },
      toData(props.times, props.series),
      element,
    );
    chart.current = plot;
    const resize = new ResizeObserver(() =>
      plot.setSize({ width: Math.max(200, element.clientWidth), height: CHART_HEIGHT }),
    );
    resize.observe(element);
    return () => {
      resize.disconnect();
      plot.destroy();
      chart.current = undefined;
    };
  }, [shape, theme]);

  useEffect(() => {
    chart.current?.setData(toData(props.times, props.series));
  }, [props.times, props.series]);

  return (
    <figure className="chart">
      <figcaption>{props.title}</figcaption>
      <div ref={holder} />
    </figure>
  );
};

const toData = (times: readonly number[], series: readonly Series[]): uPlot.AlignedData =>
  [[...times], ...series.map(({ values }) => [...values])] as uPlot.AlignedData;

/** A canvas cannot follow CSS variables: the colour that a variable stands for under the theme of now. */
const resolveColor = (element: HTMLElement, name: string): string => {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
};

const darkScheme = matchMedia("(prefers-color-scheme: dark)");

const currentTheme = (): string =>
  document.documentElement.dataset.theme ?? (darkScheme.matches ? "dark" : "light");

const onThemeChange = (listener: () => void): (() => void) => {
  const observer = new MutationObserver(listener);
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  darkScheme.addEventListener("change", listener);
  return () => {
    observer.disconnect();
    darkScheme.removeEventListener("change", listener);
  };
};
