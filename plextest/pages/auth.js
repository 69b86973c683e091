// The parameters stand in the fragment, which a server never sees. Apps spell
// its beginning in several ways: #?, #!?.
const params = new URLSearchParams(location.hash.replace(/^#!?\??/, ""));
const form = document.forms[0];

for (const name of ["code", "clientID", "forwardUrl"]) {
  if (params.get(name)) {
    form.elements[name].value = params.get(name);
  }
}
const product = params.get("context[device][product]");
if (product) {
  document.getElementById("product").textContent = `${product} asks to sign you in.`;
}
