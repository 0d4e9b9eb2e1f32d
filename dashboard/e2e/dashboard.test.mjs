// The dashboard in a browser against a real Hearth: what a person does, from the first login on.
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { browser, eventually, hearth, open, serious, visit, write } from "./suite.mjs";
import { fill } from "./world.mjs";

/** Text that would run if it were ever taken as markup. */
const EVIL = `<img src=x onerror="window.stolen=1"><script>window.stolen=1</script>`;

describe("login", () => {
  it("refuses a wrong token, takes the right one, and ends with logout", async () => {
    const one = await browser.open();
    open.push(one);
    const { page, context } = one;
    await page.goto(hearth.url);
    await page.getByLabel("Token", { exact: true }).fill("hth_wrong");
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("alert").getByText("admin.token").waitFor();
    await page.getByLabel("Token", { exact: true }).fill(hearth.token);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.getByRole("heading", { name: "Welcome" }).waitFor();
    const [cookie] = await context.cookies();
    assert.match(cookie.name, /^hearth_session_\d+$/);
    assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
    await page.reload();
    await page.getByRole("heading", { name: "Welcome" }).waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token", { exact: true }).waitFor();
    assert.equal(await page.evaluate(() => fetch("/api/v1/functions").then((answer) => answer.status)), 401);
  });

  it("takes a link once, and leaves its code nowhere", async () => {
    const { link } = await hearth.call("POST", "/api/v1/session/link");
    const first = await browser.open();
    open.push(first);
    await first.page.goto(`${hearth.url}/#login=${link}`);
    await first.page.getByRole("heading", { name: "Welcome" }).waitFor();
    assert.equal(new URL(first.page.url()).hash, "");
    const second = await browser.open();
    open.push(second);
    await second.page.goto(`${hearth.url}/#login=${link}`);
    await second.page.getByRole("alert").waitFor();
  });

  it("wants cookie and key both, and no other site's writes", async () => {
    const page = await visit();
    const ask = (path, init) => page.evaluate(([path, init]) => fetch(path, init).then((answer) => answer.status), [path, init]);
    assert.equal(await ask("/api/v1/functions", {}), 401, "the cookie alone");
    const key = await page.evaluate(() => localStorage.getItem("hearth.session"));
    const headers = { "x-hearth-session": key };
    assert.equal(await ask("/api/v1/functions", { headers }), 200);
    assert.equal(await ask("/api/v1/functions", { headers, credentials: "omit" }), 401, "the key alone");
    const cookie = (await page.context().cookies()).map((one) => `${one.name}=${one.value}`).join("; ");
    const foreign = await fetch(`${hearth.url}/api/v1/queue/purge`, {
      method: "POST",
      headers: { ...headers, cookie, origin: "http://evil.example", "content-type": "application/json" },
      body: `{"all":true}`,
    });
    assert.equal(foreign.status, 403);
  });
});

