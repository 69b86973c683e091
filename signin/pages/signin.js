// Send each form of signin only once, even if its button is pressed again. Send the form
// with data-auto, on the page to which Plex sends the browser back, without a press.
const forms = document.querySelectorAll("form:is([action=start], [action=finish], [action=member])");
const buttons = [...forms].flatMap((form) => [...form.querySelectorAll("button")]);

for (const form of forms) {
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

// When the browser shows the page again from its cache, allow every button again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) {
    return;
  }
  for (const form of forms) {
    delete form.dataset.sent;
    form.removeAttribute("aria-busy");
  }
  for (const button of buttons) {
    button.removeAttribute("aria-disabled");
  }
});

document.querySelector("form[data-auto]")?.requestSubmit();
