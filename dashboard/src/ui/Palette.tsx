// The palette: find and go, by a few letters.
import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import { logout } from "../api/client";
import { api } from "../api/paths";
import type { FunctionList } from "../api/schema";
import { useRead } from "../api/use";
import { best } from "../lib/palette";
import { go, to } from "../router";
import { ROOMS } from "../shell";
import { Icon, type IconName } from "./icons";
import { choose, isDark } from "./theme";

interface Entry {
  text: string;
  kind: string;
  icon: IconName;
  run: () => void;
}

export function Palette({ onClose, onHelp }: { onClose: () => void; onHelp: () => void }) {
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const functions = useRead<FunctionList>(api.functions).data?.functions;
  const dialog = useRef<HTMLDialogElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const id = useId();

  useEffect(() => {
    dialog.current?.showModal();
    return () => dialog.current?.close();
  }, []);

  const all = useMemo<Entry[]>(() => {
    const page = (text: string, href: string, icon: IconName): Entry => ({ text, kind: "page", icon, run: () => go(href) });
    return [
      { text: "New function", kind: "command", icon: "plus", run: () => go(to.create) },
      ...(functions ?? []).map((one): Entry => ({ text: one.name, kind: one.runtime, icon: "functions", run: () => go(to.function(one.name)) })),
      ...ROOMS.map((room) => page(room.label, room.href, room.icon)),
      ...(functions ?? []).flatMap((one) => [
        page(`${one.name}: logs`, to.function(one.name, "logs"), "live"),
        page(`${one.name}: versions`, to.function(one.name, "versions"), "versions"),
        page(`${one.name}: triggers`, to.function(one.name, "triggers"), "triggers"),
        page(`${one.name}: configuration`, to.function(one.name, "configuration"), "settings"),
        page(`${one.name}: compare isolations`, to.compare(one.name), "compare"),
      ]),
      { text: isDark() ? "Light theme" : "Dark theme", kind: "command", icon: isDark() ? "sun" : "moon", run: () => choose(isDark() ? "light" : "dark") },
      { text: "Theme as the system has it", kind: "command", icon: "sun", run: () => choose("system") },
      { text: "Keyboard shortcuts", kind: "command", icon: "invocations", run: onHelp },
      { text: "Log out", kind: "command", icon: "out", run: () => void logout() },
    ];
  }, [functions]);

  const found = useMemo(() => best(typed, all, (one) => one.text), [typed, all]);
  const now = Math.min(at, Math.max(0, found.length - 1));
  const run = (one: Entry | undefined) => {
    if (!one) return;
    onClose();
    one.run();
  };
  useEffect(() => list.current?.children[now]?.scrollIntoView({ block: "nearest" }), [now, found]);

  return (
    <dialog ref={dialog} class="palette" aria-label="Find or do" onCancel={(event) => (event.preventDefault(), onClose())} onMouseDown={(event) => event.target === dialog.current && onClose()}>
      <input
        type="text"
        role="combobox"
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={found.length > 0 ? `${id}-${now}` : undefined}
        aria-label="Find a page, a function or a command"
        placeholder="Find a page, a function or a command…"
        autofocus
        spellcheck={false}
        value={typed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
          if (step !== 0 && found.length > 0) {
            event.preventDefault();
            setAt((now + step + found.length) % found.length);
          }
          if (event.key === "Enter") run(found[now]);
        }}
      />
      <ul id={id} role="listbox" aria-label="Found" ref={list}>
        {found.map((one, index) => (
          <li key={one.text} id={`${id}-${index}`} role="option" aria-selected={index === now} onMouseMove={() => setAt(index)} onClick={() => run(one)}>
            <Icon name={one.icon} />
            <span>{one.text}</span>
            <span class="hint">{one.kind}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="hint none">Nothing fits.</p>}
    </dialog>
  );
}
