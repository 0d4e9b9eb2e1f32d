// The small parts that pages are made of.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError } from "../api/client";
import { short } from "../lib/format";
import { Icon, type IconName } from "./icons";

export function Button(props: {
  children?: ComponentChildren;
  icon?: IconName;
  onClick?: () => void;
  kind?: "primary" | "quiet" | "danger" | "plain";
  type?: "button" | "submit";
  busy?: boolean;
  /** Why it cannot be used now; shown where one asks. */
  cannot?: string | false | undefined;
  label?: string;
  pressed?: boolean;
  small?: boolean;
}) {
  const { children, icon, onClick, kind = "plain", type = "button", busy, cannot, label, pressed, small } = props;
  const off = Boolean(cannot) || busy === true;
  return (
    <button
      type={type}
      class={`button ${kind}${children === undefined ? " square" : ""}${small ? " small" : ""}`}
      onClick={() => !off && onClick?.()}
      aria-disabled={off}
      aria-busy={busy}
      aria-label={label}
      aria-pressed={pressed}
      title={cannot || (children === undefined ? label : undefined)}
    >
      {busy ? <span class="spinner" aria-hidden="true" /> : icon && <Icon name={icon} />}
      {children !== undefined && <span>{children}</span>}
    </button>
  );
}

export function Card(props: {
  title?: ComponentChildren;
  hint?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
  flush?: boolean;
  class?: string;
}) {
  return (
    <section class={`card${props.flush ? " flush" : ""} ${props.class ?? ""}`}>
      {(props.title !== undefined || props.actions !== undefined) && (
        <header class="card-head">
          <h2>{props.title}</h2>
          {props.hint !== undefined && <span class="hint">{props.hint}</span>}
          <span class="grow" />
          {props.actions}
        </header>
      )}
      <div class="card-body">{props.children}</div>
    </section>
  );
}

export type Tone = "good" | "bad" | "warn" | "calm" | "ember" | "cold";

export function Badge({ tone = "calm", children, title }: { tone?: Tone; children: ComponentChildren; title?: string | undefined }) {
  return (
    <span class={`badge ${tone}`} title={title}>
      {children}
    </span>
  );
}

/** What a page says where there is nothing yet, and the command for the same thing. */
export function Empty(props: { title: string; children?: ComponentChildren; command?: string; action?: ComponentChildren; icon?: IconName }) {
  return (
    <div class="empty">
      {props.icon && (
        <span class="empty-icon">
          <Icon name={props.icon} size={22} />
        </span>
      )}
      <h3>{props.title}</h3>
      {props.children !== undefined && <p>{props.children}</p>}
      {props.action}
      {props.command !== undefined && <Command text={props.command} />}
    </div>
  );
}

/** A command for a terminal, to be copied. */
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <code>{text}</code>
      <CopyButton text={text} />
    </div>
  );
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, set] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    set(true);
    setTimeout(() => set(false), 1200);
  };
  return <Button kind="quiet" small icon={done ? "check" : "copy"} label={done ? "Copied" : label} onClick={() => void copy()} />;
}

export function ErrorBox({ error, again }: { error: unknown; again?: () => void }) {
  if (error === undefined || error === null) return null;
  const known = error instanceof ApiError ? error : undefined;
  const message = error instanceof Error ? error.message : String(error);
  return (
    <div class="error" role="alert">
      <Icon name="warn" />
      <div>
        <p>{message}</p>
        {known?.code && (
          <p class="hint">
            <code>{known.code}</code> · <code>hearth explain {known.code}</code>
            {known.requestId && <> · request {short(known.requestId)}</>}
          </p>
        )}
      </div>
      {again && (
        <Button small onClick={again}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function Skeleton({ lines = 3 }: { lines?: number }) {
  return (
    <div class="skeleton" role="status" aria-label="Loading">
      {Array.from({ length: lines }, (_, at) => (
        <span key={at} class={`bone w${at % 3}`} />
      ))}
    </div>
  );
}

/** What was read, or that it is being read, or why it could not be. */
export function Show<T>(props: { data: T | undefined; error: unknown; again?: () => void; lines?: number; children: (data: T) => ComponentChildren }) {
  if (props.data === undefined && props.error !== undefined)
    return <ErrorBox error={props.error} {...(props.again ? { again: props.again } : {})} />;
  if (props.data === undefined) return <Skeleton lines={props.lines ?? 4} />;
  return <>{props.children(props.data)}</>;
}

export function Field(props: {
  label: string;
  hint?: ComponentChildren;
  children: (id: string, described: string | undefined) => ComponentChildren;
}) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.children(id, props.hint === undefined ? undefined : `${id}-hint`)}
      {props.hint !== undefined && (
        <p class="hint" id={`${id}-hint`}>
          {props.hint}
        </p>
      )}
    </div>
  );
}

export function TextField(props: {
  label: string;
  value: string;
  onInput: (value: string) => void;
  hint?: ComponentChildren;
  placeholder?: string;
  type?: "text" | "password";
  list?: string[];
  required?: boolean;
  mono?: boolean;
  autoFocus?: boolean;
}) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(id, described) => (
        <>
          <input
            id={id}
            value={props.value}
            class={props.mono ? "mono" : undefined}
            placeholder={props.placeholder}
            required={props.required}
            aria-describedby={described}
            autocomplete="off"
            autofocus={props.autoFocus}
            spellcheck={false}
            {...(props.type === "password" ? { type: "password" as const } : { type: "text" as const, list: props.list ? `${id}-list` : undefined })}
            onInput={(event) => props.onInput(event.currentTarget.value)}
          />
          {props.list && (
            <datalist id={`${id}-list`}>
              {props.list.map((one) => (
                <option key={one} value={one} />
              ))}
            </datalist>
          )}
        </>
      )}
    </Field>
  );
}

