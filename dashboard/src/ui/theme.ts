// Dark or light: as the system likes it, until one is chosen.
import { useEffect, useState } from "preact/hooks";

export type Choice = "system" | "dark" | "light";

const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

export function themeChanged(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export function choice(): Choice {
  const kept = localStorage.getItem("hearth.theme");
  return kept === "dark" || kept === "light" ? kept : "system";
}

export function apply(): void {
  const now = choice();
  document.documentElement.dataset.theme = now === "system" ? (dark.matches ? "dark" : "light") : now;
  for (const listener of listeners) listener();
}

export function choose(next: Choice): void {
  if (next === "system") localStorage.removeItem("hearth.theme");
  else localStorage.setItem("hearth.theme", next);
  apply();
}

dark.addEventListener("change", apply);

export function isDark(): boolean {
  return document.documentElement.dataset.theme !== "light";
}

export function useDark(): boolean {
  const [now, set] = useState(isDark);
  useEffect(() => themeChanged(() => set(isDark())), []);
  return now;
}
