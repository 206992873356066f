// The service under test: the built binary on the PostgreSQL of `scripts/test-console`, with apps, users and rooms made by the
// public API.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";

const BINARY = process.env.ROOMWARD_TEST_BINARY;

/** Names in one call, as the API has it. */
const BATCH = 60;

/** The password of every user that tests make. */
export const PASSWORD = "a-long-password";

/** How long anything may take, on a machine that has much else to do. */
export const DEADLINE_MS = 20_000;

/** Waits until `check` returns something; `what` says what for where that does not come. */
export async function eventually(what, check) {
  for (const end = Date.now() + DEADLINE_MS; ; await pause(20)) {
    const found = await check();
    if (found) return found;
    assert.ok(Date.now() < end, `${what} did not come within ${DEADLINE_MS} ms`);
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** An instance on a port of its own, which it keeps when it is killed and started again. */
export class Service {
  static async start(settings = {}) {
    const service = new Service();
    service.port = await freePort();
    service.url = `http://127.0.0.1:${service.port}`;
    service.environment = { ...process.env, ROOMWARD__SERVER__PORT: String(service.port), ...settings };
    await service.start();
    return service;
  }

  async start() {
    this.process = spawn(BINARY, ["serve"], { env: this.environment, stdio: ["ignore", "ignore", "inherit"] });
    process.once("exit", () => this.process.kill("SIGKILL"));
    await eventually("the service", () => fetch(`${this.url}/readyz`).then((answer) => answer.ok, () => false));
  }

  /** Ends it as a crash would. */
  async kill() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }

  /** What the command line says. */
  async run(...words) {
    return (await promisify(execFile)(BINARY, words, { env: this.environment })).stdout.trim();
  }

  /** A new app. */
  async app(name = `console/t${process.pid}x${Date.now().toString(36)}`) {
    await this.run("app", "create", name, "--client-id", "client", "--client-secret", "client-secret");
    return new App(this, name, await this.run("token", name));
  }
}

/** An app of the service, as its own server sees it. */
export class App {
  constructor(service, name, token) {
    Object.assign(this, { service, name, token });
  }

  /** Makes a call and returns its answer, which is a success. */
  async call(method, path, body, { token = this.token, ...headers } = {}) {
    const response = await fetch(`${this.service.url}/${this.name}${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, ...headers },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    assert.equal(response.status, 200, `${method} ${path}: ${text}`);
    return JSON.parse(text);
  }

  async users(...names) {
    for (let at = 0; at < names.length; at += BATCH) {
      await this.call("POST", "/users", names.slice(at, at + BATCH).map((username) => ({ username, password: PASSWORD })));
    }
  }

  /** A room of users, who are registered for it. */
  async room(id, owner, members = [], more = {}) {
    await this.users(owner, ...members);
    await this.call("POST", "/chatrooms", { roomid: id, name: id, description: id, owner, maxusers: 10_000, ...more });
    for (let at = 0; at < members.length; at += BATCH) {
      await this.call("POST", `/chatrooms/${id}/users`, { usernames: members.slice(at, at + BATCH) });
    }
  }

  /** A user who moderates those rooms, or all of them. */
  async moderator(username, { role = "moderator", rooms } = {}) {
    await this.users(username);
    await this.call("POST", "/moderators", { username, role, rooms });
  }

  async mute(room, usernames, { ms = -1, actor = "eve", reason = "spam" } = {}) {
    const headers = { "X-Operator": actor, "X-Audit-Reason": encodeURIComponent(reason) };
    await this.call("POST", `/chatrooms/${room}/mute`, { usernames, mute_duration: ms }, headers);
  }

  async block(room, username, { ms = -1, actor = "eve", reason = "insults" } = {}) {
    const headers = { "X-Operator": actor, "X-Audit-Reason": encodeURIComponent(reason) };
    await this.call("POST", `/chatrooms/${room}/blocks/users/${username}`, { block_duration: ms }, headers);
  }
}
