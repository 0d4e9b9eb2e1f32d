// The package's files in the editor, saved and deployed; beside it, test events and what came of them.
import { useEffect, useMemo, useState } from "preact/hooks";
import { change, download, upload } from "../../api/actions";
import type { FunctionView } from "../../api/schema";
import { useAction } from "../../api/use";
import { sameBytes } from "../../lib/diff";
import { bytes, plural } from "../../lib/format";
import { badName, entryOf, type Files, pack, textOf, unpack } from "../../lib/package";
import { go, guardLeaving, to } from "../../router";
import { Icon } from "../../ui/icons";
import { LazyEditor } from "../../ui/LazyEditor";
import { Button, Card, Dialog, Empty, ErrorBox, Skeleton, TextField } from "../../ui/parts";
import { toast } from "../../ui/toast";
import { CanaryDialog } from "./Canary";
import { TestPanel } from "./TestPanel";

export function CodeTab({ one }: { one: FunctionView }) {
  const [base, setBase] = useState<{ sha256: string; files: Files } | undefined>(undefined);
  const [files, setFiles] = useState<Files>(new Map());
  const [open, setOpen] = useState<string | undefined>(undefined);
  const [error, setError] = useState<unknown>(undefined);
  const [adding, setAdding] = useState(false);
  const [runs, setRuns] = useState(0);
  const [trying, setTrying] = useState(false);

  const changed = useMemo(() => new Set([...new Set([...files.keys(), ...(base?.files.keys() ?? [])])].filter((name) => !same(files.get(name), base?.files.get(name)))), [files, base]);
  const dirty = changed.size > 0;

  const take = (sha256: string, unpacked: Files) => {
    setBase({ sha256, files: unpacked });
    setFiles(unpacked);
    setOpen((now) => (now !== undefined && unpacked.has(now) ? now : entryOf(one.handler, unpacked)));
  };

  useEffect(() => {
    // What others deploy is shown at once, unless there is something to lose.
    if (base?.sha256 === one.code.sha256 || dirty) return;
    let gone = false;
    setError(undefined);
    download(one.code.sha256)
      .then((zip) => !gone && take(one.code.sha256, unpack(zip)))
      .catch((failure: unknown) => !gone && setError(failure));
    return () => {
      gone = true;
    };
  }, [one.code.sha256, dirty]);

  useEffect(() => {
    if (!dirty) return guardLeaving(undefined);
    guardLeaving(() => confirm("The changes of the code are not saved. Leave them?"));
    const asked = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", asked);
    return () => {
      removeEventListener("beforeunload", asked);
      guardLeaving(undefined);
    };
  }, [dirty]);

  const save = useAction(async () => {
    if (!dirty) return;
    const sha256 = await upload(pack(files));
    const next = await change(one.name, { code: { sha256 } }, one.revision);
    setBase({ sha256: next.code.sha256, files });
    toast(`Deployed as revision ${next.revision}`);
  });

  const set = (name: string, content: Uint8Array | undefined) => {
    const next = new Map(files);
    if (content === undefined) next.delete(name);
    else next.set(name, content);
    setFiles(next);
  };

  if (error !== undefined) return <ErrorBox error={error} />;
  if (!base) return <Skeleton lines={10} />;
  const content = open === undefined ? undefined : files.get(open);
  const text = content && textOf(content);
  const others = base.sha256 !== one.code.sha256;

  return (
    <div class="code-page">
      <Card
        flush
        class="code-card"
        title={<span class="mono">{open ?? "no file"}</span>}
        hint={dirty ? <span class="unsaved">{plural(changed.size, "file")} changed</span> : "deployed"}
        actions={
          <>
            {dirty && (
              <Button small onClick={() => setFiles(base.files)}>
                Undo all
              </Button>
            )}
            {dirty && (
              <Button small icon="bird" cannot={one.canary ? "A canary runs already" : false} onClick={() => setTrying(true)}>
                Try as canary
              </Button>
            )}
            <Button small kind="primary" icon="bolt" busy={save.busy} cannot={!dirty && "Nothing is changed"} onClick={() => void save.run()}>
              Save & deploy
            </Button>
          </>
        }
      >
        {others && <p class="notice">This function was deployed anew elsewhere while you edited. Saving is refused until you undo your changes and take the new code.</p>}
        <ErrorBox error={save.error} />
        <div class="code-split">
          <nav class="files" aria-label="Files of the package">
            <ul>
              {[...files.keys()].map((name) => (
                <li key={name} class={name === open ? "on" : undefined}>
                  <button type="button" onClick={() => setOpen(name)} aria-current={name === open ? "true" : undefined} title={`${name}, ${bytes(files.get(name)?.length)}`}>
                    <Icon name="file" size={14} />
                    <span>{name}</span>
                    {changed.has(name) && <span class="changed" aria-label="changed" />}
                  </button>
                  <Button kind="quiet" small icon="trash" label={`Remove ${name}`} onClick={() => set(name, undefined)} />
                </li>
              ))}
            </ul>
            <Button small icon="plus" onClick={() => setAdding(true)}>
              Add a file
            </Button>
          </nav>
          <div class="editor-box">
            {open === undefined || content === undefined ? (
              <Empty title="No file is open" icon="file">
                Choose one on the left.
              </Empty>
            ) : text === undefined ? (
              <Empty title="Not a text" icon="file">
                {open} has {bytes(content.length)} and is not shown here. It stays in the package as it is.
              </Empty>
            ) : (
              <LazyEditor
                name={open}
                text={text}
                label={`Code of ${open}`}
                onChange={(next) => set(open, new TextEncoder().encode(next))}
                onSave={() => void save.run()}
                onRun={() => void save.run().then((done) => done && setRuns((n) => n + 1))}
              />
            )}
          </div>
        </div>
      </Card>
      <TestPanel one={one} runs={runs} dirty={dirty} onSave={save.run} />
      {trying && (
        <CanaryDialog
          one={one}
          what={async () => ({ code: { sha256: await upload(pack(files)) } })}
          onClose={() => setTrying(false)}
          onBegun={(now) => {
            setBase({ sha256: now.code.sha256, files });
            guardLeaving(undefined);
            go(to.function(one.name, "versions"));
          }}
        />
      )}
      {adding && (
        <AddFile
          files={files}
          onClose={() => setAdding(false)}
          onAdd={(name, bytes) => {
            set(name, bytes);
            setOpen(name);
            setAdding(false);
          }}
        />
      )}
    </div>
  );
}

function AddFile({ files, onAdd, onClose }: { files: Files; onAdd: (name: string, content: Uint8Array) => void; onClose: () => void }) {
  const [name, setName] = useState("");
  const [content, setContent] = useState<Uint8Array | undefined>(undefined);
  const problem = badName(name, files);
  return (
    <Dialog
      title="Add a file"
      onClose={onClose}
      foot={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="primary" cannot={problem} onClick={() => onAdd(name, content ?? new Uint8Array())}>
            Add
          </Button>
        </>
      }
    >
      <TextField label="Path within the package" value={name} onInput={setName} placeholder="lib/tools.py" mono autoFocus hint={name !== "" && problem ? <span class="bad-text">{problem}</span> : "Folders are made by the path."} />
      <label class="field">
        <span>Content, if it is a file you have</span>
        <input
          type="file"
          onChange={async (event) => {
            const given = event.currentTarget.files?.[0];
            if (!given) return;
            setContent(new Uint8Array(await given.arrayBuffer()));
            if (name === "") setName(given.name);
          }}
        />
      </label>
    </Dialog>
  );
}

function same(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && sameBytes(a, b));
}
