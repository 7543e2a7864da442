// A gateway of their own for the scripts beside this: started on a free port, ended by the one that started it.

import { spawn } from "node:child_process";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** DOS_TEST_BIN: another program than `target/debug/dos`. */
export const PROGRAM = process.env.DOS_TEST_BIN ?? join(ROOT, "target/debug/dos");

/** Starts a gateway: a promise of its base URL, kept once it says that it is ready, and what ends it. */
export function startGateway(...options) {
  const child = spawn(PROGRAM, ["serve", "--listen", "127.0.0.1:0", ...options], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  const base = new Promise((resolve, reject) => {
    let output = "";
    const read = (chunk) => {
      output += chunk;
      const ready = output.match(/http:\/\/127\.0\.0\.1:[1-9]\d*/);
      if (ready) resolve(ready[0]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("error", (error) => reject(new Error(`${PROGRAM}: ${error.message}; build it with: cargo build`)));
    child.once("exit", (code) => reject(new Error(`${PROGRAM} ended with ${code} before it was ready:\n${output}`)));
  });
  async function end() {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    child.kill("SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await exited;
    clearTimeout(force);
  }
  return { base, end };
}
