// The panel: brings the fragment of HTML() to life, in its own page or in a
// host's. Its routes are beside this file, wherever that is; it talks to
// nobody else. The root element tells the host what happens:
//
//	plexauth:pending       detail {code, url, expires_in}
//	plexauth:connected     detail {user, settings}
//	plexauth:disconnected
//	plexauth:expired
//	plexauth:server        detail settings
//	plexauth:user          detail settings
//	plexauth:problem       detail {error, message}
//
// All of them bubble.

const base = new URL("./", import.meta.url);

const titles = {
  dns: "Plex cannot be reached",
  connect: "Plex cannot be reached",
  proxy: "Plex cannot be reached",
  tls: "Plex cannot be reached",
  timeout: "Plex cannot be reached",
  content: "Plex cannot be reached",
  status: "Plex has trouble",
  rate_limited: "Plex asks to slow down",
  rejected: "Plex has ended this sign-in",
  pin_expired: "The code has expired",
  account_mismatch: "That was another Plex account",
  store: "The settings cannot be saved",
  store_corrupt: "The settings cannot be read",
  server_unreachable: "The server does not answer",
  server_token: "The server gives no access",
  server_choice: "Choose a server",
  home_pin: "Wrong PIN",
  too_soon: "One moment",
  not_revoked: "Disconnected, with a remainder",
  network: "This program does not answer",
};

// Trouble that passes by itself, and that asks nothing of anybody.
const mild = new Set(["pin_expired", "rate_limited", "too_soon", "not_revoked", "server_choice", "network", "account_mismatch"]);

// How a login can end and leave an older one as it was.
const refusals = new Set(["pin_expired", "account_mismatch", "no_login", "superseded", "rejected"]);

/** Failure is an answer that says what is wrong. */
class Failure extends Error {
  constructor(problem, status) {
    super(problem.message);
    this.problem = problem;
    this.status = status;
  }
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
    throw new Failure({
      error: "network",
      message: response
        ? "What answered is not this program's panel. Reload the page; you may have to sign in to the program again."
        : "The connection to this program is broken, or it has stopped. The page tries again by itself.",
    });
  }
  if (!response.ok || answer.extra === undefined && answer.error) {
    throw new Failure(answer.error ? answer : { error: "status", message: "The program answered with an error. Reload the page." }, response.status);
  }
  return answer;
}

const post = (path, body = {}) =>
  ask(path, { method: "POST", headers: { Accept: "application/json", "Content-Type": "application/json" }, body: JSON.stringify(body) });

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

