// A Hearth of its own and a browser, for tests and screenshots.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { zipSync, strToU8 } from "fflate";

const HEARTH = process.env.HEARTH ?? new URL("../../target/release/hearth", import.meta.url).pathname;
export const BROWSER = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
export const NO_BROWSER = "no chromium here: `apt-get install chromium`, or CHROMIUM says where one is";
const START = 60_000;

/** Starts Hearth on a data directory of its own. */
export async function startHearth() {
  if (!existsSync(HEARTH)) throw new Error(`no hearth at ${HEARTH}: \`make build\` makes it, or HEARTH says where one is`);
  const dir = mkdtempSync(join(tmpdir(), "hearth-browser-"));
  const child = spawn(HEARTH, ["up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--ingress", "127.0.0.1:0", "--until-stdin-closes"], { stdio: ["pipe", "pipe", "pipe"] });
  let out = "";
  let err = "";
  child.stderr.on("data", (piece) => (err = (err + piece).slice(-8000)));
  const url = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`Hearth did not start within ${START / 1000} s:\n${err}`)), START);
    child.stdout.on("data", (piece) => {
      out += piece;
      const match = /dashboard\s+(http:\S+?)\/\s/.exec(out);
      if (match) {
        clearTimeout(timer);
        resolve(match[1]);
      }
    });
    child.once("exit", (code) => reject(new Error(`Hearth ended with ${code}:\n${err}`)));
  });
  const token = readFileSync(join(dir, "admin.token"), "utf8").trim();
  const call = async (method, path, body, headers = {}) => {
    const raw = body instanceof Uint8Array;
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(raw ? { "content-type": "application/zip" } : body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  };
  const runtimes = (await call("GET", "/api/v1/runtimes")).runtimes;
  const runtime = (language) => runtimes.findLast((one) => one.name.startsWith(language))?.name;
  return {
    url,
    token,
    call,
    runtime,
    async deploy(name, files, write = {}) {
      const zip = zipSync(Object.fromEntries(Object.entries(files).map(([path, text]) => [path, strToU8(text)])));
      const { sha256 } = await call("PUT", "/api/v1/packages", zip);
      return await call("PUT", `/api/v1/functions/${name}`, { runtime: runtime("python"), handler: "app.handler", code: { sha256 }, ...write });
    },
    async invoke(name, event = {}, headers = {}) {
      const response = await fetch(`${url}/2015-03-31/functions/${name}/invocations`, { method: "POST", headers: { authorization: `Bearer ${token}`, ...headers }, body: JSON.stringify(event) });
      return { status: response.status, error: response.headers.get("x-amz-function-error"), text: await response.text() };
    },
    async stop() {
      child.removeAllListeners("exit");
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 40_000);
      await ended;
      clearTimeout(timer);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Starts Debian's browser. What a page prints as an error, or the policy refuses, is collected in `faults`. */
export async function startBrowser() {
  if (!BROWSER) throw new Error(NO_BROWSER);
  const browser = await chromium.launch({
    executablePath: BROWSER,
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  return {
    async open(how = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "dark", reducedMotion: "reduce", ...how });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      const faults = [];
      page.on("pageerror", (error) => faults.push(`page error: ${error.message}`));
      page.on("console", (message) => {
        if (message.type() === "error" && !/Failed to load resource|violates the following Content Security Policy/.test(message.text())) faults.push(message.text());
      });
      // What the policy refused, but for the styles that a browser itself gives to text typed into an editor's line.
      await page.addInitScript(() =>
        addEventListener("securitypolicyviolation", (event) => {
          const typed = event.violatedDirective === "style-src-attr" && event.composedPath().some((node) => node instanceof Element && node.classList.contains("cm-content"));
          if (!typed) console.error(`the policy refused ${event.violatedDirective} ${event.blockedURI} in ${event.sourceFile}:${event.lineNumber}`);
        }),
      );
      return { context, page, faults };
    },
    close: () => browser.close(),
  };
}

export async function login(page, hearth) {
  await page.goto(hearth.url);
  await page.getByLabel("Token", { exact: true }).fill(hearth.token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.locator("main#main h1").first().waitFor();
}
