// What differs between two revisions of a function: its settings, and its files line by line.
import { useEffect, useState } from "preact/hooks";
import { downloadUpTo } from "../api/actions";
import { api } from "../api/paths";
import type { ChangeView, DiffView } from "../api/schema";
import { useRead } from "../api/use";
import { diffFiles, type FileChange, hunks } from "../lib/diff";
import { bytes, plural } from "../lib/format";
import { unpack } from "../lib/package";
import { type Choice, packagesOf, settingText } from "../lib/versions";
import { Badge, Dialog, ErrorBox, SelectField, Show, Skeleton, Table } from "./parts";

/** Longer packages are not compared in a browser. */
const MOST = 32 * 1024 * 1024;

/** Two revisions of a function beside each other; which, can be chosen. */
export function DiffDialog({ name, choices, first, second, onClose }: { name: string; choices: Choice[]; first: number; second: number; onClose: () => void }) {
  const [from, setFrom] = useState(first);
  const [to, setTo] = useState(second);
  const options = choices.map((one) => ({ value: String(one.revision), label: one.label }));
  return (
    <Dialog title="What differs" onClose={onClose} wide>
      <div class="form-grid">
        <SelectField label="From" value={String(from)} onChange={(value) => setFrom(Number(value))} options={options} />
        <SelectField label="To" value={String(to)} onChange={(value) => setTo(Number(value))} options={options} />
      </div>
      {from === to ? <p class="hint">They are the same one.</p> : <Differences key={`${from}/${to}`} name={name} from={from} to={to} />}
    </Dialog>
  );
}

export function Differences({ name, from, to }: { name: string; from: number; to: number }) {
  const reading = useRead<DiffView>(api.diff(name, from, to));
  return (
    <Show data={reading.data} error={reading.error} again={reading.again}>
      {(diff) => {
        const settings = diff.changes.filter((one) => one.key !== "code.sha256");
        const packages = packagesOf(diff.changes);
        return (
          <>
            {settings.length === 0 ? <p class="hint">The configuration is the same.</p> : <Settings changes={settings} />}
            {packages ? <FilesDiff key={packages.from + packages.to} from={packages.from} to={packages.to} /> : <p class="hint">The code is the same.</p>}
          </>
        );
      }}
    </Show>
  );
}

function Settings({ changes }: { changes: ChangeView[] }) {
  return (
    <div class="framed">
      <Table label="Settings that differ" head={["Setting", "From", "To"]}>
        {changes.map((one) => (
          <tr key={one.key}>
            <th scope="row" class="mono">
              {one.key}
            </th>
            <td class="mono wrap was">{settingText(one.from)}</td>
            <td class="mono wrap is">{settingText(one.to)}</td>
          </tr>
        ))}
      </Table>
    </div>
  );
}

function FilesDiff({ from, to }: { from: string; to: string }) {
  const [found, set] = useState<FileChange[] | "long" | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  useEffect(() => {
    let gone = false;
    (async () => {
      const [before, after] = await Promise.all([downloadUpTo(from, MOST), downloadUpTo(to, MOST)]);
      const files = before && after ? diffFiles(unpack(before), unpack(after)) : "long";
      if (!gone) set(files);
    })().catch((failure: unknown) => !gone && setError(failure));
    return () => {
      gone = true;
    };
  }, [from, to]);
  if (error !== undefined) return <ErrorBox error={error} />;
  if (found === undefined) return <Skeleton lines={4} />;
  if (found === "long") return <p class="hint">The code differs. Packages over {bytes(MOST)} are not compared here, file by file.</p>;
  if (found.length === 0) return <p class="hint">The packages differ, and their files are the same.</p>;
  return (
    <>
      {found.map((file) => (
        <FileDiff key={file.name} file={file} />
      ))}
    </>
  );
}

const TONES = { gone: "bad", new: "good", changed: "ember" } as const;

function FileDiff({ file }: { file: FileChange }) {
  const parts = file.lines && hunks(file.lines);
  const count = (kind: "gone" | "new") => file.lines?.filter((line) => line.kind === kind).length ?? 0;
  return (
    <section class="framed diff" aria-label={`Changes of ${file.name}`}>
      <header>
        <span class="mono strong">{file.name}</span>
        <Badge tone={TONES[file.kind]}>{file.kind === "gone" ? "removed" : file.kind === "new" ? "added" : "changed"}</Badge>
        <span class="grow" />
        <span class="hint">{file.lines ? `${plural(count("new"), "line")} more, ${count("gone")} less` : `${bytes(file.sizes[0])}, then ${bytes(file.sizes[1])}`}</span>
      </header>
      {parts === undefined ? (
        <p class="hint none">Not a text, or too long to be shown.</p>
      ) : (
        <div class="diff-lines" role="region" aria-label={`Lines of ${file.name}`} tabIndex={0}>
          {parts.map((part, at) => (
            <div key={at}>
              {part.skipped > 0 && <p class="diff-skip">{plural(part.skipped, "line")} as before</p>}
              {part.lines.map((line, n) => (
                <div key={n} class={`diff-line ${line.kind}`}>
                  <span class="diff-at">{line.at}</span>
                  <span class="diff-sign">{line.kind === "new" ? "+" : line.kind === "gone" ? "−" : " "}</span>
                  <span class="diff-text">{line.text}</span>
                </div>
              ))}
            </div>
          ))}
        </div>
      )}
    </section>
  );
}
