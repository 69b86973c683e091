// The page to which Plex sends the browser after a sign-in. It closes its tab once the login
// has ended, and the panel in the other tab goes on. Where a browser does not let it, it shows
// the panel itself.

import { request } from "./request.js";

const longestWait = 10000; // milliseconds until the tab is closed in any case
const closingTime = 500; // milliseconds that a browser takes to close a tab

// waitForEnd waits until the login has ended, for longestWait at most.
async function waitForEnd() {
  const end = performance.now() + longestWait;
  let doc = await request("status");
  while (doc.extra.pending && performance.now() < end) {
    const seconds = Math.ceil((end - performance.now()) / 1000);
    doc = await request(`status?wait=${seconds}&seen=${encodeURIComponent(doc.seen)}`);
  }
}

try {
  await waitForEnd();
} catch {
  // The panel says what is wrong.
}
window.close();
setTimeout(() => location.replace(new URL("./", import.meta.url)), closingTime);