describe("a first function", () => {
  it("is made in the editor, run, and shows answer, waterfall and logs", async () => {
    const page = await visit("/functions/new");
    await page.getByRole("tab", { name: "Write or paste code" }).click();
    await write(page, "Code of the new function", `import time\n\ndef handler(event, context):\n    print("made in the browser")\n    time.sleep(0.01)\n    return {"sum": event["a"] + event["b"]}\n`);
    await page.getByLabel("Name", { exact: true }).fill("first");
    await page.getByRole("button", { name: "Create and deploy" }).click();
    await page.getByRole("heading", { name: "first" }).waitFor();
    await write(page, "Test event, JSON", `{"a": 20, "b": 22}`);
    await page.getByRole("button", { name: "Run", exact: true }).click();
    await page.getByText("succeeded").waitFor();
    assert.match(await page.getByLabel("Answer", { exact: true }).innerText(), /"sum": 42/);
    await page.locator(".test-side .waterfall").getByText("handler").waitFor();
    await page.locator(".test-side").getByText("made in the browser").waitFor();
  });

  it("is changed in the editor and deployed", async () => {
    const page = await visit("/functions/first");
    await write(page, "Code of app.py", `def handler(event, context):\n    return "changed"\n`);
    await page.getByText("1 file changed").waitFor();
    // Faster than a page is drawn, letter by letter.
    await page.keyboard.press("ControlOrMeta+End");
    await page.keyboard.type("# typed quickly, and nothing of it lost or said twice");
    await page.keyboard.press("ControlOrMeta+s");
    await page.getByText("Deployed as revision 2").waitFor();
    assert.equal((await hearth.invoke("first")).text, `"changed"`);
    await page.getByText("# typed quickly, and nothing of it lost or said twice", { exact: true }).waitFor();
  });

  it("shows log lines as they come, and holds them", async () => {
    await hearth.deploy("talker", { "app.py": `def handler(event, context):\n    print("said", event["n"])\n` });
    const page = await visit("/functions/talker/logs");
    await page.getByText("live", { exact: true }).waitFor();
    await hearth.invoke("talker", { n: 1 });
    await page.getByText("said 1").waitFor();
    await page.getByRole("button", { name: "Hold" }).click();
    await hearth.invoke("talker", { n: 2 });
    await page.getByText(/held, \d+ new lines?/).waitFor();
    assert.equal(await page.getByText("said 2").count(), 0);
    await page.getByRole("button", { name: "Go on" }).click();
    await page.getByText("said 2").waitFor();
    await page.goto(`${hearth.url}/live`);
    await hearth.invoke("talker", { n: 3 });
    await page.getByText("said 3").waitFor();
  });

  it("changes memory while it is called, and no call is dropped", async () => {
    await hearth.deploy("busy", { "app.py": `import time\n\ndef handler(event, context):\n    time.sleep(0.02)\n    return context.memory_limit_in_mb\n` });
    let going = true;
    const answers = [];
    const callers = Array.from({ length: 3 }, async () => {
      while (going) answers.push(await hearth.invoke("busy"));
    });
    const page = await visit("/functions/busy/configuration");
    await page.getByLabel("Memory", { exact: true }).fill("192MB");
    await page.getByText("Changed: memory").waitFor();
    await page.getByRole("button", { name: "Save, live" }).click();
    await page.getByText("revision 2 takes the calls").waitFor();
    await eventually(() => /192/.test(answers.at(-1)?.text ?? ""), "a call with the new memory");
    going = false;
    await Promise.all(callers);
    assert.deepEqual(answers.filter((one) => one.status !== 200 || one.error), []);
  });

  it("gets a schedule, which runs, and is paused", async () => {
    const page = await visit("/functions/first/schedules");
    await page.getByRole("button", { name: "Add a schedule" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Name", { exact: true }).fill("often");
    await dialog.getByLabel("When", { exact: true }).fill("* * * * * *");
    await dialog.getByRole("button", { name: "Add", exact: true }).click();
    await page.getByText("Schedule often is kept").waitFor();
    await eventually(async () => (await hearth.call("GET", "/api/v1/schedules?function=first")).schedules[0]?.enqueued > 0, "a tick");
    await page.goto(`${hearth.url}/schedules`);
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("paused", { exact: true }).waitFor();
    assert.equal((await hearth.call("GET", "/api/v1/schedules?function=first")).schedules[0].paused, true);
    await page.getByRole("button", { name: "Run now" }).click();
    await page.getByText(/Runs now: event/).waitFor();
  });

  it("has a record of each call, with its waterfall", async () => {
    const page = await visit("/invocations?function=first");
    await page.getByRole("region", { name: "Invocations" }).locator("a.mono").last().click();
    await page.getByRole("heading", { name: "Where the time went" }).waitFor();
    await page.locator(".waterfall").getByText("handler").waitFor();
    const parts = page.locator("button.wf-row").first();
    if (await parts.count()) {
      await parts.click();
      await page.locator(".wf-row.part").first().waitFor();
    }
  });

  it("is compared on the isolations that work here", async () => {
    const page = await visit("/compare?function=busy");
    await page.getByLabel("Cold starts").fill("1");
    await page.getByLabel("Warm calls").fill("3");
    await page.getByLabel("Kept busy").fill("0");
    await page.getByRole("button", { name: "Compare", exact: true }).click();
    await page.getByRole("region", { name: "Comparison of busy" }).getByText("Warm call, p50").waitFor({ timeout: 90_000 });
  });

  it("is found by the palette, and removed", async () => {
    const page = await visit("/");
    await page.keyboard.press("ControlOrMeta+k");
    await page.getByRole("combobox", { name: "Find a page" }).fill("first");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "first" }).waitFor();
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByRole("button", { name: "Delete the function" }).click();
    await page.getByText("first is removed").waitFor();
    await assert.rejects(hearth.call("GET", "/api/v1/functions/first"), /404/);
  });
});

