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

// How long a request may take, in milliseconds.
const requestLimit = 40000;
const statusLimit = 15000;

const longestWait = 25; // seconds that a long poll asks for
const shortestWait = 3; // below this the page asks now and then instead
const nowAndThen = 2000; // between those requests, in milliseconds

/** Failure is an answer that says what is wrong, or none. */
class Failure extends Error {
  constructor(problem, unanswered = false) {
    super(problem.message);
    this.problem = problem;
    this.unanswered = unanswered; // nothing came back, or a proxy said so
  }
}

// shapes recognize the program's own answers. A login in front of it that has ended
// answers in its place, in JSON as well.
const shapes = {
  servers: (answer) => Array.isArray(answer.servers),
  users: (answer) => Array.isArray(answer.users),
  probe: (answer) => !!answer.result || !!answer.account && !!answer.server,
};
const statusShape = (answer) => typeof answer.seen === "string" && !!answer.extra && !!answer.settings;
const errorShape = (answer) => typeof answer.error === "string" && typeof answer.message === "string";

// forbidden are the program's own reasons for a 403. It never answers 401.
const forbidden = new Set(["home_pin", "host", "cross_origin"]);

function isOurs(response, answer, path) {
  if (typeof answer !== "object" || answer === null || response.status === 401) {
    return false;
  }
  if (response.status === 403 && !forbidden.has(answer.error)) {
    return false;
  }
  return (response.ok ? shapes[path] ?? statusShape : errorShape)(answer);
}

// foreign returns the Failure for a response that is not the program's, or for none.
function foreign(path, response) {
  const status = response?.status ?? 0;
  const detail = status ? `HTTP status ${status}` : "";
  if (response && (response.type === "opaqueredirect" || response.ok || [401, 403, 511].includes(status))) {
    return new Failure({ error: "sign_in", message: "Your sign-in to {product} has ended, so this page gets no answers. Reload the page and sign in.", detail });
  }
  if (!response || status >= 500 || status === 408 || status === 429) {
    const message = path.startsWith("status")
      ? "Either {product} has stopped, or the connection to it is broken. This page keeps trying."
      : "No answer came from {product}. It may have stopped, or the answer was lost on the way. Try again.";
    return new Failure({ error: "network", message, detail }, true);
  }
  return new Failure({ error: "network", message: "What answered is not this program's panel. Reload the page. If that does not help, check the proxy in front of {product}.", detail });
}

// ask returns the program's answer. Every request has a limit, because an answer may
// be lost without a sign. controller can end the request earlier.
async function ask(path, { post, limit = requestLimit, controller = new AbortController() } = {}) {
  let late = false;
  let response;
  let answer;
  const timer = setTimeout(() => { late = true; controller.abort(); }, limit);
  try {
    // The program redirects nothing. A login in front of it does, usually to another
    // origin, where no script may follow.
    response = await fetch(new URL(path, base), {
      cache: "no-store", redirect: "manual", signal: controller.signal, headers: { Accept: "application/json" },
      ...(post && { method: "POST", headers: { Accept: "application/json", "Content-Type": "application/json" }, body: JSON.stringify(post) }),
    });
    answer = response.type === "opaqueredirect" ? null : await response.json();
  } catch (error) {
    if (controller.signal.aborted && !late) {
      throw error;
    }
    if (late || !(error instanceof SyntaxError)) {
      response = undefined;
    }
  } finally {
    clearTimeout(timer);
  }
  if (!response || !isOurs(response, answer, path)) {
    throw foreign(path, response);
  }
  if (!response.ok) {
    throw new Failure(answer);
  }
  return answer;
}

