// The view: what the panel's fragment shows, and in which words.

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
  store: "The settings cannot be read or saved",
  store_corrupt: "The settings cannot be read",
  server_unreachable: "The server does not answer",
  other_server: "Another server answers",
  server_token: "The server gives no access",
  server_choice: "Choose a server",
  home_pin: "Wrong PIN",
  too_soon: "One moment",
  not_revoked: "Disconnected here only",
  missing: "One thing is missing",
};

// mild are the problems that are shown in a milder colour: nothing is broken.
const mild = new Set(["pin_expired", "rate_limited", "too_soon", "not_revoked", "server_choice", "network", "sign_in", "missing", "account_mismatch"]);

/** View shows one fragment. Its fields are what it goes by. */
export class View {
  constructor(root) {
    this.root = root;
    this.doc = null; // what status said last
    this.problem = null; // of the last button that was pressed, or of the last poll
    this.retry = null; // what would do it again
    this.busy = null; // the button that is at work
    this.tab = null; // {code, opened}: whether a tab could be opened for that code
    this.ends = 0; // when the code expires, by performance.now()
    this.said = ""; // for those who cannot see it, for some seconds
    this.results = null; // of the last test
    this.lists = {}; // servers and users, once they have been asked for
    this.open = { servers: null, users: false }; // servers: null until a person opens or closes them
  }

  // product is what the program around the panel is called.
  product() { return this.doc?.product || "this program"; }

  // unchosen tells that all is done but the choice of a server.
  unchosen() {
    const { doc } = this;
    return !!doc?.connected && !doc.extra.pending && !doc.extra.needs_login && !doc.finding && !doc.settings.machine_id && !doc.settings.server_url;
  }

  // serversOpen tells whether the servers are shown: as a person has said, else
  // while one is to be chosen.
  serversOpen() { return this.open.servers ?? this.unchosen(); }

  id(name) { return this.root.querySelector(`#${name}`); }
  part(name) { return this.root.querySelector(`[data-part="${name}"]`); }