describe("every page", () => {
  const PAGES = ["/", "/functions", "/functions/new", "/live", "/invocations", "/compare", "/schedules", "/queue", "/queues", "/queues/orders-dead", "/secrets", "/tokens", "/settings"];
  const TABS = ["", "/monitor", "/logs", "/configuration", "/triggers", "/schedules", "/versions", "/instances", "/call"];

  before(async () => {
    await fill(hearth);
    await hearth.deploy(
      "evil",
      { "app.py": `def handler(event, context):\n    print(event["text"])\n    print('{"level": "error", "message": ' + __import__("json").dumps(event["text"]) + "}")\n    raise ValueError(event["text"])\n`, [`${"<b>x"}.py`]: EVIL },
      { description: EVIL.slice(0, 250), env: { EVIL }, async: { retries: 0 }, schedule: [{ name: "evil", cron: "0 0 1 1 *", payload: EVIL }] },
    );
    await hearth.invoke("evil", { text: EVIL });
    await hearth.invoke("evil", { text: EVIL }, { "x-amz-invocation-type": "Event" });
    await eventually(async () => (await hearth.call("GET", "/api/v1/queue")).functions.some((one) => one.function === "evil" && one.dead === 1), "a dead letter");
  });

  it("renders what functions say as text", async () => {
    const page = await visit();
    const { invocations } = await hearth.call("GET", "/api/v1/functions/evil/invocations");
    for (const path of [...PAGES, ...TABS.map((tab) => `/functions/evil${tab}`), `/invocations/${invocations[0].request_id}`]) {
      await page.goto(hearth.url + path);
      await page.locator("main h1").first().waitFor();
      await page.waitForTimeout(400);
      assert.equal(await page.evaluate(() => window.stolen), undefined, path);
      assert.equal(await page.locator("main img[src=x]").count(), 0, path);
    }
    await page.goto(`${hearth.url}/functions/evil/logs`);
    await page.getByText(EVIL).first().waitFor();
    await page.goto(`${hearth.url}/queue`);
    await page.getByText(EVIL.slice(0, 20)).first().waitFor();
  });

  for (const colorScheme of ["dark", "light"]) {
    it(`has nothing serious that axe finds, ${colorScheme}`, async () => {
      const page = await visit("/", { colorScheme });
      for (const path of [...PAGES, ...TABS.map((tab) => `/functions/orders${tab}`)]) {
        await page.goto(hearth.url + path);
        await page.locator("main h1").first().waitFor();
        await page.waitForTimeout(700);
        assert.deepEqual(await serious(page), [], path);
      }
    });
  }

  it("fits a narrow phone", async () => {
    const page = await visit("/", { viewport: { width: 380, height: 800 } });
    for (const path of [...PAGES, ...TABS.map((tab) => `/functions/orders${tab}`)]) {
      await page.goto(hearth.url + path);
      await page.locator("main h1").first().waitFor();
      await page.waitForTimeout(300);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wider <= 0, `${path} is ${wider} px wider than the screen`);
    }
    await page.getByRole("button", { name: "Menu" }).click();
    await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Functions" }).click();
    await page.getByRole("heading", { name: "Functions", level: 1 }).waitFor();
  });

  it("redrives and removes dead letters, and keeps secrets unread", async () => {
    const page = await visit("/queue");
    await page.getByRole("button", { name: "Run all again" }).click();
    await page.getByText(/events? wait again/).waitFor();
    await eventually(async () => (await hearth.call("GET", "/api/v1/queue")).functions.find((one) => one.function === "evil")?.dead === 1, "it fails again");
    await page.getByRole("button", { name: "Remove all" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove", exact: true }).click();
    await page.getByText("No dead letters").waitFor();
    await page.goto(`${hearth.url}/secrets`);
    await page.getByRole("button", { name: "New secret" }).click();
    await page.getByLabel("Name", { exact: true }).fill("api-key");
    await page.getByLabel("Value").fill("s3cr3t-canary");
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.getByRole("cell", { name: "api-key", exact: true }).waitFor();
    await page.reload();
    await page.getByRole("cell", { name: "api-key", exact: true }).waitFor();
    assert.ok(!(await page.content()).includes("s3cr3t-canary"));
  });
});
