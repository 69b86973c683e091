// The panel: brings the fragment of HTML() to life, in its own page or in a
// host's. Its routes are beside this file, wherever that is; it talks to
// nobody else. The root element tells the host what happens:
//
//	plexauth:pending       detail {code, url, expires_in}
//	plexauth:connected     detail {user, settings}
//	plexauth:disconnected
//	plexauth:server        detail settings
//	plexauth:user          detail settings
//	plexauth:expired       detail {error, message}, and more where it applies
//	plexauth:problem       as expired
//
// All of them bubble.

import { View, friendly } from "./view.js";

const base = new URL("./", import.meta.url);

// How a login can end and leave an older one as it was.
const refusals = new Set(["pin_expired", "account_mismatch", "no_login", "superseded", "rejected"]);

/** Failure is an answer that says what is wrong. */
class Failure extends Error {
  constructor(problem) {
    super(problem.message);
    this.problem = problem;
  }
}

// What the program's own answers have in them. A login in front of it that has run
// out answers in its place, in JSON as well.
const shapes = {
  servers: (answer) => Array.isArray(answer.servers),
  users: (answer) => Array.isArray(answer.users),
  probe: (answer) => !!answer.result || !!answer.account && !!answer.server,
};
const statusShape = (answer) => typeof answer.seen === "string" && !!answer.extra && !!answer.settings;
const errorShape = (answer) => typeof answer.error === "string" && typeof answer.message === "string";

function isOurs(answer, path, ok) {
  return typeof answer === "object" && answer !== null && (ok ? shapes[path] ?? statusShape : errorShape)(answer);
}

async function ask(path, options) {
  let response;
  let answer;
  try {
    response = await fetch(new URL(path, base), { cache: "no-store", headers: { Accept: "application/json" }, ...options });
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
  }
  if (!isOurs(answer, path, response?.ok)) {
    throw new Failure({
      error: "network",
      message: response
        ? "What answered is not this program's panel. Reload the page; you may have to sign in to the program again."
        : "The connection to this program is broken, or it has stopped. This page looks again by itself.",
    });
  }
  if (!response.ok) {
    throw new Failure(answer);
  }
  return answer;
}

