// Reads names of files as JSON, compiles each and runs none, and says what is wrong with them.
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const wrong = [];
for (const file of JSON.parse(fs.readFileSync(0, "utf8"))) {
  let text;
  try {
    text = fs.readFileSync(file, "utf8").replace(/^#!.*/, "");
  } catch {
    continue; // it went in between, which is a change of its own
  }
  const kind = path.extname(file) === ".js" ? declared(path.dirname(file)) : path.extname(file).slice(1);
  const parsers = { mjs: [asModule], cjs: [asScript], none: [asScript, asModule] }[kind];
  const errors = parsers.map((parse) => parse(text, file));
  // Without a word in package.json newer Nodes take a file for what it can be parsed as.
  if (errors.every(Boolean)) {
    const [{ line, message }] = errors;
    wrong.push({ path: file, line: line ?? lineInModule(file), message });
  }
}
process.stdout.write(JSON.stringify(wrong));

// What the nearest package.json says of .js files.
function declared(folder) {
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    try {
      const type = JSON.parse(fs.readFileSync(path.join(at, "package.json"), "utf8")).type;
      return { module: "mjs", commonjs: "cjs" }[type] ?? "none";
    } catch {
      if (at === path.dirname(at)) return "none";
    }
  }
}

function asScript(text, file) {
  return told(file, () => vm.compileFunction(text, ["exports", "require", "module"], { filename: file }));
}

function asModule(text, file) {
  return told(file, () => new vm.SourceTextModule(text, { identifier: file }));
}

// Of a module vm does not say where the error is, and the slower way to parse one does, in the first line it prints.
function lineInModule(file) {
  const ran = spawnSync(process.execPath, ["--check", file], { encoding: "utf8", timeout: 5000 });
  const line = /:(\d+)$/.exec((ran.stderr ?? "").split("\n", 1)[0]);
  return line && Number(line[1]);
}

function told(file, parse) {
  try {
    parse();
  } catch (error) {
    // The first line of the stack is where it is.
    const first = String(error.stack).split("\n", 1)[0];
    const line = first.startsWith(`${file}:`) ? Number(first.slice(file.length + 1)) : null;
    return { line, message: error.message };
  }
}
