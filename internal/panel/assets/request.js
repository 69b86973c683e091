// Requests to the program. Its routes are beside this file, wherever that is.

import { say, text } from "./words.js";

const base = new URL("./", import.meta.url);

const requestTimeout = 40000; // milliseconds

/** Failure is a request that failed. problem says why: the program's answer, or what this page makes of another one. */
export class Failure extends Error {
  constructor(problem, unanswered = false) {
    super(problem.message);
    this.problem = problem;
    this.unanswered = unanswered; // no answer came, or a proxy says that none came
  }
}

// answerShapes recognize the program's answers. A login in front of it that has ended
// answers in its place, in JSON as well.
const answerShapes = {
  servers: (answer) => Array.isArray(answer.servers),
  users: (answer) => Array.isArray(answer.users),
  profiles: (answer) => Array.isArray(answer.profiles),
  probe: (answer) => !!answer.result || !!answer.account && !!answer.server,
};
const statusShape = (answer) => typeof answer.seen === "string" && !!answer.extra && !!answer.settings;
const errorShape = (answer) => typeof answer.error === "string" && typeof answer.message === "string";

// forbiddenReasons are the program's own reasons for a 403. It never answers 401.
const forbiddenReasons = new Set(["home_pin", "host", "cross_origin"]);

// isFromProgram reports whether an answer is the program's own.
function isFromProgram(response, answer, path) {
  if (typeof answer !== "object" || answer === null || response.status === 401) {
    return false;
  }
  if (response.status === 403 && !forbiddenReasons.has(answer.error)) {
    return false;
  }
  return (response.ok ? answerShapes[path] ?? statusShape : errorShape)(answer);
}

// failureWithoutAnswer returns the Failure for a response that is not the program's, or
// for none.
function failureWithoutAnswer(path, response) {
  const status = response?.status ?? 0;
  const detail = status ? text("problem.http_status", { status }) : "";
  if (response && (response.type === "opaqueredirect" || response.ok || [401, 403, 511].includes(status))) {
    return new Failure({ error: "sign_in", message: text("problem.sign_in"), detail });
  }
  if (!response || status >= 500 || status === 408 || status === 429) {
    const keepsTrying = path.startsWith("status") || path === "profiles";
    return new Failure({ error: "network", message: text(keepsTrying ? "problem.network_trying" : "problem.network"), detail }, true);
  }
  return new Failure({ error: "network", message: text("problem.not_the_program"), detail });
}

// request returns the program's answer, or throws a Failure. An answer can be lost
// without a sign, so there is always a time limit. If aborter ends the request earlier,
// it throws an AbortError.
export async function request(path, { body, timeout = requestTimeout, aborter = new AbortController() } = {}) {
  let timedOut = false;
  let response;
  let answer;
  const timer = setTimeout(() => { timedOut = true; aborter.abort(); }, timeout);
  try {
    // The program redirects nothing. A login in front of it does, usually to another
    // origin, where no script may follow.
    response = await fetch(new URL(path, base), {
      cache: "no-store", redirect: "manual", signal: aborter.signal, headers: { Accept: "application/json" },
      ...(body && { method: "POST", headers: { Accept: "application/json", "Content-Type": "application/json" }, body: JSON.stringify(body) }),
    });
    answer = response.type === "opaqueredirect" ? null : await response.json();
  } catch (error) {
    if (aborter.signal.aborted && !timedOut) {
      throw error;
    }
    if (timedOut || !(error instanceof SyntaxError)) {
      response = undefined;
    }
  } finally {
    clearTimeout(timer);
  }
  if (!response || !isFromProgram(response, answer, path)) {
    throw failureWithoutAnswer(path, response);
  }
  translate(answer);
  if (!response.ok) {
    throw new Failure(answer);
  }
  return answer;
}

// translate puts the messages of an answer into the language of the page.
function translate(answer) {
  for (const problem of [answer, answer.problem, answer.account?.problem, answer.server?.problem]) {
    if (problem?.message) {
      problem.message = say(problem);
    }
  }
}

export const post = (path, body = {}) => request(path, { body });