const post = (path, body = {}) =>
  ask(path, { method: "POST", headers: { Accept: "application/json", "Content-Type": "application/json" }, body: JSON.stringify(body) });

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Panel extends View {
  constructor(root) {
    super(root);
    this.over = new AbortController();
    this.listen();
    this.render();
    this.follow();
    this.clock = setInterval(() => this.tick(), 500);
  }

  // stop lets go of a fragment that the host has taken out of its page.
  stop() {
    this.over.abort();
    clearInterval(this.clock);
    clearTimeout(this.silence);
    delete this.root.dataset.hydrated;
  }

  tell(name, detail) { this.root.dispatchEvent(new CustomEvent(`plexauth:${name}`, { detail, bubbles: true })); }

  listen() {
    const on = (element, event, act) => element?.addEventListener(event, act, { signal: this.over.signal });
    on(this.id("btn-connect-plex"), "click", () => this.start());
    on(this.id("btn-plex-restart"), "click", () => this.start());
    on(this.id("btn-plex-cancel"), "click", (e) => this.cancel(e.currentTarget));
    // No forms: a host may have put the panel into one of its own.
    const confirm = this.part("confirm");
    on(this.id("btn-delete-plex"), "click", () => { confirm.returnValue = ""; confirm.showModal(); });
    for (const button of confirm?.querySelectorAll("button") ?? []) on(button, "click", () => confirm.close(button.value));
    on(confirm, "close", () => this.disconnect(confirm.returnValue === "yes"));
    const submit = (part, act) => {
      const button = part?.querySelector("[data-do]");
      on(button, "click", () => act(button));
      on(part, "keydown", (e) => {
        if (e.key !== "Enter" || e.isComposing || e.target === button) return;
        e.preventDefault();
        act(button);
      });
    };
    on(this.id("plex_qc_copy"), "click", () => this.copy());
    on(this.part("problem-action"), "click", () => (this.trouble()?.error === "account_mismatch" ? this.start({ switch_account: true }) : this.retry?.()));
    on(this.part("test"), "click", (e) => this.test(e.currentTarget));
    on(this.part("change-server"), "click", () => this.showServers(!this.open.servers));
    submit(this.part("server-form"), (button) => this.useServer(button));
    submit(this.part("address-form"), (button) => this.useAddress(button));
    on(this.id("plex_server_url"), "change", () => this.tryAddress());
    on(this.id("btn-plex-auto"), "click", (e) => this.act(e.currentTarget, () => post("inspect"), "server"));
    on(this.id("plex_user_pick_btn"), "click", () => this.showUsers(!this.open.users));
    submit(this.part("user-form"), (button) => this.useUser(button));
    on(this.part("user-list"), "change", () => this.render());
    on(document, "visibilitychange", () => this.wake?.());
  }

  // follow keeps up with what the server says, for as long as there is a page.
  async follow() {
    for (let pause = 0; !this.over.signal.aborted; ) {
      try {
        // After trouble at once: that it is over is news to the page alone.
        const path = this.doc && !pause ? `status?wait=25&seen=${encodeURIComponent(this.doc.seen)}` : "status";
        this.take(await ask(path, { signal: this.attention() }));
        pause = 0;
      } catch (error) {
        if (error.name !== "AbortError") {
          if (error instanceof Failure) {
            this.fail(error, null, true);
          }
          pause = Math.min(2 * pause || 1000, 15000);
          await sleep(pause + Math.random() * 500);
        }
      }
      while (document.hidden && !this.expects() && !this.over.signal.aborted) {
        await new Promise((done) => { this.wake = done; });
      }
    }
  }

  // expects tells that something is under way that will end by itself.
  expects() { return !!this.doc?.extra.pending || !!this.doc?.finding; }

  // attention ends a long poll when the tab is put aside, unless something is
  // expected: browsers allow only a few connections to one host.
  attention() {
    const ended = new AbortController();
    this.wake = () => {
      if (!document.hidden || !this.expects()) {
        ended.abort();
      }
    };
    this.over.signal.addEventListener("abort", () => ended.abort(), { signal: ended.signal });
    return ended.signal;
  }

  // take takes in how things stand.
  take(doc) {
    const before = this.doc;
    this.doc = doc;
    const pending = doc.extra.pending;
    if (pending) {
      this.ends = performance.now() + pending.expires_in * 1000;
    }
    if (this.problem?.fromStatus) {
      this.problem = null;
    }
    if (pending && pending.code !== before?.extra.pending?.code) {
      this.tell("pending", pending);
      this.wake?.(); // the tab just opened hides this one, which is to go on asking all the same
    }
    const linked = !before?.connected || before.extra.pending && !this.cancelled && !refusals.has(doc.problem?.error);
    if (before && doc.connected && !pending && linked) {
      this.problem = null;
      this.forget();
      this.tell("connected", { user: doc.user, settings: doc.settings });
    }
    if (before?.connected && !doc.connected && !doc.extra.needs_login) {
      this.tell("disconnected");
    }
    if (doc.problem && doc.problem.error !== before?.problem?.error) {
      this.tell(doc.problem.error === "pin_expired" ? "expired" : "problem", doc.problem);
    }
    if (doc.connected && !pending && !doc.finding && !doc.settings.machine_id && this.open.servers === null) {
      this.showServers(true);
    }
    if (doc.connected && !pending && doc.settings.machine_id && !this.lists.servers) {
      this.nameServer();
    }
    this.render();
  }

  // forget drops what was asked for in the name of another sign-in.
  forget() {
    this.lists = {};
    this.open = { servers: null, users: false };
    this.results = null;
  }

  // nameServer finds out what the chosen server is called. It is a nicety: if
  // it fails, the address will do.
  async nameServer() {
    this.lists.servers = [];
    try {
      this.lists.servers = (await ask("servers")).servers;
      this.render();
    } catch {
      // The next look at the list will tell.
    }
  }

  // fail shows what has gone wrong, and offers to do it again.
  fail(error, again = null, fromStatus = false) {
    if (!(error instanceof Failure)) {
      throw error;
    }
    this.problem = { ...error.problem, fromStatus };
    this.retry = again;
    if (error.problem.servers && !fromStatus) {
      this.lists.servers = error.problem.servers;
    }
    this.tell("problem", error.problem);
    this.render();
  }

  // act does something that is answered with how things stand then.
  async act(button, what, event) {
    if (this.busy) {
      return false;
    }
    this.busy = button;
    this.problem = null;
    this.results = null;
    this.render();
    try {
      this.take(await what());
      if (event) {
        this.tell(event, this.doc.settings);
      }
      return true;
    } catch (error) {
      this.fail(error, () => this.act(button, what, event));
      return false;
    } finally {
      this.busy = null;
      this.render();
    }
  }

  // start opens the tab at once, while the browser still knows that somebody
  // has clicked, and sends it on when there is a code.
  async start(options = {}) {
    if (this.busy) {
      return;
    }
    let tab = null;
    try {
      tab = window.open("", "_blank");
      if (tab) {
        tab.opener = null;
        tab.document.title = "Plex";
        tab.document.body.textContent = "Opening Plex…";
      }
    } catch {
      // Forbidden here; the link does it.
    }
    this.busy = this.id("btn-connect-plex");
    this.problem = null;
    this.render();
    try {
      let doc = null;
      for (let tries = 0; !doc; tries++) {
        try {
          doc = await post("start", options);
        } catch (error) {
          if (error.problem?.error !== "too_soon" || tries > 2) {
            throw error;
          }
          this.say("A new code can be had in a moment");
          await sleep((error.problem.retry_after ?? 5) * 1000);
        }
      }
      const pending = doc.extra.pending;
      this.tab = pending && { code: pending.code, opened: !!tab };
      this.busy = null;
      this.take(doc);
      if (tab && pending) {
        tab.location.replace(pending.url);
      } else {
        tab?.close();
      }
    } catch (error) {
      tab?.close();
      this.busy = null;
      this.fail(error, options.switch_account ? () => this.start(options) : null); // else its button is there still
    } finally {
      this.busy = null;
      this.render();
    }
  }

  async cancel(button) {
    this.cancelled = true;
    await this.act(button, () => post("cancel"));
    this.cancelled = false;
  }

  async disconnect(yes) {
    if (yes && await this.act(this.id("btn-delete-plex"), () => post("disconnect", { revoke: this.part("revoke").checked }))) {
      this.forget();
      this.render();
    }
  }

  async copy() {
    const code = this.doc?.extra.pending?.code;
    if (!code) {
      return;
    }
    let copied = false;
    try {
      await navigator.clipboard.writeText(code); // not over plain http
      copied = true;
    } catch {
      const area = document.createElement("textarea");
      area.value = code;
      area.setAttribute("readonly", "");
      area.className = "plexauth-copy";
      this.id("plex_qc_copy").before(area);
      area.select();
      copied = document.execCommand("copy");
      area.remove();
      this.id("plex_qc_copy").focus();
    }
    this.id("plex_qc_copy").textContent = copied ? "Copied" : "Select it";
    this.say(copied ? "Code copied" : "The code could not be copied");
    setTimeout(() => { this.id("plex_qc_copy").textContent = "Copy"; }, 1400);
  }

  // test tries the account and the server, and shows what it found.
  async test(button) {
    if (this.busy) {
      return;
    }
    this.busy = button;
    this.results = [{ state: "wait", text: "Trying the account and the server" }];
    this.render();
    try {
      const { account, server } = await post("probe");
      this.results = [
        account.ok
          ? { text: `Plex accepts the sign-in of ${this.doc.user || "this account"}.` }
          : { state: "bad", text: account.problem.message },
        server.ok
          ? { text: server.relay ? `The server answers, through Plex's relay only: ${server.url}` : `The server answers at ${friendly(server.url)}.` }
          : { state: "bad", text: server.problem.message, more: server.addresses.map((a) => `${friendly(a.url)}: ${a.finding}`) },
      ];
      if (server.ok && !server.token_accepted) {
        this.results.push({ state: "wait", text: "Whether it accepts this account was not tried: that is done at the saved address only." });
      }
    } catch (error) {
      this.results = null;
      this.fail(error, () => this.test(button));
    } finally {
      this.busy = null;
      this.render();
    }
  }

  async showServers(open) {
    this.open.servers = open;
    this.render();
    if (!open || this.lists.servers?.length) {
      return;
    }
    try {
      this.lists.servers = (await ask("servers")).servers;
    } catch (error) {
      this.fail(error, () => this.showServers(true));
    }
    this.render();
  }

  async useServer(button) {
    const choice = this.part("server-list").querySelector("input:checked");
    if (!choice) {
      this.say("Choose one first");
    } else if (await this.act(button, () => post("server", { machine_id: choice.value }), "server")) {
      this.showServers(false);
      this.part("change-server").focus();
    }
  }

  async useAddress(button) {
    const url = this.id("plex_server_url").value.trim();
    if (url && await this.act(button, () => post("server", { url }), "server")) {
      this.showServers(false);
      this.part("change-server").focus();
    }
  }

  // tryAddress says whether a typed address will do, before anybody saves it.
  async tryAddress() {
    const note = this.part("address-note");
    const url = this.id("plex_server_url").value.trim();
    if (!url || url === this.doc?.settings.server_url) {
      note.textContent = "";
      return;
    }
    note.textContent = "Trying it…";
    let text;
    try {
      text = {
        ok: "A Plex server answers there.",
        wrong_server: "Another server than the chosen one answers there.",
        unreachable: "No Plex server answers there.",
      }[(await post("probe", { url })).result];
    } catch (error) {
      text = error.message;
    }
    if (url === this.id("plex_server_url").value.trim()) {
      note.textContent = text;
    }
  }

  async showUsers(open) {
    this.open.users = open;
    this.render();
    if (!open || this.lists.users) {
      return;
    }
    try {
      this.lists.users = (await ask("users")).users;
    } catch (error) {
      this.fail(error, () => this.showUsers(true));
    }
    this.render();
  }

  async useUser(button) {
    const choice = this.part("user-list").querySelector("input:checked");
    const pin = this.id("plex_home_pin").value;
    if (!choice) {
      this.say("Choose one first");
    } else if (await this.act(button, () => post("user", { uuid: choice.value, pin }), "user")) {
      this.id("plex_home_pin").value = "";
      this.showUsers(false);
      this.id("plex_user_pick_btn").focus();
    } else if (this.problem?.error === "home_pin") {
      this.id("plex_home_pin").select();
    }
  }
}

const panels = new Set();

/** hydrate brings one fragment to life, once. */
export function hydrate(root) {
  if (root.dataset.hydrated) {
    return;
  }
  root.dataset.hydrated = "yes";
  const sheet = new URL("panel.css", base).href;
  if (![...document.querySelectorAll('link[rel="stylesheet"]')].some((link) => link.href === sheet)) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = sheet;
    document.head.append(link);
  }
  panels.add(new Panel(root));
}

// The host may put the fragment into its page later, and take it out again.
function look() {
  for (const panel of panels) {
    if (!panel.root.isConnected) {
      panel.stop();
      panels.delete(panel);
    }
  }
  const root = document.querySelector("[data-plexauth]:not([data-hydrated])");
  if (root) {
    hydrate(root);
  }
}

look();
new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
