// The view: what the panel shows, and in which words.

import { bold, say, text } from "./words.js";

const base = new URL("./", import.meta.url);

// states says how each state looks. Its name is the value of data-state.
//
//	pill   the key of the state in a word or two; tone is its colour
//	title  the key of what the page's title begins with
//	shows  the parts that only some states show
//	focus  what gets the focus if the focused element was hidden
//
// finding, unfinished and serverProblem only say how a login looks that has no server yet, or
// one that cannot be used: data-state is connected.
export const states = {
  loading: { shows: ["steps", "btn-connect-plex"] },
  finding: { pill: "state.finding", shows: [] },
  unfinished: { pill: "state.unfinished", tone: "warn", title: "state.one_more_step", shows: [] },
  serverProblem: { pill: "state.server_problem", tone: "warn", title: "state.server_problem", shows: [] },
  broken: { pill: "state.broken", tone: "warn", shows: [] },
  idle: { pill: "state.idle", shows: ["steps", "btn-connect-plex", "other-way"], focus: "btn-connect-plex" },
  starting: { pill: "state.starting", shows: ["steps", "btn-connect-plex", "other-way"], focus: "btn-connect-plex" },
  pending: { pill: "state.pending", tone: "warn", title: "state.pending_title", shows: ["plex_qc_state", "other-way", "btn-plex-cancel"], focus: "open" },
  saving: { pill: "state.saving", tone: "warn", title: "state.saving_title", shows: [], focus: "problem" },
  connected: { pill: "state.connected", tone: "ok", title: "state.connected", shows: ["account", "test", "btn-delete-plex"], focus: "test" },
  rejected: { pill: "state.rejected", tone: "warn", title: "state.rejected", shows: ["account", "btn-connect-plex", "other-way", "btn-delete-plex"], focus: "btn-connect-plex" },
  expired: { pill: "state.idle", shows: ["btn-plex-restart", "other-way"], focus: "btn-plex-restart" },
};

// sometimesShown are the parts that depend on the state alone.
const sometimesShown = new Set(Object.values(states).flatMap((state) => state.shows));

// mildProblems are shown in a milder colour, because nothing is broken.
export const mildProblems = new Set(["pin_expired", "rate_limited", "too_soon", "not_revoked", "server_choice", "network", "sign_in", "missing", "account_mismatch"]);

// plainProblems have no details that say more.
const plainProblems = new Set(["pin_expired", "home_pin"]);

// fieldProblems are due to what a person has typed, or not typed, into the field of a form.
const fieldProblems = new Set(["missing", "bad_request", "home_pin", "too_soon", "server_unreachable", "server_token", "server_choice"]);

// serverProblems are the problems that keep the program from using the chosen server.
const serverProblems = new Set(["server_unreachable", "server_token", "other_server"]);

// addressNotes has the key of a text for each result of checking a typed address.
const addressNotes = {
  checking: "address.checking",
  ok: "address.ok",
  wrong_server: "address.wrong_server",
  unreachable: "address.unreachable",
};

// freeButtons work while a request is under way.
const freeButtons = '#plex_qc_copy, #plex_user_pick_btn, [data-part="change-server"], dialog button';

// startButtons are the buttons that begin a login.
const startButtons = '#btn-connect-plex, #btn-plex-restart, [data-part="other-way"]';

const announcementLasts = 4000; // milliseconds
const longestTypedCode = 10; // characters; a longer code is only for Plex's web page

/** isStrong reports whether a login is approved in a tab of Plex's page, without a code to type. */
export const isStrong = (pending) => pending.code.length > longestTypedCode;

// firstSentence ends where the next sentence begins.
const firstSentence = /^.+?[.!?…](?=\s+[\p{Lu}¿¡«„“])/su;

/** splitMessage returns what has happened, which is the first sentence, and what to do. */
export function splitMessage(message) {
  const [headline] = message.match(firstSentence) ?? [message];
  return [headline, message.slice(headline.length).trim()];
}