class Panel {
  constructor(root) {
    this.root = root;
    this.doc = null; // what status said last
    this.problem = null; // of the last thing that somebody did here
    this.retry = null; // what would do it again
    this.busy = null; // the button that is at work
    this.blocked = false; // no tab could be opened
    this.ends = 0; // when the code expires, by performance.now()
    this.said = ""; // for those who cannot see it, for some seconds
    this.lists = {}; // servers and users, once they have been asked for
    this.open = { servers: null, users: false };
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

  id(name) { return this.root.querySelector(`#${name}`); }
  part(name) { return this.root.querySelector(`[data-part="${name}"]`); }
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
    on(this.part("problem-action"), "click", () => this.retry?.());
    on(this.part("test"), "click", (e) => this.test(e.currentTarget));
    on(this.part("change-server"), "click", () => this.showServers(!this.serversOpen()));
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
    for (let pause = 1000; !this.over.signal.aborted; ) {
      try {
        const path = this.doc ? `status?wait=25&seen=${encodeURIComponent(this.doc.seen)}` : "status";
        this.take(await ask(path, { signal: this.attention() }));
        pause = 1000;
      } catch (error) {
        if (error instanceof Failure) {
          this.fail(error, null, true);
          await sleep(pause + Math.random() * 500);
          pause = Math.min(2 * pause, 15000);
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
      this.lists = {};
      this.open = { servers: null, users: false };
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
  fail(error, again, fromStatus = false) {
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
    this.blocked = !tab;
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
      this.busy = null;
      this.take(doc);
      const pending = doc.extra.pending;
      if (tab && pending) {
        tab.location.replace(pending.url);
      } else {
        tab?.close();
      }
    } catch (error) {
      tab?.close();
      this.busy = null;
      this.fail(error, () => this.start(options));
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
      this.lists = {};
      this.open = { servers: null, users: false };
      this.results = null;
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

  serversOpen() { return this.open.servers === true; }

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
    if (choice && await this.act(button, () => post("server", { machine_id: choice.value }), "server")) {
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
    if (choice && await this.act(button, () => post("user", { uuid: choice.value, pin }), "user")) {
      this.id("plex_home_pin").value = "";
      this.showUsers(false);
      this.id("plex_user_pick_btn").focus();
    } else if (this.problem?.error === "home_pin") {
      this.id("plex_home_pin").select();
    }
  }

  state() {
    const { doc } = this;
    if (!doc) {
      return this.problem ? "broken" : "loading";
    }
    if (this.problem?.error.startsWith("store") && this.problem.fromStatus) {
      return "broken";
    }
    if (doc.extra.pending) {
      return "pending";
    }
    if (this.busy === this.id("btn-connect-plex")) {
      return "starting";
    }
    if (doc.extra.needs_login) {
      return "rejected";
    }
    if (doc.connected) {
      return "connected";
    }
    return doc.problem?.error === "pin_expired" ? "expired" : "idle";
  }

  render() {
    const { doc } = this;
    const state = this.state();
    const settings = doc?.settings ?? {};
    const held = this.root.contains(document.activeElement) ? document.activeElement : null;
    const show = (element, on) => {
      if (element) {
        element.hidden = !on;
        element.classList.toggle("hidden", !on);
      }
    };
    const put = (element, text) => {
      if (element && element.textContent !== text) {
        element.textContent = text;
      }
    };
    this.root.dataset.state = state;

    const word = {
      loading: ["", ""], broken: ["Not available", "warn"], pending: ["Waiting for you", "warn"], starting: ["Asking Plex for a code", ""],
      rejected: ["Sign in again", "warn"], connected: ["Connected", "ok"], expired: ["Code expired", "warn"], idle: ["Not connected", ""],
    }[state];
    const pill = this.id("plex_msg");
    put(pill, word[0]);
    pill.classList.toggle("ok", word[1] === "ok");
    pill.classList.toggle("warn", word[1] === "warn");
    show(pill, word[0] !== "");
    const detail = this.said || (doc && doc.instance !== "default" ? `Profile ${doc.instance}` : "");
    put(this.id("plex_msg_detail"), detail);
    show(this.id("plex_msg_detail"), detail !== "");

    show(this.part("steps"), state === "idle" || state === "starting" || state === "loading");
    this.renderProblem(state, show, put);

    const pending = doc?.extra.pending;
    show(this.id("plex_qc_state"), state === "pending");
    // A program may have begun a login for the web page, whose code nobody types.
    const typed = pending && pending.code.length <= 10;
    this.id("plex_pin").value = typed ? pending.code : "";
    put(this.id("plex_qc_code"), typed ? pending.code : "----");
    show(this.part("code"), typed);
    if (pending) {
      const open = this.part("open");
      if (open.getAttribute("href") !== pending.url) {
        open.href = pending.url;
        this.part("qr").src = new URL(`qr.svg?${encodeURIComponent(pending.code)}`, base);
      }
      put(this.id("plex_qc_help"), !typed
        ? "Press Open Plex, sign in, and approve."
        : this.blocked
          ? "Your browser opened no tab: press Open Plex, sign in, and confirm the code. Or enter it at plex.tv/link on any device."
          : "Sign in to Plex in the other tab and confirm the code. Or enter it at plex.tv/link on any device.");
      put(this.id("plex_qc_status"), doc.problem ? "Still trying, while the code is good" : "Waiting for your approval");
    }

    const user = doc?.user || "your Plex account";
    show(this.part("account"), state === "connected" || state === "rejected");
    put(this.part("initial"), user[0].toUpperCase());
    put(this.part("user"), user);
    this.renderServer(settings, show, put);
    this.renderUser(settings, show, put);

    const connect = this.id("btn-connect-plex");
    show(connect, state === "idle" || state === "starting" || state === "loading" || state === "rejected");
    put(connect, state === "rejected" ? "Connect again" : "Connect Plex");
    show(this.id("btn-plex-restart"), state === "expired");
    show(this.id("btn-plex-cancel"), state === "pending");
    show(this.part("test"), state === "connected");
    show(this.id("btn-delete-plex"), state === "connected" || state === "rejected");
    for (const button of this.root.querySelectorAll("button")) {
      if (button === this.busy || state === "loading" && button === connect) {
        button.setAttribute("aria-disabled", "true");
      } else {
        button.removeAttribute("aria-disabled");
      }
    }

    const results = this.part("results");
    const found = state === "connected" && this.results || [];
    const shown = JSON.stringify(found);
    if (results.dataset.shown !== shown) {
      results.dataset.shown = shown;
      results.replaceChildren(...(found.length ? [list(found.map(resultItem))] : []));
    }

    if (document.body.classList.contains("plexauth-page")) {
      this.title ??= document.title;
      const mark = { pending: "Waiting · ", connected: "Connected · ", rejected: "Sign in again · " }[state] ?? "";
      document.title = mark + this.title;
    }
    this.tick();
    if (held && (!held.isConnected || held.closest("[hidden]"))) {
      this.refocus(state);
    }
  }

  renderProblem(state, show, put) {
    const problem = this.problem ?? (state === "loading" || state === "starting" ? null : this.doc?.problem) ??
      (state === "rejected" ? { error: "rejected", message: "Plex does not accept the stored sign-in any more: it was signed out elsewhere, or the password was changed. Connect again; your server stays chosen." } : null);
    const box = this.part("problem");
    box.classList.toggle("mild", !!problem && (mild.has(problem.error) || state === "pending"));
    put(this.part("problem-title"), problem ? titles[problem.error] ?? "That did not work" : "");
    put(this.part("problem-text"), problem?.message ?? "");
    put(this.part("problem-detail"), problem?.detail ?? "");
    show(this.part("problem-more"), !!problem?.detail && problem.error !== "pin_expired");
    const action = this.part("problem-action");
    if (problem?.error === "account_mismatch") {
      put(action, "Switch to that account");
      this.retry = () => this.start({ switch_account: true });
    } else {
      put(action, "Try again");
    }
    show(action, !!problem && !!this.retry && (problem === this.problem && !problem.fromStatus && problem.error !== "home_pin" || problem.error === "account_mismatch"));
    show(box, !!problem);
  }

  renderServer(settings, show, put) {
    const servers = this.lists.servers;
    const chosen = servers?.find((s) => s.machine_id === settings.machine_id);
    const line = this.part("server");
    const name = chosen?.name ?? "";
    const where = friendly(settings.server_url ?? "") || (settings.machine_id ? "at no known address" : this.doc?.finding ? "looking for it…" : "none chosen");
    line.replaceChildren(...(name ? [strong(name), document.createElement("br"), where] : [where]));
    line.title = settings.server_url ?? "";
    put(this.part("where"), this.doc?.finding ? "Looking for your server…" : this.state() === "rejected" ? "was connected" : name ? `with the server ${name}` : "signed in to Plex");
    show(this.part("servers"), this.serversOpen());
    const change = this.part("change-server");
    change.setAttribute("aria-expanded", String(this.serversOpen()));
    put(change, this.serversOpen() ? "Close" : settings.machine_id ? "Change" : "Choose");

    const list = this.part("server-list");
    show(this.part("server-form"), !!servers?.length);
    const shown = JSON.stringify(servers ?? []);
    if (list.dataset.shown !== shown) {
      list.dataset.shown = shown;
      list.replaceChildren(...(servers ?? []).map((s) => choice("plexauth-server", s.machine_id, s.name, serverNote(s), s.machine_id === settings.machine_id)));
      this.id("plex_server_suggestions").replaceChildren(...(servers ?? []).flatMap((s) => s.connections.map((c) => {
        const option = document.createElement("option");
        option.value = c.uri;
        option.label = [s.name, c.local ? "local" : "remote", c.relay ? "relay" : "direct"].join(", ");
        return option;
      })));
    }
    const url = this.id("plex_server_url");
    if (document.activeElement !== url && url.dataset.known !== (settings.server_url ?? "")) {
      url.dataset.known = settings.server_url ?? "";
      url.value = url.dataset.known;
      put(this.part("address-note"), "");
    }
    // It is the host's to change; it is shown where the check is off.
    const verify = this.id("plex_verify_ssl");
    verify.checked = settings.verify_ssl ?? true;
    verify.disabled = this.root.closest(".plexauth-page") !== null;
    show(this.part("verify"), !verify.checked || !verify.disabled);
  }

  renderUser(settings, show, put) {
    const users = this.lists.users;
    this.id("plex_username").value = settings.username ?? "";
    this.id("plex_account_id").value = settings.account_id ?? "";
    this.part("works-for").replaceChildren(settings.username ? strong(settings.username) : "the account itself");
    show(this.part("users"), this.open.users);
    const change = this.id("plex_user_pick_btn");
    change.setAttribute("aria-expanded", String(this.open.users));
    put(change, this.open.users ? "Close" : "Change");
    show(this.part("user-form"), !!users?.length);
    const list = this.part("user-list");
    const shown = JSON.stringify(users ?? []);
    if (list.dataset.shown !== shown) {
      list.dataset.shown = shown;
      list.replaceChildren(...(users ?? []).map((u) => choice("plexauth-user", u.uuid, u.title, userNote(u), u.title === settings.username)));
    }
    const picked = users?.find((u) => u.uuid === list.querySelector("input:checked")?.value);
    show(this.part("pin-field"), !!picked?.protected);
  }

  // refocus gives the keyboard a place when the one it had is gone.
  refocus(state) {
    const next = {
      pending: this.part("open"), idle: this.id("btn-connect-plex"), rejected: this.id("btn-connect-plex"),
      expired: this.id("btn-plex-restart"), connected: this.part("test"),
    }[state];
    next?.focus({ preventScroll: true });
  }

  tick() {
    if (this.root.dataset.state !== "pending") {
      this.warned = false;
      return;
    }
    const left = Math.max(0, Math.ceil((this.ends - performance.now()) / 1000));
    const timer = this.id("plex_qc_timer");
    const text = left ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left` : "time is up";
    if (timer.textContent !== text) {
      timer.textContent = text;
    }
    if (left > 0 && left <= 60 && !this.warned) {
      this.warned = true;
      this.say("One minute left");
    }
  }

  // say speaks to those who cannot see what happens; others read it, too.
  say(text) {
    this.said = text;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      this.said = "";
      this.render();
    }, 4000);
    this.render();
  }
}

function strong(text) {
  const b = document.createElement("b");
  b.textContent = text;
  return b;
}

function choice(group, value, name, note, checked) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "radio";
  input.name = group;
  input.value = value;
  input.checked = checked;
  input.required = true;
  const title = document.createElement("span");
  title.textContent = name;
  const small = document.createElement("small");
  small.textContent = note;
  label.append(input, title, small);
  return label;
}

function serverNote(s) {
  const whose = s.owned ? "yours" : s.owner ? `${s.owner}'s` : "shared with you";
  return [whose, s.presence ? "online" : "not seen by Plex just now", s.connections.length ? "" : "no address"].filter(Boolean).join(" · ");
}

function userNote(u) {
  const kind = u.admin ? "owner of the Home" : u.restricted ? "managed user" : u.guest ? "guest" : "member";
  return u.protected ? `${kind} · has a PIN` : kind;
}

function resultItem(result) {
  const item = document.createElement("li");
  item.className = result.state ?? "";
  item.append(result.text);
  if (result.more?.length) {
    item.append(list(result.more.map((text) => {
      const li = document.createElement("li");
      li.textContent = text;
      return li;
    })));
  }
  return item;
}

function list(items) {
  const ul = document.createElement("ul");
  ul.append(...items);
  return ul;
}

// friendly is an address as a person knows it: a plex.direct name is an IP
// address with a certificate.
function friendly(address) {
  const direct = /^https:\/\/([0-9a-f-]+)\.[0-9a-f]{32}\.plex\.direct(:\d+)?$/.exec(address);
  if (!direct) {
    return address;
  }
  const [, host, port = ""] = direct;
  const ip = /^\d+-\d+-\d+-\d+$/.test(host) ? host.replaceAll("-", ".") : `[${host.replaceAll("-", ":")}]`;
  return `${ip}${port}, encrypted`;
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
