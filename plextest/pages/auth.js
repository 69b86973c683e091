// The parameters are in the fragment, which browsers do not send to the server.
// Apps begin it in different ways: #?, #!?.
const params = new URLSearchParams(location.hash.replace(/^#!?\??/, ""));
const form = document.forms[0];

for (const name of ["code", "clientID", "forwardUrl"]) {
  if (params.get(name)) {
    form.elements[name].value = params.get(name);
  }
}
const product = params.get("context[device][product]");
if (product) {
  document.getElementById("product").textContent = `${product} wants to sign you in.`;
}
