// A new function: from a template, from pasted code, or of a package that was dropped.
import { useState } from "preact/hooks";
import { create, upload } from "../api/actions";
import { api } from "../api/paths";
import type { FunctionList, FunctionWrite, RuntimeList } from "../api/schema";
import { useAction, useRead } from "../api/use";
import { bytes } from "../lib/format";
import { dropped, entryOf, pack, unpack } from "../lib/package";
import { badFunctionName, newest } from "../lib/spec";
import { BLANK, TEMPLATES } from "../lib/templates";
import { go, to } from "../router";
import { Icon } from "../ui/icons";
import { LazyEditor } from "../ui/LazyEditor";
import { Button, Card, Command, ErrorBox, PageHead, SelectField, TextField } from "../ui/parts";
import { toast } from "../ui/toast";

type Way = "template" | "code" | "package";

interface Dropped {
  name: string;
  zip: Uint8Array;
  kind: "zip" | "jar" | "program" | "file";
  names: string[];
}

export function Create() {
  const runtimes = useRead<RuntimeList>(api.runtimes).data?.runtimes ?? [];
  const taken = useRead<FunctionList>(api.functions).data?.functions ?? [];
  const [way, setWay] = useState<Way>("template");
  const [template, setTemplate] = useState(TEMPLATES[0]?.id ?? "");
  const [language, setLanguage] = useState<"python" | "nodejs">("python");
  const [code, setCode] = useState(BLANK.python.text);
  const [file, setFile] = useState<Dropped | undefined>(undefined);
  const [over, setOver] = useState(false);
  const [name, setName] = useState("");
  const [handler, setHandler] = useState("");
  const [runtime, setRuntime] = useState("");

  const chosen = TEMPLATES.find((one) => one.id === template);
  const kind = way === "template" ? (chosen?.runtime ?? "python") : language;
  const usual = newest(runtimes, kind) ?? "";
  const usualHandler = way === "template" ? (chosen?.handler ?? "") : way === "code" ? BLANK[language].handler : guess(file, language);
  const works = runtimes.filter((one) => one.works);
  const problem = badFunctionName(name) ?? (taken.some((one) => one.name === name) ? "there is a function of that name already" : undefined);
  const cannot = problem ? `Name: ${problem}` : way === "package" && !file ? "Choose a file first" : !(runtime || usual) ? "No runtime works here: Settings tells why" : undefined;

  const make = useAction(async () => {
    const encode = (text: string) => new TextEncoder().encode(text);
    const zip =
      way === "package" && file
        ? file.zip
        : pack(new Map(way === "template" && chosen ? Object.entries(chosen.files).map(([path, text]) => [path, encode(text)]) : [[BLANK[language].file, encode(code)]]));
    const sha256 = await upload(zip);
    const write: FunctionWrite = { runtime: runtime || usual, handler: handler || usualHandler, code: { sha256 } };
    await create(name, write);
    if (way === "template" && chosen) localStorage.setItem(`hearth.events.${name}`, JSON.stringify([{ name: "example", text: JSON.stringify(chosen.event, null, 2) }]));
    toast(`${name} is deployed`);
    go(to.function(name));
  });

  const take = async (given: File | undefined) => {
    if (!given) return;
    const all = new Uint8Array(await given.arrayBuffer());
    const made = dropped(given.name, all);
    let names: string[] = [];
    try {
      names = [...unpack(made.zip).keys()];
    } catch {
      // The server says what is wrong with it, better than we could.
    }
    setFile({ name: given.name, names, ...made });
    if (made.kind === "program" || made.kind === "jar") setHandler("bootstrap");
    if (names.some((one) => /\.(m|c)?js$/.test(one)) && !names.some((one) => one.endsWith(".py"))) setLanguage("nodejs");
    const provided = works.find((one) => one.name.startsWith(made.kind === "jar" ? "java" : "provided"))?.name;
    if ((made.kind === "program" || made.kind === "jar") && provided) setRuntime(provided);
    if (name === "") setName(given.name.replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9_-]+/g, "-").slice(0, 64));
  };

  return (
    <>
      <PageHead crumbs={<a href={to.functions}>Functions</a>} title="New function" sub="Deployed and callable in a second; everything can be changed later." />
      <form
        class="create"
        onSubmit={(event) => {
          event.preventDefault();
          if (!cannot) void make.run();
        }}
      >
        <div class="segments" role="tablist" aria-label="What it begins as">
          {(
            [
              ["template", "From a template"],
              ["code", "Write or paste code"],
              ["package", "Upload a package"],
            ] as Array<[Way, string]>
          ).map(([id, label]) => (
            <button
              key={id}
              type="button"
              role="tab"
              aria-selected={way === id}
              onClick={() => {
                setWay(id);
                setRuntime("");
                setHandler("");
              }}
            >
              {label}
            </button>
          ))}
        </div>
        {way === "template" && (
          <div class="choices" role="radiogroup" aria-label="Template">
            {TEMPLATES.map((one) => (
              <label key={one.id} class={one.id === template ? "choice on" : "choice"}>
                <input type="radio" name="template" checked={one.id === template} onChange={() => setTemplate(one.id)} />
                <strong>{one.title}</strong>
                <span class="hint">{one.about}</span>
                <code>{Object.keys(one.files).join(", ")}</code>
              </label>
            ))}
          </div>
        )}
        {way === "code" && (
          <Card
            flush
            title={BLANK[language].file}
            actions={
              <select
                aria-label="Language"
                value={language}
                onChange={(event) => {
                  const next = event.currentTarget.value === "nodejs" ? "nodejs" : "python";
                  if (code === BLANK[language].text) setCode(BLANK[next].text);
                  setLanguage(next);
                }}
              >
                <option value="python">Python</option>
                <option value="nodejs">Node</option>
              </select>
            }
          >
            <div class="editor-box">
              <LazyEditor name={BLANK[language].file} text={code} label="Code of the new function" onChange={setCode} />
            </div>
          </Card>
        )}
        {way === "package" && (
          <label
            class={over ? "drop over" : "drop"}
            onDragOver={(event) => (event.preventDefault(), setOver(true))}
            onDragLeave={() => setOver(false)}
            onDrop={(event) => {
              event.preventDefault();
              setOver(false);
              void take(event.dataTransfer?.files[0]);
            }}
          >
            <Icon name="upload" size={26} />
            {file ? (
              <span>
                <strong>{file.name}</strong>
                <span class="hint">
                  {file.kind === "program" ? "a program, packed as bootstrap" : file.kind === "jar" ? "a jar, packed as bootstrap.jar" : file.kind === "file" ? "one file, packed" : `${file.names.length} files`}, {bytes(file.zip.length)}
                </span>
              </span>
            ) : (
              <span>
                <strong>Drop a zip, a jar, a program or a file of code here</strong>
                <span class="hint">or press Enter to choose one; at most 100 MiB</span>
              </span>
            )}
            <input type="file" onChange={(event) => void take(event.currentTarget.files?.[0])} />
          </label>
        )}
        <Card title="What it is">
          <div class="form-grid">
            <TextField label="Name" value={name} onInput={setName} placeholder="hello" required mono hint={name !== "" && problem ? <span class="bad-text">{problem}</span> : "Letters, digits, - and _."} />
            <SelectField
              label="Runtime"
              value={runtime || usual}
              onChange={setRuntime}
              options={works.map((one) => ({ value: one.name, label: one.name }))}
              hint="Those that work on this machine."
            />
            <TextField label="Handler" value={handler || usualHandler} onInput={setHandler} mono hint="module.function" />
          </div>
        </Card>
        <ErrorBox error={make.error} />
        <div class="form-foot">
          <Button type="submit" kind="primary" icon="bolt" busy={make.busy} cannot={cannot}>
            Create and deploy
          </Button>
          <a class="button" href={to.functions}>
            Cancel
          </a>
          {cannot && name !== "" && <span class="hint">{cannot}</span>}
        </div>
        <p class="hint">The same from a folder, in a terminal:</p>
        <Command text={`hearth init ${problem ? "hello" : name} && hearth deploy ${problem ? "hello" : name}`} />
      </form>
    </>
  );
}

/** The handler of a package, by what its first file of code is named. */
function guess(file: Dropped | undefined, language: "python" | "nodejs"): string {
  if (!file || file.names.length === 0) return BLANK[language].handler;
  const entry = entryOf(BLANK[language].handler, new Map(file.names.map((one) => [one, new Uint8Array()]))) ?? "";
  return entry === "bootstrap" ? "bootstrap" : `${entry.replace(/\.[^.]*$/, "")}.handler`;
}
