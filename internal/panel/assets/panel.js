// The panel: keeps the fragment of HTML() up to date and carries out what a person
// presses, in the panel's own page or in a host's. The program's routes are beside
// this file, wherever that is. No other site is asked.
//
// The root element tells the host what happens. All of these events bubble:
//
//	plexauth:pending       detail {code, url, expires_in}
//	plexauth:connected     detail {user, settings}
//	plexauth:disconnected
//	plexauth:server        detail settings
//	plexauth:user          detail settings
//	plexauth:expired       detail {error, message}, and more where it applies
//	plexauth:problem       as expired

import { Failure, post, request } from "./request.js";
import { isStrong, View } from "./view.js";
import { fill, text } from "./words.js";

const base = new URL("./", import.meta.url);

// Limits on the time of a status request, in milliseconds.
const statusTimeout = 15000;
const longPollGrace = 8000; // beyond the time that a long poll asks the program to wait

// How long a long poll asks the program to wait, in seconds. If less than the minimum
// gets through, the page polls at an interval instead.
const longPollMax = 25;
const longPollMin = 3;
const pollInterval = 2000; // milliseconds

// Pauses after a failed status request, in milliseconds. They double.
const firstRetryPause = 1000;
const longestRetryPause = 15000;
const retryJitter = 500;

// How often a new code is asked for if the program says that it is too soon.
const startAttempts = 4;
const defaultStartPause = 5; // seconds

const copiedLasts = 1400; // milliseconds
const timerInterval = 500; // milliseconds

// ineffectiveEnds are the ends of a login that leave an older one as it was.
const ineffectiveEnds = new Set(["pin_expired", "account_mismatch", "no_login", "superseded", "rejected"]);

/** Panel is one fragment in the page. */
class Panel extends View {
  constructor(root) {
    super(root);
    fill(root);
    this.removed = new AbortController(); // aborted when the host takes the fragment away
    this.statusAborter = null; // ends the status request that is under way
    this.longPollAborter = null; // the same, but null unless that request is a long poll
    this.endPause = null; // ends the pause between two status requests
    this.longPollSeconds = longPollMax;
    this.retryPause = 0; // the last pause after a failure, in milliseconds
    this.answered = false; // whether the last status request was answered
    this.cancelling = false; // whether this page is ending the login
    this.offeredServers = false; // whether the list of servers was loaded for this login
    this.listen();
    this.render();
    this.followStatus();
    this.timer = setInterval(() => this.renderTimer(), timerInterval);
  }

  // stop ends all work for a fragment that the host has taken out of its page.
  stop() {
    this.removed.abort();
    this.statusAborter?.abort();
    this.endPause?.();
    clearInterval(this.timer);
    clearTimeout(this.announcementTimer);
    delete this.root.dataset.hydrated;
  }

  // emit sends an event to the host.
  emit(name, detail) { this.root.dispatchEvent(new CustomEvent(`plexauth:${name}`, { detail, bubbles: true })); }

  // What a person and the browser do.

  listen() {
    this.onClick("btn-connect-plex", (button) => this.start(button));
    this.onClick("btn-plex-restart", (button) => this.start(button, { strong: this.strong }));
    this.onClick("other-way", (button) => this.start(button, { strong: this.otherWay() }));
    this.on(this.find("open"), "click", (event) => this.openAgain(event));
    this.onClick("btn-plex-cancel", (button) => this.cancel(button));
    this.onClick("plex_qc_copy", () => this.copyCode());
    this.onClick("problem-action", () => this.actOnProblem());
    this.onClick("test", (button) => this.testConnection(button));
    this.onClick("change-server", () => this.expandServers(!this.serversExpanded()));
    this.onClick("btn-plex-auto", (button) => this.perform(button, () => post("inspect"), "server"));
    this.onClick("plex_user_pick_btn", () => this.expandUsers(!this.expanded.users));
    this.onSubmit("server-form", (button) => this.useServer(button));
    this.onSubmit("address-form", (button) => this.useAddress(button));
    this.onSubmit("user-form", (button) => this.useUser(button));
    this.on(this.find("plex_server_url"), "change", () => this.checkAddress());
    for (const name of ["plex_server_url", "plex_home_pin"]) {
      this.on(this.find(name), "input", (event) => this.forgetProblemAt(event.target));
    }
    this.on(this.find("user-list"), "change", () => this.render());
    this.on(this.find("servers"), "input", () => { this.expanded.servers = true; }); // a list that opened by itself stays open now
    this.listenToDialog();
    this.on(document, "visibilitychange", () => (document.hidden ? this.longPollAborter?.abort() : this.endPause?.()));
    this.on(window, "online", () => {
      this.retryPause = 0;
      this.statusAborter?.abort(); // its connection may be dead
      this.endPause?.();
    });
  }

