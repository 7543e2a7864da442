// Opens /docs in headless Chromium, with no network but loopback, and uses it as a person would.
//
//   npm ci && node run.mjs
//
// DOS_TEST_URL: a gateway that runs already, with at least one provider. Without it `target/debug/dos` is started (DOS_TEST_BIN: another
// binary) on a free port with the sample data. Only what was started here is ended here. Exit code 0: all passed.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { ROOT, startGateway } from "../gateway.mjs";

const PICTURES = join(ROOT, "target/browser");
// Leaves ten seconds for ending what was started.
const RUN_MS_MAX = 50_000;
const STEP_MS_MAX = 15_000;

const scratch = mkdtempSync(join(tmpdir(), "dos-browser-"));
const endings = [() => rmSync(scratch, { recursive: true, force: true })];
let passed = 0;
const failures = [];

const deadline = setTimeout(async () => {
  failures.push(`not finished within ${RUN_MS_MAX / 1000} s`);
  await finish();
}, RUN_MS_MAX);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    failures.push(`ended by ${signal}`);
    void finish();
  });
}

let finishing;

/** Ends what was started, once: who comes second, after the time is up, waits for it too. */
function finish() {
  finishing ??= end();
  return finishing;
}

async function end() {
  clearTimeout(deadline);
  for (const end of endings.reverse().splice(0)) await Promise.resolve(end()).catch(() => {});
  console.log(`${passed} passed, ${failures.length} failed`);
  for (const failure of failures) console.log(`  failed: ${failure}`);
  process.exit(failures.length === 0 ? 0 : 1);
}

/** One check; the ones behind it run all the same. */
async function check(name, work) {
  try {
    await work();
    passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    const reason = String(error?.message ?? error).replaceAll(/\u001b\[\d+m/g, "").slice(0, 1500);
    failures.push(`${name}: ${reason}`);
    console.log(`FAILED  ${name}\n        ${reason.replaceAll("\n", "\n        ")}`);
  }
}

/** Starts the gateway with the sample data; resolves to its base URL once it says that it is ready. */
function startSample() {
  const { base, end } = startGateway("--data-dir", join(scratch, "data"), "--import", "data/trafford");
  endings.push(end);
  return base;
}

/** A provider of the gateway; waits for the import to bring the first. */
async function firstProvider(base) {
  for (;;) {
    const response = await fetch(`${base}/provider?limit=1`);
    const rows = response.ok ? await response.json() : [];
    if (rows.length > 0) return rows[0];
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function startBrowser() {
  const context = await chromium.launchPersistentContext(join(scratch, "profile"), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1280, height: 1000 },
    colorScheme: "light",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ],
  });
  endings.push(() => context.close());
  context.setDefaultTimeout(STEP_MS_MAX);
  return context;
}

/** Writes down everything the page must not do. */
function watch(page, base, complaints) {
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`page error: ${error.message}`));
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on("request", (request) => {
    const url = request.url();
    const inside = url.startsWith(`${base}/`) || url.startsWith("data:") || url.startsWith("blob:");
    if (!inside) complaints.push(`a request to somewhere else: ${url}`);
  });
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()} for ${response.url()}`);
  });
}

/** Distinct colours of a picture, sampled on a grid, counted on a blank page that no policy of ours restricts. */
async function colours(context, png) {
  const page = await context.newPage();
  try {
    return await page.evaluate(async (base64) => {
      const image = new Image();
      image.src = `data:image/png;base64,${base64}`;
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.width, image.height];
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.width, image.height);
      const seen = new Set();
      for (let i = 0; i < data.length; i += 4 * 7) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
      return { width: image.width, height: image.height, distinct: seen.size };
    }, png.toString("base64"));
  } finally {
    await page.close();
  }
}

async function picture(page, name) {
  const png = await page.screenshot();
  writeFileSync(join(PICTURES, name), png);
  return png;
}

async function main() {
  mkdirSync(PICTURES, { recursive: true });
  const base = (process.env.DOS_TEST_URL ?? (await startSample())).replace(/\/+$/, "");
  const provider = await firstProvider(base);
  const document = await (await fetch(`${base}/openapi.json`)).json();
  const tags = document.tags.map((tag) => tag.name);
  const context = await startBrowser();
  const page = context.pages()[0] ?? (await context.newPage());
  const complaints = [];
  watch(page, base, complaints);
  let first;

  await check("the page renders, with every tag of the document", async () => {
    const answer = await page.goto(`${base}/docs`);
    assert.equal(answer.status(), 200);
    await page.locator(".opblock-tag").first().waitFor();
    const shown = await page.locator(".opblock-tag").evaluateAll((all) => all.map((tag) => tag.dataset.tag));
    assert.deepEqual(shown, tags);
    for (const type of ["provider", "service", "taxonomy", "event", "venue", "contact", "costoption", "eligibility"]) {
      assert.ok(shown.includes(type), `${type} is not there`);
    }
    assert.match(await page.title(), /API reference/);
    first = await picture(page, "overview.png");
  });

  await check("the page is under a policy that allows the gateway alone", async () => {
    const policy = (await fetch(`${base}/docs`)).headers.get("content-security-policy") ?? "";
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, /script-src 'self'(;|$)/);
    assert.match(policy, /connect-src 'self'(;|$)/);
  });

  const block = page.locator("#operations-provider-getProvider");
  await check("try it out: GET /provider/{id} shows a real provider", async () => {
    await page.locator('.opblock-tag[data-tag="provider"]').click();
    await block.locator(".opblock-summary-control").click();
    const send = block.getByRole("button", { name: "Execute" });
    if (!(await send.isVisible().catch(() => false))) {
      const tryIt = block.getByRole("button", { name: "Try it out" });
      await send.or(tryIt).first().waitFor();
      if (await tryIt.isVisible()) await tryIt.click();
    }
    await block.locator('tr[data-param-name="id"] input').fill(provider.id);
    const answered = page.waitForResponse((response) => new URL(response.url()).pathname === `/provider/${provider.id}`);
    await send.click();
    const response = await answered;
    assert.equal(response.status(), 200);
    assert.equal((await response.json()).name, provider.name);
    const shown = block.locator(".live-responses-table");
    await shown.waitFor();
    assert.match(await shown.locator(".response-col_status").last().innerText(), /^200/);
    const body = await shown.locator(".response-col_description").last().innerText();
    assert.ok(body.includes(JSON.stringify(provider.name)), `the name is not in:\n${body}`);
  });

  await check("a link to an operation opens it", async () => {
    const other = await context.newPage();
    watch(other, base, complaints);
    await other.goto(`${base}/docs#/service/createService`);
    await other.locator("#operations-service-createService .opblock-body").waitFor();
    await other.waitForLoadState("networkidle");
    await other.close();
  });

  await check("the pictures are not blank", async () => {
    await block.scrollIntoViewIfNeeded();
    for (const png of [first, await picture(page, "docs.png")]) {
      assert.ok(png, "no picture was taken");
      const { width, height, distinct } = await colours(context, png);
      assert.ok(width >= 1000 && height >= 600, `${width} x ${height}`);
      assert.ok(distinct >= 50, `only ${distinct} colours`);
    }
  });

  await check("no console error, no request elsewhere, none that failed", async () => {
    assert.deepEqual(complaints, []);
  });
}

try {
  await main();
} catch (error) {
  failures.push(`could not run: ${error.message}`);
}
await finish();
