// Take the code from the link; a fragment is not sent to any server, so no log has it.

const code = document.getElementById("code");
const given = decodeURIComponent(location.hash.slice(1));
if (code && !code.value && given) {
  code.value = given;
  history.replaceState(null, "", location.pathname);
  document.getElementById("password")?.focus();
}