  on(element, event, act) { element?.addEventListener(event, act, { signal: this.removed.signal }); }

  onClick(name, act) {
    const button = this.find(name);
    this.on(button, "click", () => act(button));
  }

  // onSubmit lets the part's button and the Enter key do the same. The part is not a
  // form, because the host may have put the panel into one.
  onSubmit(name, act) {
    const part = this.find(name);
    const button = part?.querySelector("[data-do]");
    this.on(button, "click", () => act(button));
    this.on(part, "keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing || event.target === button) {
        return;
      }
      event.preventDefault();
      act(button);
    });
  }

  listenToDialog() {
    const dialog = this.find("confirm");
    this.onClick("btn-delete-plex", () => {
      dialog.returnValue = "";
      dialog.showModal();
    });
    for (const button of dialog?.querySelectorAll("button") ?? []) {
      this.on(button, "click", () => dialog.close(button.value));
    }
    this.on(dialog, "close", () => dialog.returnValue === "yes" && this.disconnect());
  }

  // What the program says.

  // followStatus asks for the status until the fragment is removed. Browsers allow only a
  // few connections to one host, so a hidden tab holds none. It asks at an interval as
  // long as something is about to end by itself.
  async followStatus() {
    while (!this.removed.signal.aborted) {
      if (this.doc && document.hidden && !this.expectsChange()) {
        await this.pause();
        continue;
      }
      const longPoll = this.answered && !document.hidden && this.longPollSeconds >= longPollMin;
      try {
        this.update(await (longPoll ? this.waitForChange() : this.fetchStatus()));
        this.answered = true;
        this.retryPause = 0;
        this.longPollSeconds = Math.min(this.longPollSeconds + 1, longPollMax);
        if (!longPoll && (document.hidden || this.longPollSeconds <= longPollMin)) {
          await this.pause(pollInterval);
        }
      } catch (error) {
        if (error.name !== "AbortError") {
          await this.recover(error);
        }
      }
    }
  }

  // recover shows that the status could not be read, and pauses before the next attempt.
  async recover(error) {
    this.answered = false; // the next request does not wait for a change
    if (error instanceof Failure) {
      this.showFailure(error, { fromPoll: true });
    }
    this.retryPause = Math.min(2 * this.retryPause || firstRetryPause, longestRetryPause);
    await this.pause(this.retryPause + Math.random() * retryJitter);
  }

  fetchStatus() {
    this.statusAborter = new AbortController();
    return request("status", { timeout: statusTimeout, aborter: this.statusAborter });
  }

  // waitForChange is a long poll. A proxy may cut it short, or its answer may be lost. It
  // has only failed if the program does not answer a plain request either. Otherwise the
  // next long polls are shorter.
  async waitForChange() {
    const aborter = this.statusAborter = this.longPollAborter = new AbortController();
    const seconds = this.longPollSeconds;
    try {
      return await request(`status?wait=${seconds}&seen=${encodeURIComponent(this.doc.seen)}`, { timeout: seconds * 1000 + longPollGrace, aborter });
    } catch (error) {
      if (!error.unanswered) {
        throw error;
      }
      const doc = await this.fetchStatus();
      this.longPollSeconds = Math.floor(seconds / 2);
      return doc;
    } finally {
      this.longPollAborter = null;
    }
  }

  // pause waits for a time in milliseconds, or without an end, until endPause is called.
  async pause(ms) {
    let timer;
    await new Promise((done) => {
      this.endPause = done;
      timer = ms && setTimeout(done, ms);
    });
    clearTimeout(timer);
  }

  // expectsChange reports whether something is under way that ends by itself.
  expectsChange() { return !!this.doc?.extra.pending || !!this.doc?.finding; }

  // update shows a new status and tells the host what has changed.
  update(doc) {
    const before = this.doc;
    const stateBefore = this.state();
    this.doc = doc;
    const { pending } = doc.extra;
    if (pending) {
      this.expiresAt = performance.now() + pending.expires_in * 1000;
      this.strong = isStrong(pending);
    }
    if (this.plexTab && this.plexTab.code !== pending?.code) {
      closeOwn(this.plexTab.tab); // its login is over
      this.plexTab = null;
    }
    if (this.problemIsOver(before, stateBefore)) {
      this.problem = null;
    }
    if (before && this.testIsOver(before)) {
      this.test = null;
    }
    if (this.expectsChange()) {
      this.endPause?.(); // Plex's tab hides this one, which must go on asking
    }
    this.emitChanges(before);
    this.loadServersUnasked();
    this.render();
  }

  // testIsOver reports whether the last test says nothing of the new status: another server was
  // chosen since, or the program has found another problem.
  testIsOver(before) {
    const { settings, problem } = this.doc;
    return settings.machine_id !== before.settings.machine_id || settings.server_url !== before.settings.server_url
      || problem && problem.error !== before.problem?.error;
  }

  // problemIsOver reports whether the new status settles this page's problem. In another state
  // a person does not see the field that the problem is about. An answer means that the
  // login in front of the program works again. A request whose answer was lost may have been
  // carried out: the status has changed then.
  problemIsOver(before, stateBefore) {
    const { fromPoll, field, error } = this.problem ?? {};
    return fromPoll || field && this.state() !== stateBefore || error === "sign_in" || error === "network" && before && before.seen !== this.doc.seen;
  }

  emitChanges(before) {
    const { doc } = this;
    const pending = doc.extra.pending;
    if (pending && pending.code !== before?.extra.pending?.code) {
      this.emit("pending", pending);
    }
    if (this.hasSignedIn(before)) {
      this.problem = null;
      this.forgetLists();
      this.emit("connected", { user: doc.user, settings: doc.settings });
    }
    if (before?.connected && !doc.connected && !doc.extra.needs_login) {
      this.emit("disconnected");
    }
    if (doc.problem && doc.problem.error !== before?.problem?.error) {
      this.emit(doc.problem.error === "pin_expired" ? "expired" : "problem", doc.problem);
    }
  }

  // hasSignedIn reports whether a login has succeeded since the status before. One that
  // was to replace an older login may have ended without effect.
  hasSignedIn(before) {
    const { doc } = this;
    if (!before || !doc.connected || doc.extra.pending) {
      return false;
    }
    return !before.connected || before.extra.pending && !this.cancelling && !ineffectiveEnds.has(doc.problem?.error);
  }

  // forgetLists drops what was loaded for another login.
  forgetLists() {
    this.lists = {};
    this.offeredServers = false;
    this.expanded = { servers: null, users: false };
    this.test = null;
  }

  // loadServersUnasked loads the servers if one must be chosen, or to show the name of the
  // chosen one.
  loadServersUnasked() {
    if (this.needsServer() && !this.offeredServers) {
      this.loadServers();
    }
    if (this.doc.connected && !this.doc.extra.pending && this.doc.settings.machine_id && !this.lists.servers) {
      this.loadServerName();
    }
  }

  // What went wrong.

  // showFailure shows a failure beside the button that was pressed, if any, or the field
  // of its form. retry does the same again.
  showFailure(error, { button = null, retry = null, fromPoll = false } = {}) {
    if (!(error instanceof Failure)) {
      throw error;
    }
    const { problem } = error;
    if (problem.servers && !fromPoll) {
      this.lists.servers = problem.servers;
    }
    this.showProblem({ ...problem, fromPoll, at: button, field: fieldOf(button), retry: problem.error === "sign_in" ? () => location.reload() : retry });
    this.emit("problem", problem);
  }

  // askFor tells a person what is missing, beside the button that needs it or the field of
  // its form.
  askFor(button, message) { this.showProblem({ error: "missing", message, at: button, field: fieldOf(button) }); }

  // showProblem shows a problem in the place where a person looks, and lets them correct it.
  showProblem(problem) {
    this.problem = problem;
    this.noteAddress("");
    this.render();
    if (problem.field?.ariaInvalid === "true") {
      problem.field.focus({ preventScroll: true });
      problem.field.select();
    }
    if (problem.at) {
      this.find("problem").scrollIntoView({ block: "nearest" });
    }
  }

  // forgetProblemAt removes the problem of a field that a person corrects.
  forgetProblemAt(field) {
    if (this.problem?.field === field) {
      this.problem = null;
      this.render();
    }
  }

  actOnProblem() {
    const problem = this.currentProblem();
    if (problem?.error === "account_mismatch") {
      this.start(this.find("btn-connect-plex"), { strong: this.strong, switch_account: true });
    } else if (problem?.error === "server_token" && !this.serversExpanded()) {
      this.expandServers(true);
      this.find("change-server").focus({ preventScroll: true });
      this.find("servers").scrollIntoView({ block: "nearest" });
    } else {
      problem?.retry?.();
    }
  }

  // What the buttons do.

  // perform sends a request that the program answers with its status, and reports whether
  // it succeeded. event then tells the host.
  async perform(button, send, event) {
    if (this.busy) {
      return false;
    }
    this.busy = button;
    this.problem = null;
    this.test = null;
    this.render();
    try {
      this.update(await send());
      if (event) {
        this.emit(event, this.doc.settings);
      }
      return true;
    } catch (error) {
      this.showFailure(error, { button, retry: () => this.perform(button, send, event) });
      return false;
    } finally {
      this.busy = null;
      this.render();
    }
  }

  // start begins a login: with strong in a tab of Plex's page, else with a code for another
  // device. A browser opens a tab only during a click, so it is opened before there is a PIN.
  async start(button, { strong = true, ...more } = {}) {
    if (this.busy) {
      return;
    }
    const tab = strong ? openTab() : null;
    const options = { ...more, strong, ...(strong && { forward_url: new URL("return", base).href }) };
    this.busy = button;
    this.problem = null;
    this.render();
    try {
      const doc = await this.requestPIN(options);
      const { pending } = doc.extra;
      this.busy = null;
      this.update(doc);
      if (pending && strong) {
        this.plexTab = { code: pending.code, tab };
        tab?.location.replace(pending.url);
      } else {
        tab?.close();
      }
    } catch (error) {
      tab?.close();
      this.busy = null;
      // Without options the button itself does the same again.
      this.showFailure(error, { button, retry: more.switch_account ? () => this.start(button, { strong, ...more }) : null });
    } finally {
      this.busy = null;
      this.render();
    }
  }

  // requestPIN begins a login, and waits if the program says that it is too soon. If the
  // login that was pending has ended by then, or another one has begun, it begins none.
  async requestPIN(options) {
    const replaced = this.doc?.extra.pending?.code;
    for (let attempt = 1; ; attempt++) {
      try {
        return await post("start", options);
      } catch (error) {
        const { error: kind, retry_after: seconds = defaultStartPause } = error.problem ?? {};
        if (kind === "bad_request" && options.forward_url) {
          delete options.forward_url; // a proxy hides the page's origin from the program
          continue;
        }
        if (kind !== "too_soon" || attempt === startAttempts) {
          throw error;
        }
        this.delay = text("panel.starts_in", { n: seconds });
        this.render();
        await new Promise((done) => setTimeout(done, seconds * 1000));
        this.delay = "";
        if (this.doc?.extra.pending?.code !== replaced) {
          return this.doc;
        }
      }
    }
  }

  // openAgain opens Plex's page by script, so that its tab can close itself. If the browser
  // forbids that, the link opens it.
  openAgain(event) {
    const { pending } = this.doc?.extra ?? {};
    const tab = pending && !event.ctrlKey && !event.metaKey && !event.shiftKey ? openTab() : null;
    if (tab) {
      event.preventDefault();
      this.plexTab = { code: pending.code, tab };
      tab.location.replace(pending.url);
      this.render();
    }
  }

  async cancel(button) {
    this.cancelling = true;
    await this.perform(button, () => post("cancel"));
    this.cancelling = false;
  }

  async disconnect() {
    if (await this.perform(this.find("btn-delete-plex"), () => post("disconnect", { revoke: this.find("revoke").checked }))) {
      this.forgetLists();
      this.render();
    }
  }

  async copyCode() {
    const code = this.doc?.extra.pending?.code;
    if (!code) {
      return;
    }
    const button = this.find("plex_qc_copy");
    const copied = await copy(code, button);
    button.textContent = text(copied ? "panel.copied" : "panel.not_copied");
    this.announce(text(copied ? "panel.copied_said" : "panel.not_copied_said"));
    setTimeout(() => { button.textContent = text("panel.copy"); }, copiedLasts);
  }

  // testConnection tests the account and the server, and shows the result.
  async testConnection(button) {
    if (this.busy) {
      return;
    }
    this.busy = button;
    this.test = null;
    this.render();
    try {
      this.test = await post("probe");
    } catch (error) {
      this.showFailure(error, { button, retry: () => this.testConnection(button) });
    } finally {
      this.busy = null;
      this.render();
      this.find("results").scrollIntoView({ block: "nearest" });
    }
  }

  // The server.

  async expandServers(expand) {
    this.expanded.servers = expand;
    this.problem = null;
    this.render();
    if (expand) {
      await this.loadServers(this.find("change-server"));
    }
  }

  // loadServers loads the list of servers unless it is known. button is the one that was
  // pressed, or null.
  async loadServers(button = null) {
    if (this.lists.servers?.length || this.loading.servers) {
      return;
    }
    this.offeredServers = true;
    await this.loadList("servers", button, () => this.expandServers(true));
  }

  // loadList loads a list, and shows that it is under way. retry does so after a failure.
  async loadList(name, button, retry) {
    this.loading[name] = true;
    this.render();
    try {
      this.lists[name] = (await request(name))[name];
    } catch (error) {
      this.showFailure(error, { button, retry });
    } finally {
      this.loading[name] = false;
      this.render();
    }
  }

  // loadServerName loads the list of servers, for the name of the chosen one. If that
  // fails, the address is shown alone.
  async loadServerName() {
    this.lists.servers = []; // so that it is tried once
    try {
      this.lists.servers = (await request("servers")).servers;
      this.render();
    } catch {
      // A person who opens the list is told what is wrong.
    }
  }

  async useServer(button) {
    const selected = this.find("server-list").querySelector("input:checked");
    if (!selected) {
      this.askFor(button, text("panel.choose_server_first"));
      return;
    }
    await this.saveServer(button, { machine_id: selected.value });
  }

  async useAddress(button) {
    const url = this.find("plex_server_url").value.trim();
    if (!url) {
      this.askFor(button, text("panel.enter_address_first"));
      return;
    }
    await this.saveServer(button, { url });
  }

  async saveServer(button, server) {
    if (await this.perform(button, () => post("server", server), "server")) {
      this.expandServers(false);
      this.find("change-server").focus();
    }
  }

  // checkAddress says what is at a typed address before it is saved.
  async checkAddress() {
    const typed = () => this.find("plex_server_url").value.trim();
    const url = typed();
    if (!url || url === this.doc?.settings.server_url) {
      this.noteAddress("");
      return;
    }
    this.noteAddress("checking");
    let result;
    try {
      ({ result } = await post("probe", { url }));
    } catch (error) {
      result = error.message;
    }
    if (url === typed()) {
      this.noteAddress(result);
    }
  }

  // The user.

  async expandUsers(expand) {
    this.expanded.users = expand;
    this.problem = null;
    this.render();
    if (expand && !this.lists.users && !this.loading.users) {
      await this.loadList("users", this.find("plex_user_pick_btn"), () => this.expandUsers(true));
    }
  }

  async useUser(button) {
    const selected = this.find("user-list").querySelector("input:checked");
    const pin = this.find("plex_home_pin");
    if (!selected) {
      this.askFor(button, text("panel.choose_user_first"));
    } else if (pin.checkVisibility() && !pin.value) {
      this.askFor(button, text("panel.enter_pin_first"));
    } else if (await this.perform(button, () => post("user", { uuid: selected.value, pin: pin.value }), "user")) {
      pin.value = "";
      this.expandUsers(false);
      this.find("plex_user_pick_btn").focus();
    }
  }
}