const post = (path, body = {}) => ask(path, { post: body });

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Panel extends View {
  constructor(root) {
    super(root);
    this.over = new AbortController();
    this.patience = longestWait; // how long a poll waits for news, in seconds
    this.setback = 0; // the last pause after trouble, in milliseconds
    this.reached = false; // whether the last poll was answered
    this.listen();
    this.render();
    this.follow();
    this.clock = setInterval(() => this.tick(), 500);
  }

  // stop lets go of a fragment that the host has taken out of its page.
  stop() {
    this.over.abort();
    this.poll?.abort();
    this.wake?.();
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
    on(this.part("change-server"), "click", () => this.showServers(!this.serversOpen()));
    submit(this.part("server-form"), (button) => this.useServer(button));
    submit(this.part("address-form"), (button) => this.useAddress(button));
    on(this.id("plex_server_url"), "change", () => this.tryAddress());
    on(this.id("btn-plex-auto"), "click", (e) => this.act(e.currentTarget, () => post("inspect"), "server"));
    on(this.id("plex_user_pick_btn"), "click", () => this.showUsers(!this.open.users));
    submit(this.part("user-form"), (button) => this.useUser(button));
    on(this.part("user-list"), "change", () => this.render());
    on(this.part("servers"), "input", () => { this.open.servers = true; }); // a choice is being made: it stays open
    on(document, "visibilitychange", () => (document.hidden ? this.waiting?.abort() : this.wake?.()));
    on(window, "online", () => {
      this.setback = 0;
      this.poll?.abort(); // its connection may be dead
      this.wake?.();
    });
  }

  // follow keeps up with what the program says, for as long as there is a page.
  // Browsers allow only a few connections to one host, so a tab that is not seen
  // holds none: it asks now and then while something is expected to end by itself.
  async follow() {
    while (!this.over.signal.aborted) {
      if (this.doc && document.hidden && !this.expects()) {
        await this.rest();
        continue;
      }
      const wait = this.reached && !document.hidden && this.patience >= shortestWait;
      try {
        this.take(await (wait ? this.news() : this.now()));
        this.reached = true;
        this.setback = 0;
        this.patience = Math.min(this.patience + 1, longestWait);
        if (!wait && (document.hidden || this.patience <= shortestWait)) {
          await this.rest(nowAndThen);
        }
      } catch (error) {
        if (error.name === "AbortError") {
          continue;
        }
        this.reached = false; // then the next poll does not wait: that it is answered is the news
        if (error instanceof Failure) {
          this.fail(error, { fromStatus: true });
        }
        this.setback = Math.min(2 * this.setback || 1000, 15000);
        await this.rest(this.setback + Math.random() * 500);
      }
    }
  }

  // now asks how things stand.
  now() {
    this.poll = new AbortController();
    return ask("status", { limit: statusLimit, controller: this.poll });
  }

  // news waits for changes. A proxy may cut that short, or the answer may be lost. It
  // counts as trouble only if the program does not answer a plain request either;
  // otherwise the page waits less from then on.
  async news() {
    const controller = this.poll = this.waiting = new AbortController();
    const wait = this.patience;
    try {
      return await ask(`status?wait=${wait}&seen=${encodeURIComponent(this.doc.seen)}`, { limit: (wait + 8) * 1000, controller });
    } catch (error) {
      if (!error.unanswered) {
        throw error;
      }
      const doc = await this.now();
      this.patience = Math.floor(wait / 2);
      return doc;
    } finally {
      this.waiting = null;
    }
  }

  // rest pauses until the tab is seen again, the network is back, or the time is up.
  async rest(ms) {
    let timer;
    await new Promise((done) => {
      this.wake = done;
      timer = ms && setTimeout(done, ms);
    });
    clearTimeout(timer);
  }

  // expects reports whether something is under way that ends by itself.
  expects() { return !!this.doc?.extra.pending || !!this.doc?.finding; }

  // take takes in how things stand.
  take(doc) {
    const before = this.doc;
    this.doc = doc;
    const pending = doc.extra.pending;
    if (pending) {
      this.ends = performance.now() + pending.expires_in * 1000;
    }
    if (this.problem?.fromStatus || this.problem?.error === "network" && before && doc.seen !== before.seen) {
      this.problem = null; // what was not answered was carried out, too
    }
    if (pending && pending.code !== before?.extra.pending?.code) {
      this.tell("pending", pending);
    }
    if (this.expects()) {
      this.wake?.(); // the tab that Plex opens in hides this one, which is to go on asking all the same
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
    if (this.unchosen() && !this.listed) {
      this.listServers();
    }
    if (doc.connected && !pending && doc.settings.machine_id && !this.lists.servers) {
      this.nameServer();
    }
    this.render();
  }

  // forget drops what was asked for in the name of another sign-in.
  forget() {
    this.lists = {};
    this.listed = false; // the servers, without being told to
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

  // fail shows what has gone wrong beside the button that was pressed, and offers to
  // do it again.
  fail(error, { at = null, again = null, fromStatus = false } = {}) {
    if (!(error instanceof Failure)) {
      throw error;
    }
    const message = error.problem.message.replaceAll("{product}", this.product());
    this.problem = { ...error.problem, message, fromStatus, at };
    this.retry = error.problem.error === "sign_in" ? () => location.reload() : again;
    if (error.problem.servers && !fromStatus) {
      this.lists.servers = error.problem.servers;
    }
    this.tell("problem", { ...error.problem, message });
    this.render();
    if (at) {
      this.part("problem").scrollIntoView({ block: "nearest" });
    }
  }

  // refuse asks for what is missing, beside the button that needs it.
  refuse(at, message) {
    this.problem = { error: "missing", message, at };
    this.retry = null;
    this.render();
    this.part("problem").scrollIntoView({ block: "nearest" });
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
      this.fail(error, { at: button, again: () => this.act(button, what, event) });
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
          const wait = error.problem.retry_after ?? 5;
          this.say(`A new code comes in ${wait === 1 ? "a second" : `${wait} seconds`}`);
          await sleep(wait * 1000);
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
      this.fail(error, { at: this.id("btn-connect-plex"), again: options.switch_account ? () => this.start(options) : null }); // else its button is there still
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
      this.fail(error, { at: button, again: () => this.test(button) });
    } finally {
      this.busy = null;
      this.render();
      this.part("results").scrollIntoView({ block: "nearest" });
    }
  }

  async showServers(open) {
    this.open.servers = open;
    this.problem = null;
    this.render();
    if (open) {
      await this.listServers(this.part("change-server"));
    }
  }

  // listServers asks for the servers unless they are known. at is the button that
  // was pressed for it, null where none was.
  async listServers(at = null) {
    if (this.lists.servers?.length || this.listing) {
      return;
    }
    this.listing = this.listed = true;
    try {
      this.lists.servers = (await ask("servers")).servers;
    } catch (error) {
      this.fail(error, { at, again: () => this.showServers(true) });
    } finally {
      this.listing = false;
    }
    this.render();
  }

  async useServer(button) {
    const choice = this.part("server-list").querySelector("input:checked");
    if (!choice) {
      this.refuse(button, "Choose one of the servers first.");
    } else if (await this.act(button, () => post("server", { machine_id: choice.value }), "server")) {
      this.showServers(false);
      this.part("change-server").focus();
    }
  }

  async useAddress(button) {
    const url = this.id("plex_server_url").value.trim();
    if (!url) {
      this.refuse(button, "Enter the address of the server first.");
    } else if (await this.act(button, () => post("server", { url }), "server")) {
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
      text = error.message.replaceAll("{product}", this.product());
    }
    if (url === this.id("plex_server_url").value.trim()) {
      note.textContent = text;
    }
  }

  async showUsers(open) {
    this.open.users = open;
    this.problem = null;
    this.render();
    if (!open || this.lists.users) {
      return;
    }
    try {
      this.lists.users = (await ask("users")).users;
    } catch (error) {
      this.fail(error, { at: this.id("plex_user_pick_btn"), again: () => this.showUsers(true) });
    }
    this.render();
  }

  async useUser(button) {
    const choice = this.part("user-list").querySelector("input:checked");
    const pin = this.id("plex_home_pin").value;
    if (!choice) {
      this.refuse(button, "Choose one of the users first.");
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
