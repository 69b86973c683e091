// A form is sent once, however often its button is pressed; the one on the way
// back from Plex is sent by itself.
const buttons = document.querySelectorAll("button");

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
    for (const button of buttons) {
      button.setAttribute("aria-disabled", "true");
    }
  });
}

// Back from the cache of the browser: everything may be pressed again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) {
    return;
  }
  for (const form of document.forms) {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  }
  for (const button of buttons) {
    button.removeAttribute("aria-disabled");
  }
});

document.querySelector("form[data-auto]")?.requestSubmit();
