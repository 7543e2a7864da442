// Lints the documents of the API, and runs a client that is generated from one of them.
//
//   npm ci --ignore-scripts && node run.mjs
//
// DOS_TEST_BIN: another program than `target/debug/dos`. It writes the documents, and is started on a free port for the client. With
// DOS_TEST_OPENAPI or DOS_TEST_ASYNCAPI a file is linted instead of what the program writes. Exit code 0: all passed.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Parser } from "@asyncapi/parser";
import { PROGRAM, ROOT, startGateway } from "../gateway.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const DOCUMENTS = join(ROOT, "target/documents");
// Leaves time for ending what was started.
const RUN_MS_MAX = 170_000;
/** Of a diagnostic: 0 is an error, 1 a warning. */
const WARNING = 1;

const execute = promisify(execFile);
const stop = new AbortController();
const endings = [];
let passed = 0;
const failures = [];

const deadline = setTimeout(() => stop.abort(), RUN_MS_MAX);
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort());

/** One check; the others run all the same. */
async function check(name, work) {
  try {
    await work();
    passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    const reason = `${error?.message ?? error}\n${error?.stdout ?? ""}`.trim().slice(0, 4000);
    failures.push(name);
    console.log(`FAILED  ${name}\n        ${reason.replaceAll("\n", "\n        ")}`);
  }
}

/** Runs a program to its end; its output is in the error where it fails. */
function run(program, args) {
  return execute(program, args, { cwd: HERE, signal: stop.signal, maxBuffer: 64 * 1024 * 1024 });
}

const tool = (name, ...args) => run(join(HERE, "node_modules/.bin", name), args);

/** The document that the program writes, or the one that was given; its path. */
async function document(kind) {
  const path = join(DOCUMENTS, `${kind}.json`);
  const given = process.env[`DOS_TEST_${kind.toUpperCase()}`];
  writeFileSync(path, given ? readFileSync(given) : (await run(PROGRAM, [kind, "--json"])).stdout);
  return path;
}

const lint = (rules, path) => tool("spectral", "lint", "--fail-severity", "warn", "--ruleset", rules, path);

/** What the AsyncAPI parser finds wrong. */
async function faults(text) {
  const { diagnostics } = await new Parser().parse(text);
  return diagnostics.filter(({ severity }) => severity <= WARNING).map(({ path, message }) => `${path.join("/")}: ${message}`);
}

/** Starts the gateway on an empty folder; resolves to its base URL. */
function startEmpty() {
  const folder = mkdtempSync(join(tmpdir(), "dos-documents-"));
  const { base, end } = startGateway("--data-dir", folder);
  endings.push(async () => {
    await end();
    rmSync(folder, { recursive: true, force: true });
  });
  const late = new Promise((_, reject) => {
    stop.signal.addEventListener("abort", () => reject(new Error("it was not ready in time")));
  });
  return Promise.race([base, late]);
}

async function asyncapi() {
  const path = await document("asyncapi");
  await check("Spectral finds nothing in the AsyncAPI document", () => lint("rules.asyncapi.yaml", path));
  const text = readFileSync(path, "utf8");
  await check("the AsyncAPI parser finds nothing in it", async () => assert.deepEqual(await faults(text), []));
  await check("a broken one is found out", async () => {
    const broken = JSON.parse(text);
    broken.operations.sendViews.action = "shout";
    broken.channels.views.messages.more = { $ref: "#/components/messages/none" };
    assert.ok((await faults(JSON.stringify(broken))).length >= 2);
  });
}

async function client(path) {
  await check("a client is generated from the OpenAPI document and compiles strictly", async () => {
    await tool("openapi-typescript", path, "--output", join(HERE, "generated/api.d.ts"));
    await tool("tsc", "--project", "tsconfig.json");
  });
  await check("it creates, updates, lists and meets a conflict", async () => {
    const { run } = await import("./generated/client.js");
    await run(await startEmpty());
  });
}

try {
  mkdirSync(DOCUMENTS, { recursive: true });
  // Nothing of an earlier run may pass for what this one could not make.
  rmSync(join(HERE, "generated"), { recursive: true, force: true });
  const openapi = await document("openapi");
  await Promise.all([
    check("Spectral finds nothing in the OpenAPI document", () => lint("rules.openapi.yaml", openapi)),
    asyncapi().then(() => client(openapi)),
  ]);
} catch (error) {
  failures.push("it could run");
  console.log(`could not run: ${error?.message ?? error}`);
}
clearTimeout(deadline);
for (const end of endings) await end();
console.log(`${passed} passed, ${failures.length} failed`);
for (const failure of failures) console.log(`  failed: ${failure}`);
process.exit(failures.length === 0 ? 0 : 1);