/** View shows one fragment. What it shows depends on its fields alone. */
export class View {
  constructor(root) {
    this.root = root;
    this.doc = null; // the program's last status
    this.problem = null; // what failed last in this page; {error, message, at, field, fromPoll, retry}
    this.busy = null; // the button whose request is under way
    this.plexTab = null; // {code, tab}: the tab for the login of that code; tab is null if the browser blocked it
    this.strong = true; // how the last login was to be approved: in a tab of Plex's page, or by a code
    this.expiresAt = 0; // when the code expires, by performance.now()
    this.warned = false; // whether the last minute of the code was announced
    this.delay = ""; // why a login begins only in a few seconds, or ""
    this.test = null; // the answer of the last test, or null
    this.loading = { servers: false, users: false }; // the lists that are under way
    this.lists = {}; // servers and users, as far as they are known
    this.expanded = { servers: null, users: false }; // servers: null until a person opens or closes the list
  }

  // find returns the element of that id or data-part.
  find(name) { return this.root.querySelector(`[id="${name}"], [data-part="${name}"]`); }

  // state returns a key of states.
  state() {
    const { doc, problem } = this;
    if (!doc) {
      return problem ? "broken" : "loading";
    }
    if (problem?.fromPoll && problem.error.startsWith("store")) {
      return "broken";
    }
    if (doc.extra.pending) {
      return doc.problem?.error === "store" ? "saving" : "pending";
    }
    if (this.busy?.matches(startButtons)) {
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

  // otherWay returns the value of strong with which the button for the other way starts: not
  // as the login that is pending or has expired. Else the main button starts with true.
  otherWay() { return ["pending", "expired"].includes(this.root.dataset.state) && !this.strong; }

  // needsServer reports whether only the choice of a server is left to do.
  needsServer() {
    const { doc } = this;
    return !!doc?.connected && !doc.extra.pending && !doc.extra.needs_login && !doc.finding && !hasServer(doc.settings);
  }

  // serverTest returns what the last test says of the chosen server, or null if it does not
  // say whether that can be used.
  serverTest() {
    const { server } = this.test ?? {};
    return server?.token_accepted || serverProblems.has(server?.problem?.error) ? server : null;
  }

  // hasServerProblem reports whether the chosen server cannot be used, as far as known. What is
  // wrong with another server of the list, or with an address that a person types, does not count.
  hasServerProblem() {
    const { doc, problem } = this;
    const test = this.serverTest();
    const search = problem?.at === this.find("btn-plex-auto") ? problem : null;
    const problems = test ? [test.problem] : [doc.problem, search];
    return !doc.settings.server_url || problems.some((p) => serverProblems.has(p?.error));
  }

  // serversExpanded reports whether the list of servers is open. Until a person opens
  // or closes it, it is open if a server must be chosen.
  serversExpanded() { return this.expanded.servers ?? this.needsServer(); }

  // currentProblem returns the problem to show, or null. One of this page comes before
  // one of the program.
  currentProblem() {
    const state = this.root.dataset.state;
    if (this.problem) {
      return this.problem;
    }
    if (state === "loading" || state === "starting") {
      return null;
    }
    const { problem } = this.doc;
    if (problem && (problem.error === this.test?.server.problem?.error || serverProblems.has(problem.error) && this.serverTest())) {
      return null; // the result of the test says it, or that it is over
    }
    return problem ?? (state === "rejected" ? { error: "rejected", message: text("problem.rejected") } : null);
  }

  // problemAction returns the text of the button beside a problem, or "" for no button.
  problemAction(problem) {
    if (problem.error === "account_mismatch") {
      return text("panel.switch_account");
    }
    if (problem.error === "server_token" && !this.serversExpanded()) {
      return text("panel.choose_another");
    }
    if (!problem.retry || problem.field?.ariaInvalid === "true") { // else the form's own button
      return "";
    }
    return text(problem.error === "sign_in" ? "panel.reload" : "panel.try_again");
  }

  // announce lets screen readers read words out that can be seen elsewhere.
  announce(words) {
    setText(this.find("said"), words);
    clearTimeout(this.announcementTimer);
    this.announcementTimer = setTimeout(() => setText(this.find("said"), ""), announcementLasts);
  }

  // noteAddress shows the result of checking a typed address: a key of addressNotes, or
  // a text. What became of the address itself says more.
  noteAddress(result) {
    const isUsed = this.busy || this.problem?.field === this.find("plex_server_url");
    setText(this.find("address-note"), isUsed ? "" : addressNotes[result] ? text(addressNotes[result]) : result);
  }

  render() {
    const state = this.state();
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.root.dataset.state = state;
    for (const name of sometimesShown) {
      setVisible(this.find(name), states[state].shows.includes(name));
    }
    this.renderState(state);
    this.renderCode(this.doc?.extra.pending);
    this.renderAccount();
    this.renderServer(this.doc?.settings ?? {});
    this.renderServerList(this.doc?.settings ?? {});
    this.renderUser(this.doc?.settings ?? {});
    this.renderUserList(this.doc?.settings ?? {});
    this.renderButtons(state);
    this.renderProblem();
    this.renderTest(state);
    if (focused && !focused.checkVisibility()) {
      const next = this.busy?.checkVisibility() ? this.busy : this.find(states[state].focus ?? "");
      next?.focus({ preventScroll: true });
    }
    this.renderTimer();
  }

  renderState(state) {
    const { doc } = this;
    const isUnfinished = state === "connected" && this.needsServer();
    const { pill, tone = "", title } = states[state === "connected" ? this.serverState() : state];
    const element = this.find("plex_msg");
    setText(element, pill ? text(pill) : "");
    element.classList.toggle("ok", tone === "ok");
    element.classList.toggle("warn", tone === "warn");
    setVisible(element, !!pill);
    const detail = this.delay || (doc && doc.instance !== "default" ? text("panel.profile", { name: doc.instance }) : "");
    setText(this.find("plex_msg_detail"), detail);
    setVisible(this.find("plex_msg_detail"), detail !== "");
    setVisible(this.find("next"), isUnfinished && this.currentProblem()?.error !== "server_choice");
    if (document.body.classList.contains("plexauth-page")) {
      this.pageTitle ??= document.title;
      document.title = (title ? `${text(title)} · ` : "") + this.pageTitle;
    }
  }

  // serverState returns the key of states that says how a connected login stands with its server.
  serverState() {
    if (this.needsServer()) {
      return "unfinished";
    }
    if (this.doc.finding && !this.doc.settings.server_url) {
      return "finding";
    }
    return this.hasServerProblem() ? "serverProblem" : "connected";
  }

  renderCode(pending) {
    const code = pending && !isStrong(pending) ? pending.code : "";
    this.find("plex_pin").value = code;
    setText(this.find("plex_qc_code"), code || "----");
    setVisible(this.find("code"), code !== "");
    setVisible(this.find("scan"), code !== "");
    if (!pending) {
      return;
    }
    const link = this.find("open");
    if (link.getAttribute("href") !== pending.url) {
      link.href = pending.url;
      if (code) {
        this.find("qr").src = new URL(`qr.svg?${encodeURIComponent(code)}`, base);
      }
    }
    setText(link, text(this.plexTab?.tab ? "panel.open_again" : "panel.open"));
    setText(this.find("plex_qc_help"), text(this.howToApprove(pending)[code ? 1 : 0]));
    setVisible(this.find("plex_qc_status"), false); // the pill says so, or the problem
  }

  // howToApprove returns the keys of two texts that say where Plex's page is and what to do
  // there: the second one is for a code that a person can type.
  howToApprove(pending) {
    if (this.plexTab?.code !== pending.code) {
      return ["panel.help_press", "panel.help_press_code"];
    }
    return this.plexTab.tab ? ["panel.help_tab", "panel.help_tab_code"] : ["panel.help_blocked", "panel.help_press_code"];
  }

  // renderTimer shows how long the code is still valid.
  renderTimer() {
    if (this.root.dataset.state !== "pending") {
      this.warned = false;
      return;
    }
    const left = Math.max(0, Math.ceil((this.expiresAt - performance.now()) / 1000));
    setText(this.find("plex_qc_timer"), left ? text("panel.time_left", { time: `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}` }) : text("panel.time_up"));
    if (left > 0 && left <= 60 && !this.warned) {
      this.warned = true;
      this.announce(text("panel.minute_left"));
    }
  }

  renderAccount() {
    const user = this.doc?.user || text("panel.your_account");
    setText(this.find("initial"), [...user][0].toUpperCase());
    setText(this.find("user"), user);
    setVisible(this.find("account-label"), !!this.doc?.user);
  }

  // chosenServer returns the chosen server if the list of servers is known.
  chosenServer() { return this.lists.servers?.find((server) => server.machine_id === this.doc?.settings.machine_id); }

  renderServer(settings) {
    const name = this.chosenServer()?.name;
    const line = this.find("server");
    line.replaceChildren(...named(name, this.serverAddress(settings)));
    line.title = settings.server_url ?? "";
    const expanded = this.serversExpanded();
    setVisible(this.find("servers"), expanded);
    const change = this.find("change-server");
    change.setAttribute("aria-expanded", String(expanded));
    setText(change, text(expanded ? "panel.close" : settings.machine_id ? "panel.change" : "panel.choose"));
  }

  serverAddress(settings) {
    if (settings.server_url) {
      return friendlyAddress(settings.server_url);
    }
    return text(settings.machine_id ? "panel.address_unknown" : "panel.no_server");
  }

  renderServerList(settings) {
    const servers = this.lists.servers ?? [];
    setVisible(this.find("server-form"), servers.length > 0);
    this.renderNote("servers", ["panel.loading_servers", "panel.no_servers"]);
    setList(this.find("server-list"), servers, (s) => choice("plexauth-server", s.machine_id, s.name, serverNote(s), s.machine_id === settings.machine_id));
    setList(this.find("plex_server_suggestions"), servers.flatMap(suggestions), ({ value, label }) => Object.assign(document.createElement("option"), { value, label }));
    const input = this.find("plex_server_url");
    const saved = settings.server_url ?? "";
    if (document.activeElement !== input && input.dataset.known !== saved) {
      input.dataset.known = saved;
      input.value = saved;
      this.noteAddress("");
    }
    // Only a host's page can change this. The panel's own page shows it if the check is off.
    const verify = this.find("plex_verify_ssl");
    verify.checked = settings.verify_ssl ?? true;
    verify.disabled = this.root.closest(".plexauth-page") !== null;
    setVisible(this.find("verify"), !verify.checked || !verify.disabled);
  }

  renderUser(settings) {
    this.find("plex_username").value = settings.username ?? "";
    this.find("plex_account_id").value = settings.account_id ?? "";
    const isMember = settings.username && this.doc.user && settings.username !== this.doc.user;
    this.find("works-for").replaceChildren(...named(isMember && settings.username, text(isMember ? "panel.home_member" : "panel.account_itself")));
    setVisible(this.find("users"), this.expanded.users);
    const change = this.find("plex_user_pick_btn");
    change.setAttribute("aria-expanded", String(this.expanded.users));
    setText(change, text(this.expanded.users ? "panel.close" : "panel.change"));
  }

  renderUserList(settings) {
    const users = this.lists.users ?? [];
    const list = this.find("user-list");
    this.renderNote("users", ["panel.loading_users", "panel.no_users"]);
    setVisible(this.find("user-form"), users.length > 0);
    setList(list, users, (u) => choice("plexauth-user", u.uuid, u.title, userNote(u), u.title === settings.username));
    const selected = list.querySelector("input:checked")?.value;
    setVisible(this.find("pin-field"), users.some((u) => u.uuid === selected && u.protected));
  }

  // renderNote says of a list that it is under way, or that it is empty.
  renderNote(name, [loading, empty]) {
    const note = this.find(`${name}-note`);
    const isLoading = this.loading[name] && !this.lists[name]?.length;
    note.classList.toggle("plexauth-busy", isLoading);
    setText(note, isLoading ? text(loading) : this.lists[name]?.length === 0 ? text(empty) : "");
  }

  renderButtons(state) {
    const connect = this.find("btn-connect-plex");
    setText(connect, text(state === "rejected" ? "panel.connect_again" : "panel.connect"));
    setText(this.find("other-way"), text(this.otherWay() ? "panel.this_browser" : "panel.other_device"));
    const busy = this.busy?.checkVisibility() ? this.busy : state === "starting" ? connect : null;
    for (const button of this.root.querySelectorAll("button")) {
      this.renderBusy(button, button === busy);
      if (state === "loading" || this.busy && !button.matches(freeButtons)) {
        button.setAttribute("aria-disabled", "true"); // disabled would take the focus away
      } else {
        button.removeAttribute("aria-disabled");
      }
    }
  }

  // renderBusy shows on a button whether its request is under way.
  renderBusy(button, isBusy) {
    const label = text("panel.busy");
    button.ariaBusy = isBusy ? "true" : null;
    if (isBusy) {
      if (button.textContent !== label) {
        button.dataset.label = button.textContent;
        button.textContent = label;
      }
    } else if (button.textContent === label) {
      button.textContent = button.dataset.label;
    }
  }

  renderProblem() {
    const problem = this.currentProblem() ?? { message: "" };
    const box = this.find("problem");
    this.placeProblem(box, problem);
    setVisible(box, !!problem.message);
    box.classList.toggle("mild", mildProblems.has(problem.error) || this.root.dataset.state === "pending");
    const [headline, advice] = splitMessage(problem.message);
    setText(this.find("problem-title"), headline);
    setText(this.find("problem-text"), advice);
    setText(this.find("problem-detail"), problem.detail ?? "");
    setVisible(this.find("problem-more"), !!problem.detail && !plainProblems.has(problem.error));
    const action = this.problemAction(problem);
    setText(this.find("problem-action"), action);
    setVisible(this.find("problem-action"), action !== "");
  }

  // placeProblem moves the box below the field that caused the problem, or the row of the
  // button that was pressed. If neither can be seen, the box goes to its own place at the top.
  placeProblem(box, { at: button, field, error }) {
    const row = field?.checkVisibility() ? lineOf(field) : button?.closest(".plexauth-row, .inline") ?? button;
    if (!row?.checkVisibility()) {
      if (box.nextElementSibling !== this.find("steps")) {
        this.find("steps").before(box);
      }
    } else if (row.nextElementSibling !== box) {
      row.after(box);
    }
    for (const input of this.root.querySelectorAll("input[aria-describedby]")) {
      const note = input.dataset.note ??= input.getAttribute("aria-describedby");
      const isWrong = input === field && fieldProblems.has(error);
      input.ariaInvalid = isWrong ? "true" : null;
      input.setAttribute("aria-describedby", isWrong ? ["plexauth-problem-title", "plexauth-problem-text", note].join(" ") : note);
    }
  }

  renderTest(state) {
    const lines = state === "connected" && this.test ? testLines(this.test, this.doc.user) : [];
    setList(this.find("results"), lines.length ? [lines] : [], (all) => list(all.map(testLine)));
  }
}

// lineOf returns what a field's problem is placed below: its line with a button, or on a phone,
// where the button has a line of its own, the field alone.
function lineOf(field) {
  const line = field.closest(".plexauth-field");
  return line && getComputedStyle(line).flexWrap === "nowrap" ? line : field;
}

// setVisible shows or hides an element. Scripts of hosts know the elements with an id,
// and show them by the class alone.
export function setVisible(element, visible) {
  if (element?.id) {
    element.classList.toggle("hidden", !visible);
  } else if (element) {
    element.hidden = !visible;
  }
}

// setText leaves an element alone if it has that text: screen readers read changes out.
export function setText(element, words) {
  if (element && element.textContent !== words) {
    element.textContent = words;
  }
}

// setList makes a child of each item. It leaves an element alone if it shows those items
// already: a person may have selected one of them.
function setList(element, items, make) {
  const shown = JSON.stringify(items);
  if (element.dataset.shown !== shown) {
    element.dataset.shown = shown;
    element.replaceChildren(...items.map(make));
  }
}

// hasServer reports whether a server is chosen.
export function hasServer(settings) { return !!(settings.machine_id || settings.server_url); }

// named returns the nodes for a name in bold, if there is one, and a line below it.
function named(name, line) { return name ? [bold(name), document.createElement("br"), line] : [line]; }

function list(items) {
  const ul = document.createElement("ul");
  ul.append(...items);
  return ul;
}

// choice returns a radio button with a name and a note.
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

function serverNote(server) {
  const shared = server.owner ? text("server.of_owner", { owner: server.owner }) : text("server.shared");
  return [server.owned ? text("server.yours") : shared, text(server.presence ? "server.online" : "server.offline"), server.connections.length ? "" : text("server.no_address")].filter(Boolean).join(" · ");
}

// suggestions returns a server's addresses as options for the address field.
function suggestions(server) {
  return server.connections.map((c) => ({ value: c.uri, label: [server.name, text(c.local ? "server.local" : "server.remote"), text(c.relay ? "server.relay" : "server.direct")].join(", ") }));
}

function userNote(user) {
  const kind = text(user.admin ? "user.owner" : user.restricted ? "user.managed" : user.guest ? "user.guest" : "user.member");
  return user.protected ? `${kind} · ${text("user.has_pin")}` : kind;
}

// testLines puts the result of a test into words. state is that of the mark before a
// line: "" for good, "bad" or "wait".
function testLines(test, user) {
  const { account, server } = test;
  const lines = [account.ok ? { text: user ? text("test.account", { user }) : text("test.account_unnamed") } : { state: "bad", text: account.problem.message }];
  if (!server.ok) {
    lines.push({ state: "bad", text: server.problem.message, more: server.addresses.filter((a) => !a.ok).map((a) => text("test.address", { address: friendlyAddress(a.url), finding: say({ words: a.words, message: a.finding }) })) });
  } else if (server.relay) {
    lines.push({ text: text("test.relay", { address: server.url }) });
  } else {
    lines.push({ text: text("test.server", { address: friendlyAddress(server.url) }) });
  }
  if (server.ok && !server.token_accepted) {
    lines.push({ state: "wait", text: text("test.access_untested") });
  }
  return lines;
}

function testLine({ state = "", text: line, more = [] }) {
  const item = document.createElement("li");
  item.className = state;
  item.append(line);
  if (more.length) {
    item.append(list(more.map((textContent) => Object.assign(document.createElement("li"), { textContent }))));
  }
  return item;
}

// friendlyAddress returns an address as a person knows it. A plex.direct name stands for
// an IP address and has a certificate.
export function friendlyAddress(address) {
  const direct = /^https:\/\/([0-9a-f-]+)\.[0-9a-f]{32}\.plex\.direct(:\d+)?$/.exec(address);
  if (!direct) {
    return address;
  }
  const [, host, port = ""] = direct;
  const ip = /^\d+-\d+-\d+-\d+$/.test(host) ? host.replaceAll("-", ".") : `[${host.replaceAll("-", ":")}]`;
  return text("server.encrypted", { address: `${ip}${port}` });
}