export function SelectField(props: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  options: Array<{ value: string; label: string; disabled?: boolean }>;
  hint?: ComponentChildren;
}) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(id, described) => (
        <select id={id} value={props.value} aria-describedby={described} onChange={(event) => props.onChange(event.currentTarget.value)}>
          {props.options.map((one) => (
            <option key={one.value} value={one.value} disabled={one.disabled}>
              {one.label}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function Check(props: { label: string; checked: boolean; onChange: (on: boolean) => void; hint?: string }) {
  return (
    <label class="check">
      <input type="checkbox" checked={props.checked} onChange={(event) => props.onChange(event.currentTarget.checked)} />
      <span>
        {props.label}
        {props.hint && <span class="hint">{props.hint}</span>}
      </span>
    </label>
  );
}

/** A dialog over the page, closed by Escape or a click beside it. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren; wide?: boolean; foot?: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      class={props.wide ? "wide" : undefined}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onMouseDown={(event) => event.target === ref.current && props.onClose()}
    >
      <div class="dialog">
        <header>
          <h2 id={id}>{props.title}</h2>
          <Button kind="quiet" icon="close" label="Close" onClick={props.onClose} />
        </header>
        <div class="dialog-body">{props.children}</div>
        {props.foot !== undefined && <footer>{props.foot}</footer>}
      </div>
    </dialog>
  );
}

/** Asks before something that cannot be taken back. */
export function Confirm(props: { title: string; children: ComponentChildren; verb: string; onDone: () => void; onClose: () => void; busy?: boolean; error?: unknown }) {
  return (
    <Dialog
      title={props.title}
      onClose={props.onClose}
      foot={
        <>
          <Button onClick={props.onClose}>Cancel</Button>
          <Button kind="danger" onClick={props.onDone} busy={props.busy ?? false}>
            {props.verb}
          </Button>
        </>
      }
    >
      {props.children}
      <ErrorBox error={props.error} />
    </Dialog>
  );
}

export interface Tab {
  id: string;
  label: string;
  href: string;
  count?: number | undefined;
}

export function Tabs({ tabs, now, label }: { tabs: Tab[]; now: string; label: string }) {
  const ref = useRef<HTMLElement>(null);
  useEffect(() => {
    // Where they do not all fit, the one that is shown is seen.
    const [box, tab] = [ref.current, ref.current?.querySelector<HTMLElement>("[aria-current]")];
    if (box && tab) box.scrollLeft = tab.offsetLeft - box.offsetLeft - (box.clientWidth - tab.offsetWidth) / 2;
  }, [now]);
  return (
    <nav class="tabs" aria-label={label} ref={ref}>
      {tabs.map((tab) => (
        <a key={tab.id} href={tab.href} aria-current={tab.id === now ? "page" : undefined}>
          {tab.label}
          {tab.count !== undefined && tab.count > 0 && <span class="tab-count">{tab.count}</span>}
        </a>
      ))}
    </nav>
  );
}

export function Stat(props: { label: string; value: ComponentChildren; sub?: ComponentChildren; tone?: Tone }) {
  return (
    <div class={`stat ${props.tone ?? ""}`}>
      <span class="stat-label">{props.label}</span>
      <span class="stat-value">{props.value}</span>
      <span class="stat-sub">{props.sub ?? "\u00a0"}</span>
    </div>
  );
}

/** A bar of how much of something is used. The width is a property: the policy allows no style in markup. */
export function Meter({ value, max, label, tone = "ember" }: { value: number; max: number; label: string; tone?: Tone }) {
  const part = max > 0 ? Math.min(1, value / max) : 0;
  return (
    <div class="meter" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={max} aria-valuenow={Math.min(value, max)}>
      <span class={tone} style={{ width: `${part * 100}%` }} />
    </div>
  );
}

export function PageHead(props: { title: ComponentChildren; sub?: ComponentChildren; actions?: ComponentChildren; crumbs?: ComponentChildren }) {
  return (
    <header class="page-head">
      <div>
        {props.crumbs !== undefined && <p class="crumbs">{props.crumbs}</p>}
        <h1>{props.title}</h1>
        {props.sub !== undefined && <p class="sub">{props.sub}</p>}
      </div>
      {props.actions !== undefined && <div class="page-actions">{props.actions}</div>}
    </header>
  );
}

/** A table that scrolls within itself where the screen is narrow. */
export function Table({ label, head, children }: { label: string; head: Array<string | JSX.Element>; children: ComponentChildren }) {
  return (
    <div class="table" role="region" aria-label={label} tabIndex={0}>
      <table>
        <thead>
          <tr>
            {head.map((one, at) => (
              <th key={at} scope="col">
                {one}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
