// The view: what the panel shows, and in which words.

const base = new URL("./", import.meta.url);

// states says how each state looks. Its name is the value of data-state.
//
//	pill   the state in a word or two; tone is its colour
//	title  what the page's title begins with
//	shows  the parts that only some states show
//	focus  what gets the focus if the focused element was hidden
export const states = {
  loading: { shows: ["steps", "btn-connect-plex"] },
  broken: { pill: "Not available", tone: "warn", shows: [] },
  idle: { pill: "Not connected", shows: ["steps", "btn-connect-plex"], focus: "btn-connect-plex" },
  starting: { pill: "Asking Plex for a code", shows: ["steps", "btn-connect-plex"] },
  pending: { pill: "Waiting for you", tone: "warn", title: "Waiting", shows: ["plex_qc_state", "btn-plex-cancel"], focus: "open" },
  saving: { pill: "Approved, not saved yet", tone: "warn", title: "Not saved yet", shows: [], focus: "problem" },
  connected: { pill: "Connected", tone: "ok", title: "Connected", shows: ["account", "test", "btn-delete-plex"], focus: "test" },
  rejected: { pill: "Sign in again", tone: "warn", title: "Sign in again", shows: ["account", "btn-connect-plex", "btn-delete-plex"], focus: "btn-connect-plex" },
  expired: { pill: "Code expired", tone: "warn", shows: ["btn-plex-restart"], focus: "btn-plex-restart" },
};

// sometimesShown are the parts that depend on the state alone.
const sometimesShown = new Set(Object.values(states).flatMap((state) => state.shows));

// problemTitles has a title for each kind of problem.
const problemTitles = {
  dns: "Plex cannot be reached",
  connect: "Plex cannot be reached",
  proxy: "Plex cannot be reached",
  tls: "Plex cannot be reached",
  timeout: "Plex cannot be reached",
  content: "Plex cannot be reached",
  status: "Plex answered with an error",
  rate_limited: "Plex asks to slow down",
  rejected: "Plex has ended this sign-in",
  pin_expired: "The code has expired",
  account_mismatch: "That was another Plex account",
  store: "The settings cannot be read or saved",
  store_corrupt: "The settings cannot be read",
  server_unreachable: "The server does not answer",
  other_server: "A different server answers",
  server_token: "The server refuses access",
  server_choice: "Choose a server",
  home_pin: "Wrong PIN",
  too_soon: "Please wait a moment",
  not_found: "There is no such profile",
  not_revoked: "Disconnected here, but not at Plex",
  missing: "Something is missing",
};

// mildProblems are shown in a milder colour, because nothing is broken.
export const mildProblems = new Set(["pin_expired", "rate_limited", "too_soon", "not_revoked", "server_choice", "network", "sign_in", "missing", "account_mismatch"]);

const rejectedProblem = {
  error: "rejected",
  message: "Plex no longer accepts this sign-in: it was ended elsewhere, or the password was changed. Connect again. Your server stays chosen.",
};

// addressNotes are the results of checking a typed address.
const addressNotes = {
  checking: "Checking this address…",
  ok: "A Plex server answers at this address.",
  wrong_server: "A Plex server answers at this address, but not the one you chose.",
  unreachable: "No Plex server answers at this address.",
};

const announcementLasts = 4000; // milliseconds
const longestTypedCode = 10; // characters; a longer code is only for Plex's web page

/** problemTitle returns the title of a kind of problem. product may be empty. */
export function problemTitle(error, product) {
  switch (error) {
    case "sign_in":
      return `Sign in to ${product || "this program"} again`;
    case "network":
      return `${product || "This program"} does not answer`;
    default:
      return problemTitles[error] ?? "That did not work";
  }
}

