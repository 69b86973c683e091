// The list of profiles: keeps the list up to date. What a person does to a profile happens
// in its panel, to which its row links. No other site is asked.

import { Failure, request } from "./request.js";
import { friendlyAddress, hasServer, mildProblems, setText, setVisible, splitMessage, states } from "./view.js";
import { text } from "./words.js";

const requestTimeout = 15000; // milliseconds
const pollInterval = 2000; // milliseconds, while the page is visible
const longestRetryPause = 15000; // milliseconds

/** ProfileList is the list in the page. */
class ProfileList {
  constructor(root) {
    this.root = root;
    this.doc = null; // the program's last answer
    this.problem = null; // with which the last request failed
    this.rows = new Map(); // by instance
    this.retryPause = pollInterval;
    this.endPause = null; // ends the pause between two requests
    this.find("reload").addEventListener("click", () => location.reload());
    document.addEventListener("visibilitychange", () => document.hidden || this.endPause?.());
    window.addEventListener("online", () => this.endPause?.());
  }

  // find returns the element of that data-part.
  find(name) { return this.root.querySelector(`[data-part="${name}"]`); }

  // follow asks for the list as long as the page is open. A hidden page does not ask.
  async follow() {
    for (;;) {
      if (!this.doc || !document.hidden) {
        await this.refresh();
      }
      await this.pause();
    }
  }

  async refresh() {
    try {
      this.doc = await request("profiles", { timeout: requestTimeout });
      this.problem = null;
      this.retryPause = pollInterval;
    } catch (error) {
      if (!(error instanceof Failure)) {
        throw error;
      }
      this.problem = error.problem;
      this.retryPause = Math.min(2 * this.retryPause, longestRetryPause);
    }
    this.render();
  }

  // pause waits until the next request is due, without an end while the page is hidden.
  async pause() {
    let timer;
    await new Promise((done) => {
      this.endPause = done;
      timer = document.hidden && this.doc ? 0 : setTimeout(done, this.retryPause);
    });
    clearTimeout(timer);
  }

  render() {
    this.root.dataset.state = this.doc ? "loaded" : "broken";
    this.renderProblem();
    if (!this.doc) {
      return; // no answer looks like a first run
    }
    const { profiles, next } = this.doc;
    const known = new Set(profiles.map((profile) => profile.instance));
    for (const [instance, row] of this.rows) {
      if (!known.has(instance)) {
        row.element.remove();
        this.rows.delete(instance);
      }
    }
    const isFirst = this.rows.size === 0;
    const changes = profiles.map((profile, i) => this.renderRow(profile, i)).filter(Boolean);
    setText(this.find("said"), isFirst ? "" : changes.join(". ") || this.find("said").textContent);
    const add = this.find("add");
    if (next) {
      add.href = next.path;
    }
    setVisible(add, !!next);
    setVisible(this.find("full"), !next);
  }

  // renderRow shows a profile in its row. It returns what has changed, or "". Rows are not
  // replaced, because one of them may have the focus.
  renderRow(profile, i) {
    let row = this.rows.get(profile.instance);
    if (!row) {
      row = new Row();
      this.rows.set(profile.instance, row);
    }
    const list = this.find("list");
    if (list.children[i] !== row.element) {
      list.insertBefore(row.element, list.children[i] ?? null);
    }
    return row.render(profile);
  }

  renderProblem() {
    const { problem } = this;
    setVisible(this.find("problem"), !!problem);
    this.find("problem").classList.toggle("mild", mildProblems.has(problem?.error));
    const [headline, advice] = splitMessage(problem?.message ?? "");
    setText(this.find("problem-title"), headline);
    setText(this.find("problem-text"), advice);
    setText(this.find("problem-detail"), problem?.detail ?? "");
    setVisible(this.find("problem-more"), !!problem?.detail);
    setVisible(this.find("reload"), problem?.error === "sign_in");
  }
}

/** Row is one profile of the list: a link to its panel. */
class Row {
  constructor() {
    this.link = document.createElement("a");
    this.initial = make("span", "plexauth-initial");
    this.initial.ariaHidden = "true";
    this.name = make("strong");
    this.use = make("small");
    this.pill = make("span", "plexauth-pill");
    const description = document.createElement("div");
    description.append(this.name, this.use);
    this.link.append(this.initial, description, this.pill);
    this.element = document.createElement("li");
    this.element.append(this.link);
  }

  // render returns the name and the state if the state has changed, or "".
  render(profile) {
    const { pill: key, tone = "" } = states[stateOf(profile)];
    const pill = text(key);
    const name = profile.instance === "default" ? text("profiles.default") : profile.name;
    const changed = this.pill.textContent !== pill;
    this.link.href = profile.path;
    setText(this.initial, [...(profile.user || name)][0].toUpperCase());
    setText(this.name, name);
    setText(this.use, useOf(profile));
    setText(this.pill, pill);
    this.pill.className = `plexauth-pill ${tone}`;
    this.element.dataset.state = stateOf(profile);
    return changed ? text("profiles.changed", { name, state: pill }) : "";
  }
}

function make(tag, className = "") {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

// stateOf returns a key of states.
function stateOf(profile) {
  if (profile.pending) {
    return "pending";
  }
  if (profile.extra.needs_login) {
    return "rejected";
  }
  if (!profile.connected) {
    return "idle";
  }
  if (!hasServer(profile.settings)) {
    return "unfinished";
  }
  return profile.settings.server_url && !profile.server_problem ? "connected" : "serverProblem";
}

// useOf says as whom a profile is connected, and to which server.
function useOf({ connected, user, extra, settings }) {
  if (!connected && !extra.needs_login) {
    return text("profiles.no_account");
  }
  const account = user || text("profiles.an_account");
  const worksFor = settings.username && settings.username !== user ? text("profiles.works_for", { user: settings.username }) : "";
  const server = settings.server_url ? friendlyAddress(settings.server_url) : text(settings.machine_id ? "panel.address_unknown" : "profiles.no_server");
  return [account, worksFor, server].filter(Boolean).join(" · ");
}

new ProfileList(document.querySelector("[data-profiles]")).follow();
