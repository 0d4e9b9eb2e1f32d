// A chart over time. The library is loaded when the first one is shown.
import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { themeChanged } from "./theme";

export interface Line {
  label: string;
  values: Array<number | null>;
  /** A colour of the theme: `ember`, `bad`, `cold`, `good`, `warn`. */
  tone: string;
  fill?: boolean;
}

export function Chart(props: { label: string; at: number[]; lines: Line[]; show: (value: number) => string; height?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const [theme, setTheme] = useState(0);
  const height = props.height ?? 150;
  const shape = props.lines.map((line) => `${line.label}/${line.tone}`).join();

  useEffect(() => themeChanged(() => setTheme((n) => n + 1)), []);

  useEffect(() => {
    const host = box.current;
    if (!host) return;
    let gone = false;
    const left = () => plot.current && tellLatest(plot.current);
    const watch = new ResizeObserver(() => plot.current?.setSize({ width: host.clientWidth, height }));
    void import("uplot").then(({ default: Plot }) => {
      if (gone) return;
      const style = getComputedStyle(host);
      const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
      const axis: uPlot.Axis = {
        stroke: colour("text-3"),
        grid: { stroke: colour("line"), width: 1 },
        ticks: { show: false },
        font: "11px system-ui, sans-serif",
      };
      const options: uPlot.Options = {
        width: host.clientWidth,
        height,
        padding: [10, 18, 0, 0],
        // Drawing forgets what the legend told.
        hooks: { draw: [(drawn) => tellLatest(drawn)] },
        legend: { show: true, live: true },
        cursor: { points: { size: 6 }, drag: { x: false, y: false } },
        scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.15 : 1] } },
        axes: [
          { ...axis, size: 26, values: [[3600, "{HH}:{mm}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]].map(([step, text]) => [step, text, null, null, null, null, null, null, 1]) as uPlot.Axis.Values },
          { ...axis, size: 56, values: (_, ticks) => ticks.map((tick) => latest.current.show(tick)) },
        ],
        series: [
          { value: (_, at) => (at === null ? "" : new Date(at * 1000).toLocaleTimeString("en-GB")) },
          ...latest.current.lines.map((line): uPlot.Series => ({
            label: line.label,
            stroke: colour(line.tone),
            width: 1.6,
            ...(line.fill ? { fill: colour(`${line.tone}-soft`) } : {}),
            // A value between two that are not there makes no line: it is a point.
            points: { show: true, size: 4, fill: colour(line.tone), filter: (plot, series) => alone(plot.data[series] ?? []) },
            spanGaps: false,
            value: (_, value) => (value === null ? "–" : latest.current.show(value)),
          })),
        ],
      };
      plot.current = new Plot(options, data(latest.current), host);
      host.addEventListener("mouseleave", left);
      watch.observe(host);
    });
    return () => {
      gone = true;
      host.removeEventListener("mouseleave", left);
      watch.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape, height, theme]);

  useEffect(() => plot.current?.setData(data(props)), [props.at, props.lines]);

  const summary = props.lines.map((line) => {
    const last = line.values.findLast((value) => value !== null);
    return `${line.label}: ${last === undefined || last === null ? "nothing" : props.show(last)}`;
  });
  return <div ref={box} class="chart" role="img" aria-label={`${props.label}; latest ${summary.join(", ")}`} style={{ minHeight: `${height + 30}px` }} />;
}

/** The legend tells the newest values, unless one points at others. */
function tellLatest(plot: uPlot): void {
  if (typeof plot.cursor.idx === "number") return;
  const values = plot.data.slice(1);
  for (let at = plot.data[0].length - 1; at >= 0; at--) if (values.some((one) => typeof one[at] === "number")) return plot.setLegend({ idx: at });
}

/** Where values stand between two that are not there. */
function alone(values: ArrayLike<number | null | undefined>): number[] {
  const there = (at: number) => typeof values[at] === "number";
  return Array.from({ length: values.length }, (_, at) => at).filter((at) => there(at) && !there(at - 1) && !there(at + 1));
}

function data(props: { at: number[]; lines: Line[] }): uPlot.AlignedData {
  return [props.at, ...props.lines.map((line) => line.values)];
}
