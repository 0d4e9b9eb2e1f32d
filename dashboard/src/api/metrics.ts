// The shapes of metrics, as the server tells them.

export interface Spread {
  count: number;
  sum_us: number;
  p50_us: number;
  p90_us: number;
  p99_us: number;
  max_us: number;
}

export interface States {
  starting: number;
  idle: number;
  frozen: number;
  busy: number;
}

export interface Total {
  calls: number;
  errors: number;
  throttles: number;
  cold: number;
  faults: Record<string, number>;
  duration: Spread | null;
  init: Spread | null;
  queue: Spread | null;
  /** Over networks of instances: not requests and answers. */
  sent_bytes: number;
  received_bytes: number;
  memory_peak: number | null;
  gb_seconds: number;
  /** In the currency of the price, where there is one. */
  cost: number | null;
  concurrency: number;
  instances: States;
}

export interface Point extends Total {
  /** Seconds since 1970, the bucket's beginning. */
  at: number;
  seconds: number;
}

export interface Series {
  key: string;
  total: Total;
  points: Point[];
}

export interface Metrics {
  from: number;
  to: number;
  step: number;
  price: { name: string; currency: string; gb_second: number; request: number } | null;
  series: Series[];
}

export interface Overview {
  at_us: number;
  window: number;
  functions: Array<{ function: string; calls_per_second: number; figures: Total; instances: States }>;
  all: Total;
  memory: { budget: number; used: number };
  instances: States;
  stems: { ready: number; starting: number };
  dropped: number;
}

/** One value for each step from `from` to `to`; what is not there is nothing, or zero. */
export function line(metrics: Metrics, points: Point[], value: (point: Point) => number | null, absent: number | null): [number[], Array<number | null>] {
  const by = new Map(points.map((point) => [point.at, value(point)]));
  const at: number[] = [];
  const values: Array<number | null> = [];
  const first = Math.ceil(metrics.from / metrics.step) * metrics.step;
  for (let time = first; time < metrics.to; time += metrics.step) {
    at.push(time);
    values.push(by.get(time) ?? absent);
  }
  return [at, values];
}
