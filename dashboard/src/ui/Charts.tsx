// The charts of a function or of all: calls and errors, duration, cold starts, what runs at once, what it costs, and what goes
// over networks.
import { useMemo } from "preact/hooks";
import { ApiError } from "../api/client";
import { line, type Metrics, type Point, type Series } from "../api/metrics";
import { api } from "../api/paths";
import { useRead } from "../api/use";
import { billed, bytes, count, micros, money, percent } from "../lib/format";
import { Chart, type Line } from "./Chart";
import { Card, Empty, ErrorBox, Skeleton } from "./parts";

export const SPANS = [
  { id: "15m", label: "15 minutes" },
  { id: "1h", label: "1 hour" },
  { id: "6h", label: "6 hours" },
  { id: "1d", label: "1 day" },
  { id: "7d", label: "7 days" },
];

interface Drawn {
  title: string;
  hint: string;
  lines: Array<{ label: string; tone: string; fill?: boolean; value: (point: Point) => number | null; absent: number | null }>;
  show: (value: number) => string;
}

const rate = (value: number) => (value === 0 ? "0" : value < 1 ? value.toFixed(2) : count(value));

/** Amounts may be tiny, and an axis is narrow. */
const short = (value: number) => (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : billed(value));

function drawn(series: Series, price: Metrics["price"]): Drawn[] {
  const { total } = series;
  const per = (value: (point: Point) => number) => (point: Point) => value(point);
  return [
    {
      title: "Calls",
      hint: `${count(total.calls)} calls, ${percent(total.errors, total.calls)} failed`,
      show: rate,
      lines: [
        { label: "calls", tone: "ember", fill: true, value: per((point) => point.calls), absent: 0 },
        { label: "errors", tone: "bad", value: per((point) => point.errors), absent: 0 },
        { label: "throttled", tone: "warn", value: per((point) => point.throttles), absent: 0 },
      ],
    },
    {
      title: "Duration",
      hint: total.duration ? `p50 ${micros(total.duration.p50_us)}, p99 ${micros(total.duration.p99_us)}` : "no calls",
      show: micros,
      lines: [
        { label: "p50", tone: "good", value: (point) => point.duration?.p50_us ?? null, absent: null },
        { label: "p90", tone: "warn", value: (point) => point.duration?.p90_us ?? null, absent: null },
        { label: "p99", tone: "bad", value: (point) => point.duration?.p99_us ?? null, absent: null },
      ],
    },
    {
      title: "Cold starts",
      hint: total.init ? `${count(total.cold)}, p50 ${micros(total.init.p50_us)}` : "none",
      show: rate,
      lines: [{ label: "cold starts", tone: "cold", fill: true, value: (point) => point.cold, absent: 0 }],
    },
    {
      title: "At once",
      hint: "calls that run, and instances",
      show: rate,
      lines: [
        { label: "calls", tone: "ember", value: (point) => point.concurrency, absent: 0 },
        { label: "instances", tone: "cold", fill: true, value: (point) => point.instances.idle + point.instances.busy + point.instances.frozen + point.instances.starting, absent: 0 },
      ],
    },
    {
      title: "Cost",
      hint: price ? `${billed(total.gb_seconds)} GB-s, ${money(total.cost)} ${price.currency} at ${price.name}` : `${billed(total.gb_seconds)} GB-s; hearth prices sets what they cost`,
      show: short,
      lines: [
        price
          ? { label: price.currency, tone: "ember", fill: true, value: (point) => point.cost, absent: 0 }
          : { label: "GB-s", tone: "ember", fill: true, value: (point) => point.gb_seconds, absent: 0 },
      ],
    },
    ...network(total),
  ];
}

/** Most functions have none. */
function network(total: Series["total"]): Drawn[] {
  if (total.sent_bytes + total.received_bytes === 0) return [];
  return [
    {
      title: "Network",
      hint: `${bytes(total.sent_bytes)} sent, ${bytes(total.received_bytes)} received; not requests and answers`,
      show: bytes,
      lines: [
        { label: "sent", tone: "ember", fill: true, value: (point) => point.sent_bytes, absent: 0 },
        { label: "received", tone: "cold", value: (point) => point.received_bytes, absent: 0 },
      ],
    },
  ];
}

export function Charts({ name, span, only }: { name?: string | undefined; span: string; only?: number }) {
  const reading = useRead<Metrics>(api.metrics({ function: name, from: span }), 5000);
  const metrics = reading.data;
  const charts = useMemo(() => {
    const series = metrics?.series[0];
    if (!metrics || !series) return [];
    return drawn(series, metrics.price)
      .slice(0, only)
      .map((chart) => {
        const lines: Line[] = [];
        let at: number[] = [];
        for (const each of chart.lines) {
          const [times, values] = line(metrics, series.points, each.value, each.absent);
          at = times;
          lines.push({ label: each.label, tone: each.tone, values, ...(each.fill ? { fill: true } : {}) });
        }
        return { ...chart, at, lines };
      });
  }, [metrics, only]);

  if (reading.error instanceof ApiError && reading.error.status === 404 && !metrics)
    return (
      <p class="notice">This server keeps no metrics: its version has none at /api/v1/metrics, and charts need them. Invocations and logs are there.</p>
    );
  if (!metrics) return reading.error ? <ErrorBox error={reading.error} again={reading.again} /> : <Card title="Charts"><Skeleton lines={5} /></Card>;
  if (charts.length === 0)
    return (
      <Card title="Charts">
        <Empty icon="live" title="Nothing was called in this time" {...(name ? { command: `hearth invoke ${name}` } : {})}>
          The first call shows here within ten seconds.
        </Empty>
      </Card>
    );
  return (
    <div class="charts">
      {charts.map((chart) => (
        <Card key={chart.title} title={chart.title} hint={chart.hint}>
          <Chart label={chart.title} at={chart.at} lines={chart.lines} show={chart.show} />
        </Card>
      ))}
    </div>
  );
}
