// Pictures of every page: dark and light, on a desk and on a phone. `make screenshots`; they go to dashboard/shots.
import { mkdirSync } from "node:fs";
import { login, startBrowser, startHearth } from "./harness.mjs";
import { fill, traffic } from "./world.mjs";

const OUT = process.env.SHOTS ?? new URL("../shots/", import.meta.url).pathname;
/** Some pages only: `npm run screenshots -- code,live`. */
const ONLY = process.argv[2]?.split(",");
/** Seconds of calls before the first picture: charts want some. `WARM=180 npm run screenshots -- overview,code`. */
const WARM = Number(process.env.WARM ?? 0);
mkdirSync(OUT, { recursive: true });

const hearth = await startHearth();
const browser = await startBrowser();
let stop;
try {
  const first = await browser.open();
  await first.page.goto(hearth.url);
  await first.page.waitForTimeout(300);
  await first.page.screenshot({ path: `${OUT}/login.png` });
  await login(first.page, hearth);
  await first.page.waitForTimeout(800);
  await first.page.screenshot({ path: `${OUT}/welcome.png` });
  await first.context.close();

  await fill(hearth);
  stop = traffic(hearth);
  await new Promise((resolve) => setTimeout(resolve, WARM * 1000));
  await hearth.call("POST", "/api/v1/functions/hello/comparisons", { cold: 3, warm: 30, seconds: 1 });
  const list = await hearth.call("GET", "/api/v1/functions/orders/invocations?limit=20");
  const cold = list.invocations.find((one) => one.cold) ?? list.invocations[0];
  const pages = {
    overview: "/",
    functions: "/functions",
    create: "/functions/new",
    code: "/functions/hello",
    monitor: "/functions/orders/monitor",
    logs: "/functions/orders/logs",
    configuration: "/functions/send-mail/configuration",
    versions: "/functions/orders/versions",
    triggers: "/functions/orders/triggers",
    "function-schedules": "/functions/nightly-report/schedules",
    instances: "/functions/orders/instances",
    call: "/functions/hello/call",
    live: "/live",
    invocations: "/invocations",
    invocation: `/invocations/${cold.request_id}`,
    schedules: "/schedules",
    queue: "/queue",
    queues: "/queues",
    "message-queue": "/queues/orders-dead",
    secrets: "/secrets",
    tokens: "/tokens",
    settings: "/settings",
    compare: "/compare?function=hello",
  };
  const looks = [
    ["dark", "desk", { width: 1360, height: 860 }],
    ["light", "desk", { width: 1360, height: 860 }],
    ["dark", "phone", { width: 380, height: 800 }],
    ["light", "phone", { width: 380, height: 800 }],
  ];
  for (const [theme, device, viewport] of looks) {
    const { context, page, faults } = await browser.open({ viewport, colorScheme: theme, deviceScaleFactor: 1 });
    await page.addInitScript(() => localStorage.setItem("hearth.span", '"15m"'));
    await login(page, hearth);
    for (const [name, path] of Object.entries(pages)) {
      if (ONLY && !ONLY.includes(name)) continue;
      await page.goto(hearth.url + path);
      await page.waitForTimeout(name === "live" ? 2500 : 900);
      if (name === "code") {
        await page.getByRole("textbox", { name: "Test event, JSON" }).click();
        await page.keyboard.press("ControlOrMeta+a");
        await page.keyboard.insertText('{ "name": "Ada" }');
        await page.getByRole("button", { name: "Run", exact: true }).click();
        await page.waitForTimeout(1500);
      }
      await page.screenshot({ path: `${OUT}/${name}-${theme}-${device}.png` });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
      if (wide) console.log(`${name} is wider than the screen (${device})`);
    }
    if (!ONLY) {
      await page.goto(`${hearth.url}/functions`);
      await page.waitForTimeout(400);
      await page.keyboard.press("Control+k");
      await page.keyboard.type("ord");
      await page.waitForTimeout(200);
      await page.screenshot({ path: `${OUT}/palette-${theme}-${device}.png` });
    }
    if (faults.length > 0) console.log(`${theme} ${device}:`, [...new Set(faults)].join("\n  "));
    await context.close();
  }
} finally {
  await stop?.();
  await browser.close();
  await hearth.stop();
}
