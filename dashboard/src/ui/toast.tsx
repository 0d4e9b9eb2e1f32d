// Short notes at the foot of the page: what was done, or went wrong.
import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icons";

interface Note {
  id: number;
  text: string;
  bad: boolean;
}

let notes: Note[] = [];
let next = 1;
const listeners = new Set<() => void>();

function change(to: Note[]): void {
  notes = to;
  for (const listener of listeners) listener();
}

export function toast(text: string, bad = false): void {
  const note = { id: next++, text, bad };
  change([...notes.slice(-3), note]);
  setTimeout(() => change(notes.filter((one) => one !== note)), bad ? 8000 : 3500);
}

export function toastError(error: unknown): void {
  toast(error instanceof Error ? error.message : String(error), true);
}

export function Toasts() {
  const [, draw] = useState(0);
  useEffect(() => {
    const listener = () => draw((n) => n + 1);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return (
    <div class="toasts" role="status" aria-live="polite">
      {notes.map((note) => (
        <div key={note.id} class={note.bad ? "toast bad" : "toast"}>
          <Icon name={note.bad ? "warn" : "check"} />
          <span>{note.text}</span>
        </div>
      ))}
    </div>
  );
}
