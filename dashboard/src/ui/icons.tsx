// Icons, drawn here: strokes of one width in a field of 16 by 16.
const PATHS = {
  overview: "M2 9.500 8 3l6 6.500M4 8v5.500h8V8",
  functions: "M11.500 2.500c-2 0-2.700 1-3 3L7 12c-.300 1.500-1 2-2.500 2M5.500 6.500h5",
  live: "M1.500 8h3l2-5 3 10 2-5h3",
  invocations: "M2.500 4h11M2.500 8h7M2.500 12h9",
  compare: "M3 13V7M8 13V3M13 13V9.500",
  schedules: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.500V8l2.500 1.500",
  queue: "M2.500 3.500h11v3h-11zM2.500 9.500h11v3h-11z",
  secrets: "M10.500 2.500a3 3 0 1 0-2.600 4.500L2.500 12.400V14H5v-1.500h1.500V11l2.600-2.600a3 3 0 0 0 1.400-5.900Z",
  settings: "M8 10.200a2.200 2.200 0 1 0 0-4.400 2.200 2.200 0 0 0 0 4.400ZM8 1.800v2M8 12.200v2M1.800 8h2M12.200 8h2M3.600 3.600 5 5M11 11l1.400 1.400M12.400 3.600 11 5M5 11l-1.400 1.400",
  search: "M7 11.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9ZM10.300 10.300 14 14",
  plus: "M8 3v10M3 8h10",
  play: "M5 3.200v9.600L12.500 8Z",
  pause: "M5.500 3.500v9M10.500 3.500v9",
  stop: "M4 4h8v8H4Z",
  close: "M4 4l8 8M12 4l-8 8",
  check: "M3 8.500 6.500 12 13 4.500",
  warn: "M8 2.500 14.500 13.500h-13ZM8 6.500v3.500M8 11.800v.200",
  trash: "M3 4.500h10M6 4.500V3h4v1.500M4.500 4.500 5 13.500h6l.500-9",
  copy: "M5.500 5.500h8v8h-8zM10.500 5.500v-3h-8v8h3",
  file: "M4 2.500h5l3 3v8H4ZM9 2.500v3h3",
  folder: "M2 4h4.500l1.500 1.500h6v7H2Z",
  upload: "M8 11V3M4.500 6.500 8 3l3.500 3.500M3 13.500h10",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1.500V3M8 13v1.500M1.500 8H3M13 8h1.500M3.400 3.400l1 1M11.600 11.600l1 1M12.600 3.400l-1 1M4.400 11.600l-1 1",
  moon: "M13 9.500A5.500 5.500 0 0 1 6.500 3a5.500 5.500 0 1 0 6.500 6.500Z",
  menu: "M2.500 4.500h11M2.500 8h11M2.500 11.500h11",
  out: "M6 3H3v10h3M7 8h6.500M11 5.500 13.500 8 11 10.500",
  arrow: "M3 8h10M9.500 4.500 13 8l-3.500 3.500",
  refresh: "M13 8a5 5 0 1 1-1.500-3.600M13 2v3h-3",
  bolt: "M9 1.500 3.500 9H8l-1 5.500L12.500 7H8Z",
  versions: "M5.500 5.500h8v8h-8zM3.500 11V3.500H11",
  back: "M6.500 3.500 3 7l3.500 3.500M3 7h6.500a3.500 3.500 0 0 1 0 7H7",
  bird: "M2 9.500c2 0 3-1 4-3s2.500-3.500 5-3.500c1.500 0 2.500 1 2.500 2.500L14.500 7h-1.500c0 4-2.500 6-6 6H4l1.500-2c-1.500 0-3-.500-3.500-1.500ZM10.500 5.500v.100",
  triggers: "M2 4.500h4.500L9 8l-2.500 3.500H2M9 8h5M11.500 5.500 14 8l-2.500 2.500",
  messages: "M2.500 4h11v8h-11ZM2.500 4.500 8 9l5.500-4.500",
  tokens: "M2.500 5h11v6.500h-11ZM5 8.200h2M9 8.200h2",
  snow: "M8 2v12M2.800 5l10.400 6M13.200 5 2.800 11",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Flame({ size = 22 }: { size?: number }) {
  return <img src="/flame.svg" width={size} height={size} alt="" />;
}
