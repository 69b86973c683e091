// The words: the texts in the language of the page. The program has them, in one file for
// each language (internal/words). A page in another language gets those that the browser
// prefers, unless the program has chosen one.

const url = new URL(`words.json?lang=${encodeURIComponent(document.documentElement.lang)}`, import.meta.url);

const loadTimeout = 15000; // milliseconds
const firstRetryPause = 1000; // milliseconds
const longestRetryPause = 15000; // milliseconds

// load returns the program's answer. It asks until there is one: without texts there is
// nothing to show.
async function load() {
  for (let pause = firstRetryPause; ; pause = Math.min(2 * pause, longestRetryPause)) {
    try {
      const answer = await (await fetch(url, { redirect: "error", signal: AbortSignal.timeout(loadTimeout) })).json();
      if (answer.texts) {
        return answer;
      }
    } catch {
      // The program has stopped, or the connection to it is broken.
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

const { language, product, texts } = await load();

/** text returns the text of key. args are its parameters; n chooses singular or plural. The product is known. */
export function text(key, args = {}) {
  const found = texts[key] ?? texts[`${key}.${args.n === 1 ? "one" : "other"}`] ?? key;
  const values = { product, ...args };
  return found.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** say returns the sentences of a problem or a finding, or the program's own message if it has none. */
export function say({ words, message }) {
  return words ? words.map(({ key, n, args }) => text(key, { n, ...args })).join(" ") : message;
}

/** fill puts the texts of a fragment into the language of the page. */
export function fill(root) {
  root.lang = language;
  for (const element of root.querySelectorAll("[data-text]")) {
    const parts = text(element.dataset.text).split(/<\/?b>/); // those with an odd number are bold
    element.replaceChildren(...parts.map((part, i) => (i % 2 ? bold(part) : part)));
  }
  for (const element of root.querySelectorAll("[data-alt]")) {
    element.alt = text(element.dataset.alt);
  }
}

/** bold returns an element with that text in bold. */
export function bold(content) {
  const b = document.createElement("b");
  b.textContent = content;
  return b;
}
