// What the keyboard can do.
import { Dialog } from "./parts";

export function Shortcuts({ rooms, onClose }: { rooms: Array<{ label: string; key: string }>; onClose: () => void }) {
  const rows: Array<[string[], string]> = [
    [["Ctrl", "K"], "Find a page, a function or a command"],
    [["/"], "Search on this page"],
    [["n"], "New function"],
    [["Ctrl", "S"], "Save and deploy, in the editor"],
    [["Ctrl", "Enter"], "Run, in the editor or the event"],
    ...rooms.map((room): [string[], string] => [["g", room.key], room.label]),
    [["?"], "This list"],
  ];
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <dl class="keys">
        {rows.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
