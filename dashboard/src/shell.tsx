// What is around every page: where one can go, the palette, and the theme.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { logout } from "./api/client";
import { api } from "./api/paths";
import type { Doctor, QueueView } from "./api/schema";
import { useRead } from "./api/use";
import { go, type Place, to } from "./router";
import { Flame, Icon, type IconName } from "./ui/icons";
import { Palette } from "./ui/Palette";
import { Button } from "./ui/parts";
import { Shortcuts } from "./ui/Shortcuts";
import { choose, useDark } from "./ui/theme";

interface Room {
  label: string;
  href: string;
  icon: IconName;
  /** Pressed after `g`. */
  key: string;
}

export const ROOMS: Room[] = [
  { label: "Overview", href: to.overview, icon: "overview", key: "o" },
  { label: "Functions", href: to.functions, icon: "functions", key: "f" },
  { label: "Live", href: to.live, icon: "live", key: "l" },
  { label: "Invocations", href: to.invocations(), icon: "invocations", key: "i" },
  { label: "Compare", href: to.compare(), icon: "compare", key: "c" },
  { label: "Schedules", href: to.schedules, icon: "schedules", key: "s" },
  { label: "Queue", href: to.queue, icon: "queue", key: "q" },
  { label: "Message queues", href: to.queues, icon: "messages", key: "m" },
  { label: "Secrets", href: to.secrets, icon: "secrets", key: "k" },
  { label: "Tokens", href: to.tokens, icon: "tokens", key: "t" },
  { label: "Settings", href: to.settings, icon: "settings", key: "d" },
];

export function Shell({ place, children }: { place: Place; children: ComponentChildren }) {
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const [menu, setMenu] = useState(false);
  const dark = useDark();
  const first = `/${place.parts[0] ?? ""}`;
  const queue = useRead<QueueView>(api.queue, 5000).data;
  const doctor = useRead<Doctor>(api.doctor, 60_000).data;
  const dead = queue?.functions.reduce((sum, one) => sum + one.dead, 0) ?? 0;
  const main = useRef<HTMLElement>(null);

  useEffect(() => setMenu(false), [place.path]);
  useEffect(() => {
    const name = ROOMS.find((room) => room.href === first)?.label;
    document.title = [place.parts[1], name, "Hearth"].filter(Boolean).join(" · ");
  }, [place.path]);

  useEffect(() => {
    let before = "";
    let since = 0;
    const pressed = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        return setPalette((open) => !open);
      }
      const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable], dialog, .editor");
      if (typing || event.metaKey || event.ctrlKey || event.altKey) return;
      if (before === "g" && Date.now() - since < 1200) {
        const room = ROOMS.find((one) => one.key === event.key);
        before = "";
        if (room) return go(room.href);
      }
      before = event.key;
      since = Date.now();
      if (event.key === "?") setHelp(true);
      if (event.key === "n") go(to.create);
      if (event.key === "/") {
        const search = document.querySelector<HTMLInputElement>("main input[type=search]");
        if (search) {
          event.preventDefault();
          search.focus();
        }
      }
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);

  return (
    <div class={menu ? "shell menu-open" : "shell"}>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        To the page
      </a>
      <header class="top">
        <Button kind="quiet" icon={menu ? "close" : "menu"} label="Menu" onClick={() => setMenu(!menu)} />
        <a class="brand" href={to.overview}>
          <Flame size={20} /> Hearth
        </a>
        <Button kind="quiet" icon="search" label="Search and commands" onClick={() => setPalette(true)} />
      </header>
      <aside class="side">
        <a class="brand" href={to.overview}>
          <Flame size={24} /> Hearth
        </a>
        <button type="button" class="finder" onClick={() => setPalette(true)}>
          <Icon name="search" /> <span>Find or do…</span> <kbd>{/Mac/.test(navigator.platform) ? "⌘" : "Ctrl"} K</kbd>
        </button>
        <nav aria-label="Main">
          {ROOMS.map((room) => (
            <a key={room.href} href={room.href} aria-current={first === room.href ? "page" : undefined}>
              <Icon name={room.icon} />
              <span>{room.label}</span>
              {room.href === to.queue && dead > 0 && <span class="nav-count" aria-label={`${dead} dead letters`}>{dead}</span>}
              {room.href === to.settings && doctor && !doctor.works && <span class="nav-count" aria-label="needs attention">!</span>}
            </a>
          ))}
        </nav>
        <span class="grow" />
        <footer>
          <span class="version">{doctor ? `v${doctor.version}` : "\u00a0"}</span>
          <span class="grow" />
          <Button kind="quiet" icon={dark ? "sun" : "moon"} label={dark ? "Light theme" : "Dark theme"} onClick={() => choose(dark ? "light" : "dark")} />
          <Button kind="quiet" icon="out" label="Log out" onClick={() => void logout()} />
        </footer>
      </aside>
      <div class="scrim" onClick={() => setMenu(false)} aria-hidden="true" />
      <main id="main" ref={main} tabIndex={-1}>
        {children}
      </main>
      {palette && <Palette onClose={() => setPalette(false)} onHelp={() => setHelp(true)} />}
      {help && <Shortcuts rooms={ROOMS} onClose={() => setHelp(false)} />}
    </div>
  );
}