  state() {
    const { doc } = this;
    if (!doc) {
      return this.problem ? "broken" : "loading";
    }
    if (this.problem?.error.startsWith("store") && this.problem.fromStatus) {
      return "broken";
    }
    if (doc.extra.pending) {
      return doc.problem?.error === "store" ? "saving" : "pending";
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
    this.root.dataset.state = state;

    const word = {
      loading: ["", ""], broken: ["Not available", "warn"], pending: ["Waiting for you", "warn"], saving: ["Approved, not saved yet", "warn"], starting: ["Asking Plex for a code", ""],
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
    show(this.part("next"), state === "connected" && this.unchosen());

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
      const tab = this.tab?.code === pending.code ? this.tab : null;
      const where = tab?.opened ? "In the other tab, " : tab ? "Your browser blocked the new tab: press Open Plex, " : "Press Open Plex, ";
      put(this.id("plex_qc_help"), where + (typed ? "sign in and confirm the code. Or enter it at plex.tv/link on any device." : "sign in and approve."));
      put(this.id("plex_qc_status"), doc.problem ? "Still trying" : "Waiting for your approval");
    }

    const user = doc?.user || "your Plex account";
    show(this.part("account"), state === "connected" || state === "rejected");
    put(this.part("initial"), [...user][0].toUpperCase());
    put(this.part("user"), user);
    this.renderServer(settings);
    this.renderUser(settings);

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

    this.renderProblem();
    const results = this.part("results");
    const found = state === "connected" && this.results || [];
    const shown = JSON.stringify(found);
    if (results.dataset.shown !== shown) {
      results.dataset.shown = shown;
      results.replaceChildren(...(found.length ? [list(found.map(resultItem))] : []));
    }

    if (held && (!held.isConnected || held.closest("[hidden], .hidden"))) {
      this.refocus(state);
    }
    if (document.body.classList.contains("plexauth-page")) {
      this.title ??= document.title;
      const mark = { pending: "Waiting · ", saving: "Not saved yet · ", connected: this.unchosen() ? "One more step · " : "Connected · ", rejected: "Sign in again · " }[state] ?? "";
      document.title = mark + this.title;
    }
    this.tick();
  }

  // trouble is what is wrong, as far as it is to be said.
  trouble() {
    const state = this.root.dataset.state;
    if (this.problem) {
      return this.problem;
    }
    if (state === "loading" || state === "starting") {
      return null;
    }
    return this.doc.problem ?? (state === "rejected" ? { error: "rejected", message: "Plex does not accept this sign-in any more: it was ended elsewhere, or the password was changed. Connect again: your server stays chosen." } : null);
  }

  renderProblem() {
    const problem = this.trouble() ?? { message: "" };
    const box = this.part("problem");
    this.place(box, problem.at);
    show(box, !!problem.message);
    box.classList.toggle("mild", mild.has(problem.error) || this.root.dataset.state === "pending");
    put(this.part("problem-title"), problem.message && this.titleOf(problem.error));
    put(this.part("problem-text"), problem.message);
    put(this.part("problem-detail"), problem.detail ?? "");
    show(this.part("problem-more"), !!problem.detail && problem.error !== "pin_expired");
    const other = problem.error === "account_mismatch";
    put(this.part("problem-action"), other ? "Switch to that account" : problem.error === "sign_in" ? "Reload the page" : "Try again");
    show(this.part("problem-action"), other || problem === this.problem && !!this.retry && problem.error !== "home_pin");
  }

  titleOf(error) {
    switch (error) {
      case "sign_in":
        return `Sign in to ${this.product()} again`;
      case "network":
        return `${this.doc?.product || "This program"} does not answer`;
      default:
        return titles[error] ?? "That did not work";
    }
  }

  // place puts the box below the row of the button that was pressed, where the person
  // is; else, and where that row is gone, to its own place above.
  place(box, at) {
    const row = at?.closest(".plexauth-field, .plexauth-row, .inline") ?? at;
    if (!row?.checkVisibility()) {
      if (box.nextElementSibling !== this.part("steps")) {
        this.part("steps").before(box);
      }
    } else if (row.nextElementSibling !== box) {
      row.after(box);
    }
  }

  renderServer(settings) {
    const servers = this.lists.servers;
    const chosen = servers?.find((s) => s.machine_id === settings.machine_id);
    const line = this.part("server");
    const name = chosen?.name ?? "";
    const where = friendly(settings.server_url ?? "") || (settings.machine_id ? "at no known address" : this.doc?.finding ? "looking for it…" : "none chosen");
    line.replaceChildren(...(name ? [strong(name), document.createElement("br"), where] : [where]));
    line.title = settings.server_url ?? "";
    put(this.part("where"), this.doc?.finding ? "Looking for your server…" : this.state() === "rejected" ? "was connected" : name ? `with the server ${name}` : "signed in to Plex");
    const open = this.serversOpen();
    show(this.part("servers"), open);
    const change = this.part("change-server");
    change.setAttribute("aria-expanded", String(open));
    put(change, open ? "Close" : settings.machine_id ? "Change" : "Choose");

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

  renderUser(settings) {
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
      pending: this.part("open"), saving: this.part("problem"), idle: this.id("btn-connect-plex"), rejected: this.id("btn-connect-plex"),
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

// show shows or hides an element, in one way. Scripts of hosts know the elements with
// an id, and show them by the class alone.
function show(element, on) {
  if (element?.id) {
    element.classList.toggle("hidden", !on);
  } else if (element) {
    element.hidden = !on;
  }
}

function put(element, text) {
  if (element && element.textContent !== text) {
    element.textContent = text;
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
  return [whose, s.presence ? "online" : "offline", s.connections.length ? "" : "no address"].filter(Boolean).join(" · ");
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
export function friendly(address) {
  const direct = /^https:\/\/([0-9a-f-]+)\.[0-9a-f]{32}\.plex\.direct(:\d+)?$/.exec(address);
  if (!direct) {
    return address;
  }
  const [, host, port = ""] = direct;
  const ip = /^\d+-\d+-\d+-\d+$/.test(host) ? host.replaceAll("-", ".") : `[${host.replaceAll("-", ":")}]`;
  return `${ip}${port}, encrypted`;
}
