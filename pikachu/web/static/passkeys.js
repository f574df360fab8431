// Ask the browser for a passkey when a form with one is submitted.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const listed = (credentials) => credentials.map((one) => ({ ...one, id: bytes(one.id) }));

const create = async (options) => {
  const publicKey = {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: listed(options.excludeCredentials),
  };
  const made = await navigator.credentials.create({ publicKey });
  return [made, { attestationObject: text(made.response.attestationObject) }];
};

const get = async (options) => {
  const publicKey = {
    ...options, challenge: bytes(options.challenge), allowCredentials: listed(options.allowCredentials),
  };
  const found = await navigator.credentials.get({ publicKey });
  const { authenticatorData, signature, userHandle } = found.response;
  return [found, {
    authenticatorData: text(authenticatorData),
    signature: text(signature),
    ...(userHandle ? { userHandle: text(userHandle) } : {}),
  }];
};

const REASONS = {
  InvalidStateError: "This device has a passkey of your account already.",
  NotAllowedError: "No passkey was used: it was cancelled, took too long, or your browser does not trust this server's certificate.",
  SecurityError: "Passkeys do not work at this address. Open these pages by the server's host name.",
};

const say = (form, message) => {
  const line = form.querySelector("[data-passkey-error]");
  line.textContent = message;
  line.hidden = false;
};

const ask = async (form) => {
  const answer = await fetch(form.dataset.passkey, { credentials: "same-origin" });
  if (answer.redirected || !answer.headers.get("Content-Type")?.startsWith("application/json")) {
    location.reload();
    return;
  }
  const { publicKey, offer, error } = await answer.json();
  if (error) { say(form, error); return; }
  const [credential, response] = await (publicKey.user ? create : get)(publicKey);
  form.elements.offer.value = offer;
  form.elements.credential.value = JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    response: { clientDataJSON: text(credential.response.clientDataJSON), ...response },
  });
  form.submit();
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const button = form.querySelector("button");
  if (!window.PublicKeyCredential) {
    say(form, "This browser has no passkeys.");
    continue;
  }
  button.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await ask(form);
    } catch (error) {
      say(form, REASONS[error.name] ?? "Your passkey could not be used. Try again.");
    } finally {
      button.disabled = false;
    }
  });
}
