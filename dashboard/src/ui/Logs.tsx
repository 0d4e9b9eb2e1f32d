// Log lines: a list that follows, can be held, searched and filtered. Everything in it is text.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { follow } from "../api/records";
import type { LogLineView } from "../api/schema";
import { clock, plural, short } from "../lib/format";
import { hue } from "../lib/hue";
import { readLine } from "../lib/logline";
import { to } from "../router";
import { Button } from "./parts";

/** Lines that are kept; older ones are at the server. */
const KEEP = 2000;
const DRAWN = 400;

export function LogLines({ lines, withFunction, empty }: { lines: LogLineView[]; withFunction?: boolean; empty?: string }) {
  if (lines.length === 0) return <p class="logs-empty">{empty ?? "No lines."}</p>;
  return (
    <ol class="log-lines">
      {lines.map((line, at) => (
        <li key={`${line.time}${at}`} class={`log ${line.level ?? ""}`}>
          <time dateTime={line.time}>{clock(line.time)}</time>
          <span class={`log-who hue${hue(line.instance)}`} title={`instance ${line.instance}`}>
            {withFunction ? line.function : line.instance.slice(0, 6)}
          </span>
          {line.level && <span class="log-level">{line.level}</span>}
          <Message text={line.message} />
          {line.request_id && (
            <a class="log-call" href={to.invocation(line.request_id)} title={`invocation ${line.request_id}`}>
              {short(line.request_id, 6)}
            </a>
          )}
        </li>
      ))}
    </ol>
  );
}

function Message({ text }: { text: string }) {
  const { message, fields } = readLine(text);
  return (
    <span class="log-text" title={fields ? text : undefined}>
      {message}
      {fields && <span class="log-fields"> {fields}</span>}
    </span>
  );
}

export function LiveLogs({ name, begin = 100, height }: { name?: string; begin?: number; height?: "tall" }) {
  const [lines, setLines] = useState<LogLineView[]>([]);
  const [paused, setPaused] = useState(false);
  const [text, setText] = useState("");
  const [level, setLevel] = useState("");
  const [live, setLive] = useState(false);
  const [error, setError] = useState<unknown>(undefined);
  const [dropped, setDropped] = useState(0);
  const [held, setHeld] = useState(0);
  const all = useRef<LogLineView[]>([]);
  const waiting = useRef<LogLineView[]>([]);
  const still = useRef(false);
  still.current = paused;
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);

  useEffect(() => {
    const stop = new AbortController();
    all.current = [];
    setLines([]);
    // Lines come one by one and are drawn together.
    const draw = setInterval(() => {
      if (waiting.current.length === 0) return;
      if (still.current) return setHeld(waiting.current.length);
      all.current = [...all.current, ...waiting.current].slice(-KEEP);
      waiting.current = [];
      setHeld(0);
      setLines(all.current);
    }, 120);
    void follow(
      name,
      begin,
      stop.signal,
      (more) => {
        if (more.dropped !== undefined) setDropped(more.dropped);
        waiting.current = [...waiting.current, ...more.lines].slice(-KEEP);
      },
      (now, failure) => {
        setLive(now);
        setError(failure);
      },
    );
    return () => {
      stop.abort();
      clearInterval(draw);
      waiting.current = [];
    };
  }, [name, begin]);

  const shown = useMemo(() => {
    const needle = text.toLowerCase();
    const found = lines.filter(
      (line) => (level === "" || line.level === level) && (needle === "" || `${line.function} ${line.instance} ${line.message}`.toLowerCase().includes(needle)),
    );
    return found.slice(-DRAWN);
  }, [lines, text, level]);

  useEffect(() => {
    const view = box.current;
    if (view && atEnd.current && !paused) view.scrollTop = view.scrollHeight;
  }, [shown, paused]);

  const scrolled = () => {
    const view = box.current;
    if (view) atEnd.current = view.scrollHeight - view.scrollTop - view.clientHeight < 40;
  };
  return (
    <div class="live-logs">
      <div class="toolbar">
        <span class={`pulse ${live && !paused ? "on" : ""}`} aria-hidden="true" />
        <span class="live-state" role="status">
          {paused ? (held > 0 ? `held, ${plural(held, "new line")}` : "held") : live ? "live" : error ? "trying again" : "connecting"}
        </span>
        <span class="grow" />
        <input type="search" aria-label="Filter lines" placeholder="Filter…" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        <select aria-label="Level" value={level} onChange={(event) => setLevel(event.currentTarget.value)}>
          <option value="">all levels</option>
          {["debug", "info", "warn", "error", "fatal"].map((one) => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
        <Button small icon={paused ? "play" : "pause"} pressed={paused} onClick={() => setPaused(!paused)}>
          {paused ? "Go on" : "Hold"}
        </Button>
        <Button
          small
          kind="quiet"
          icon="trash"
          label="Clear what is shown"
          onClick={() => {
            all.current = [];
            setLines([]);
          }}
        />
      </div>
      {dropped > 0 && <p class="notice">{plural(dropped, "line")} came faster than they could be kept and were dropped since the server's start.</p>}
      <div class={`logs ${height ?? ""}`} ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-label="Log lines" aria-live="off">
        <LogLines lines={shown} withFunction={name === undefined} empty={lines.length > 0 ? "No line fits the filter." : "Nothing was written yet: lines appear here as functions write them."} />
      </div>
    </div>
  );
}