/** View shows one fragment. What it shows depends on its fields alone. */
export class View {
  constructor(root) {
    this.root = root;
    this.doc = null; // the program's last status
    this.problem = null; // what failed last in this page; {error, message, at, fromPoll, retry}
    this.busy = null; // the button whose request is under way
    this.plexTab = null; // {code, opened}: whether a tab could be opened for that code
    this.expiresAt = 0; // when the code expires, by performance.now()
    this.warned = false; // whether the last minute of the code was announced
    this.announcement = ""; // shown beside the state for a few seconds
    this.test = null; // the last test: null, "running" or its answer
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
    if (this.busy === this.find("btn-connect-plex")) {
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

  // product returns the name of the program that the panel belongs to.
  product() { return this.doc?.product || "this program"; }

  // needsServer reports whether only the choice of a server is left to do.
  needsServer() {
    const { doc } = this;
    return !!doc?.connected && !doc.extra.pending && !doc.extra.needs_login && !doc.finding && !doc.settings.machine_id && !doc.settings.server_url;
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
    return this.doc.problem ?? (state === "rejected" ? rejectedProblem : null);
  }

  // problemAction returns the text of the button beside a problem, or "" for no button.
  problemAction(problem) {
    if (problem.error === "account_mismatch") {
      return "Switch to that account";
    }
    if (!problem.retry || problem.error === "home_pin") {
      return "";
    }
    return problem.error === "sign_in" ? "Reload the page" : "Try again";
  }

  // announce shows text beside the state for a few seconds. Screen readers read it out.
  announce(text) {
    this.announcement = text;
    clearTimeout(this.announcementTimer);
    this.announcementTimer = setTimeout(() => {
      this.announcement = "";
      this.render();
    }, announcementLasts);
    this.render();
  }

  // noteAddress shows the result of checking a typed address: a key of addressNotes, or
  // a text.
  noteAddress(result) { setText(this.find("address-note"), addressNotes[result] ?? result); }

  render() {
    const state = this.state();
    const focused = this.root.contains(document.activeElement) ? document.activeElement : null;
    this.root.dataset.state = state;
    for (const name of sometimesShown) {
      setVisible(this.find(name), states[state].shows.includes(name));
    }
    this.renderState(state);
    this.renderCode(this.doc?.extra.pending);
    this.renderAccount(state);
    this.renderServer(this.doc?.settings ?? {});
    this.renderServerList(this.doc?.settings ?? {});
    this.renderUser(this.doc?.settings ?? {});
    this.renderUserList(this.doc?.settings ?? {});
    this.renderButtons(state);
    this.renderProblem();
    this.renderTest(state);
    const { focus } = states[state];
    if (focus && focused && (!focused.isConnected || focused.closest("[hidden], .hidden"))) {
      this.find(focus).focus({ preventScroll: true });
    }
    this.renderTimer();
  }

  renderState(state) {
    const { doc } = this;
    const { pill = "", tone = "", title = "" } = states[state];
    const oneMoreStep = state === "connected" && this.needsServer();
    const element = this.find("plex_msg");
    setText(element, pill);
    element.classList.toggle("ok", tone === "ok");
    element.classList.toggle("warn", tone === "warn");
    setVisible(element, pill !== "");
    const detail = this.announcement || (doc && doc.instance !== "default" ? `Profile ${doc.instance}` : "");
    setText(this.find("plex_msg_detail"), detail);
    setVisible(this.find("plex_msg_detail"), detail !== "");
    setVisible(this.find("next"), oneMoreStep);
    if (document.body.classList.contains("plexauth-page")) {
      this.pageTitle ??= document.title;
      const prefix = oneMoreStep ? "One more step" : title;
      document.title = (prefix && `${prefix} · `) + this.pageTitle;
    }
  }

  renderCode(pending) {
    // A program may have started a login for Plex's web page. Its code is too long to type.
    const code = pending && pending.code.length <= longestTypedCode ? pending.code : "";
    this.find("plex_pin").value = code;
    setText(this.find("plex_qc_code"), code || "----");
    setVisible(this.find("code"), code !== "");
    if (!pending) {
      return;
    }
    const link = this.find("open");
    if (link.getAttribute("href") !== pending.url) {
      link.href = pending.url;
      this.find("qr").src = new URL(`qr.svg?${encodeURIComponent(pending.code)}`, base);
    }
    setText(this.find("plex_qc_help"), this.whereToApprove(pending) + (code ? "sign in and confirm the code. Or enter it at plex.tv/link on any device." : "sign in and approve."));
    setText(this.find("plex_qc_status"), this.doc.problem ? "Still trying" : "Waiting for your approval");
  }

  // whereToApprove returns the beginning of a sentence that says where Plex's page is.
  whereToApprove(pending) {
    if (this.plexTab?.code !== pending.code) {
      return "Press Open Plex, ";
    }
    return this.plexTab.opened ? "In the other tab, " : "Your browser blocked the new tab: press Open Plex, ";
  }

  // renderTimer shows how long the code is still valid.
  renderTimer() {
    if (this.root.dataset.state !== "pending") {
      this.warned = false;
      return;
    }
    const left = Math.max(0, Math.ceil((this.expiresAt - performance.now()) / 1000));
    setText(this.find("plex_qc_timer"), left ? `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left` : "time is up");
    if (left > 0 && left <= 60 && !this.warned) {
      this.warned = true;
      this.announce("One minute left");
    }
  }

  renderAccount(state) {
    const user = this.doc?.user || "your Plex account";
    setText(this.find("initial"), [...user][0].toUpperCase());
    setText(this.find("user"), user);
    const server = this.chosenServer()?.name;
    let use = server ? `using the server ${server}` : "signed in to Plex";
    if (this.doc?.finding) {
      use = "Looking for your server…";
    } else if (state === "rejected") {
      use = "no longer signed in";
    }
    setText(this.find("where"), use);
  }

  // chosenServer returns the chosen server if the list of servers is known.
  chosenServer() { return this.lists.servers?.find((server) => server.machine_id === this.doc?.settings.machine_id); }

  renderServer(settings) {
    const name = this.chosenServer()?.name;
    const line = this.find("server");
    line.replaceChildren(...(name ? [bold(name), document.createElement("br")] : []), this.serverAddress(settings));
    line.title = settings.server_url ?? "";
    const expanded = this.serversExpanded();
    setVisible(this.find("servers"), expanded);
    const change = this.find("change-server");
    change.setAttribute("aria-expanded", String(expanded));
    setText(change, expanded ? "Close" : settings.machine_id ? "Change" : "Choose");
  }

  serverAddress(settings) {
    if (settings.server_url) {
      return friendlyAddress(settings.server_url);
    }
    if (settings.machine_id) {
      return "address not known";
    }
    return this.doc?.finding ? "looking for it…" : "none chosen";
  }

  renderServerList(settings) {
    const servers = this.lists.servers ?? [];
    setVisible(this.find("server-form"), servers.length > 0);
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
    this.find("works-for").replaceChildren(settings.username ? bold(settings.username) : "the account itself");
    setVisible(this.find("users"), this.expanded.users);
    const change = this.find("plex_user_pick_btn");
    change.setAttribute("aria-expanded", String(this.expanded.users));
    setText(change, this.expanded.users ? "Close" : "Change");
  }

  renderUserList(settings) {
    const users = this.lists.users ?? [];
    const list = this.find("user-list");
    setVisible(this.find("user-form"), users.length > 0);
    setList(list, users, (u) => choice("plexauth-user", u.uuid, u.title, userNote(u), u.title === settings.username));
    const selected = list.querySelector("input:checked")?.value;
    setVisible(this.find("pin-field"), users.some((u) => u.uuid === selected && u.protected));
  }

  renderButtons(state) {
    const connect = this.find("btn-connect-plex");
    setText(connect, state === "rejected" ? "Connect again" : "Connect Plex");
    for (const button of this.root.querySelectorAll("button")) {
      if (button === this.busy || state === "loading" && button === connect) {
        button.setAttribute("aria-disabled", "true"); // disabled would take the focus away
      } else {
        button.removeAttribute("aria-disabled");
      }
    }
  }

  renderProblem() {
    const problem = this.currentProblem() ?? { message: "" };
    const box = this.find("problem");
    this.placeProblem(box, problem.at);
    setVisible(box, !!problem.message);
    box.classList.toggle("mild", mildProblems.has(problem.error) || this.root.dataset.state === "pending");
    setText(this.find("problem-title"), problem.message && problemTitle(problem.error, this.doc?.product));
    setText(this.find("problem-text"), problem.message);
    setText(this.find("problem-detail"), problem.detail ?? "");
    setVisible(this.find("problem-more"), !!problem.detail && problem.error !== "pin_expired");
    const action = this.problemAction(problem);
    setText(this.find("problem-action"), action);
    setVisible(this.find("problem-action"), action !== "");
  }

  // placeProblem moves the box below the row of the button that was pressed. If there is
  // no such row to see, the box goes to its own place at the top.
  placeProblem(box, button) {
    const row = button?.closest(".plexauth-field, .plexauth-row, .inline") ?? button;
    if (!row?.checkVisibility()) {
      if (box.nextElementSibling !== this.find("steps")) {
        this.find("steps").before(box);
      }
    } else if (row.nextElementSibling !== box) {
      row.after(box);
    }
  }

  renderTest(state) {
    const lines = state === "connected" && this.test ? testLines(this.test, this.doc.user || "this account") : [];
    setList(this.find("results"), lines.length ? [lines] : [], (all) => list(all.map(testLine)));
  }
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
export function setText(element, text) {
  if (element && element.textContent !== text) {
    element.textContent = text;
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

function bold(text) {
  const b = document.createElement("b");
  b.textContent = text;
  return b;
}

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
  const owner = server.owned ? "yours" : server.owner ? `${server.owner}'s` : "shared with you";
  return [owner, server.presence ? "online" : "offline", server.connections.length ? "" : "no address"].filter(Boolean).join(" · ");
}

// suggestions returns a server's addresses as options for the address field.
function suggestions(server) {
  return server.connections.map((c) => ({ value: c.uri, label: [server.name, c.local ? "local" : "remote", c.relay ? "relay" : "direct"].join(", ") }));
}

function userNote(user) {
  const kind = user.admin ? "owner of the Home" : user.restricted ? "managed user" : user.guest ? "guest" : "member";
  return user.protected ? `${kind} · has a PIN` : kind;
}

// testLines puts the result of a test into words. state is that of the mark before a
// line: "" for good, "bad" or "wait".
function testLines(test, user) {
  if (test === "running") {
    return [{ state: "wait", text: "Testing the account and the server" }];
  }
  const { account, server } = test;
  const lines = [account.ok ? { text: `Plex accepts the sign-in of ${user}.` } : { state: "bad", text: account.problem.message }];
  if (!server.ok) {
    lines.push({ state: "bad", text: server.problem.message, more: server.addresses.map((a) => `${friendlyAddress(a.url)}: ${a.finding}`) });
  } else if (server.relay) {
    lines.push({ text: `The server answers, but only through Plex's relay: ${server.url}` });
  } else {
    lines.push({ text: `The server answers at ${friendlyAddress(server.url)}.` });
  }
  if (server.ok && !server.token_accepted) {
    lines.push({ state: "wait", text: "Access to it was not tested: the sign-in is sent to the saved address only." });
  }
  return lines;
}

function testLine({ state = "", text, more = [] }) {
  const item = document.createElement("li");
  item.className = state;
  item.append(text);
  if (more.length) {
    item.append(list(more.map((line) => Object.assign(document.createElement("li"), { textContent: line }))));
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
  return `${ip}${port}, encrypted`;
}