// fieldOf returns the text field of the form that a button sends, if a person can see one.
function fieldOf(button) {
  const field = button?.closest(".plexauth-form")?.querySelector("input:not([type=radio], [type=checkbox])");
  return field?.checkVisibility() ? field : null;
}

// openTab opens an empty tab for Plex's page, and returns null if the browser forbids it.
// The tab cannot reach this page.
function openTab() {
  let tab = null;
  try {
    tab = window.open("", "_blank");
    if (tab) {
      tab.opener = null;
      tab.document.title = "Plex";
      tab.document.body.textContent = text("panel.opening");
    }
  } catch {
    // The panel has a link to the page.
  }
  return tab;
}

// closeOwn closes a tab that is back from Plex and cannot close itself: because it shows the
// program's login, which does not know a browser that comes from elsewhere. A tab that is still
// at Plex cannot be closed, since it cannot reach this page either.
function closeOwn(tab) {
  try {
    if (tab?.document) {
      tab.close();
    }
  } catch {
    // It is at Plex.
  }
}

// copy copies the code, and reports whether it could. Pages over plain http have no
// clipboard, so it is copied from a text field beside button then.
async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = code;
    area.setAttribute("readonly", "");
    area.className = "plexauth-copy";
    button.before(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    button.focus();
    return copied;
  }
}

const panels = new Set();

/** hydrate brings one fragment to life, once. */
export function hydrate(root) {
  if (root.dataset.hydrated) {
    return;
  }
  root.dataset.hydrated = "yes";
  loadStyle();
  panels.add(new Panel(root));
}

// loadStyle adds the style sheet to the page unless it is there.
function loadStyle() {
  const sheet = new URL("panel.css", base).href;
  if ([...document.querySelectorAll('link[rel="stylesheet"]')].some((link) => link.href === sheet)) {
    return;
  }
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = sheet;
  document.head.append(link);
}

// watchPage finds the fragment when the host puts it into its page, and stops the panel
// whose fragment the host has taken out.
function watchPage() {
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

watchPage();
new MutationObserver(watchPage).observe(document.documentElement, { childList: true, subtree: true });
