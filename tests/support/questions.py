"""Questions of operators to ChatPikachu, each with the sections or the live facts that answer it (UI-11).

A question is answered when one of its sections is among the passages of the answer, or when a fact links to one of its
pages (a path that begins with ``/`` and is not a section of the guide).
"""

from __future__ import annotations

from typing import Final

#: Written before the search was tuned, and never tuned to: what it scores is what other questions may expect.
HELD_OUT: Final = (
    ("my device gets a 202 answer, what now", ("certificates#requests-that-wait",)),
    ("can two people be required to approve an enrollment", ("certificates#requests-that-wait",)),
    ("how long are sessions kept open", ("users-tokens-audit#signing-in-and-out",)),
    ("I lost my phone with the authenticator app", ("users-tokens-audit#second-factor",)),
    (
        "what does the OCSP answer unknown mean",
        ("ocsp-and-crl#ocsp", "troubleshooting#clients-don-t-accept-a-certificate"),
    ),
    ("use client certificates behind nginx", ("behind-a-proxy#terminating-tls", "behind-a-proxy#what-counts")),
    (
        "how do I move the CA key into Vault",
        ("vault#moving-a-ca-that-exists", "migration#to-vault-or-a-pkcs-11-token"),
    ),
    ("does the HSM work with YubiHSM", ("hsm#other-modules", "operating#keys-in-a-pkcs-11-token")),
    (
        "export a list of all certificates as a spreadsheet",
        ("certificates#many-at-once", "certificates#the-list-of-certificates"),
    ),
    (
        "prove that the audit log wasn't manipulated",
        ("users-tokens-audit#the-audit-log", "users-tokens-audit#checkpoints-and-proofs"),
    ),
    (
        "limit which domain names users can request",
        ("templates-and-policies#settings-of-a-policy", "templates-and-policies#enrollment-policies"),
    ),
    ("print stickers with QR codes for devices", ("scep#for-many-devices",)),
    ("how does prometheus scrape the server", ("metrics",)),
    ("which ports need to be open in the firewall", ("operating#ports",)),
    (
        "restore the CA on a new machine",
        ("backup#restore", "operating#backup", "operating#restoring-an-older-copy"),
    ),
    ("upload the CRL of an offline root", ("ocsp-and-crl#crls", "operating#revoking-an-issuing-ca")),
    ("a laptop was stolen", ("certificates#devices", "certificates#revoking", "security#threats-and-answers")),
    ("log in with Microsoft Active Directory", ("ldap#active-directory",)),
    ("which certificates run out in the next 14 days", ("/certificates",)),
    ("is there anything I have to approve", ("/ra/approvals",)),
)

QUESTIONS: Final = (
    ("How do I add a CRL distribution point", ("ocsp-and-crl#addresses-in-certificates",)),
    ("how do I create a PQC key", ("keys-and-csrs#keys",)),
    (
        "why does my broker refuse everyone",
        ("mqtt#what-to-watch-out-for", "troubleshooting#clients-don-t-accept-a-certificate"),
    ),
    ("which certificates expire this week", ("/certificates",)),
    ("enroll a device over EST with curl", ("est#with-curl", "clients#curl-and-openssl-over-est")),
    ("who may enroll over EST", ("est#who-may-enroll",)),
    ("how does a device re-enroll over EST", ("est#renewal", "clients#curl-and-openssl-over-est")),
    ("where do I get a SCEP challenge password", ("scep#challenge-passwords",)),
    ("what is the SCEP URL", ("scep", "/apis")),
    ("use certmonger with this CA", ("clients#certmonger",)),
    ("enroll a Windows machine", ("clients#windows",)),
    ("check a certificate with openssl ocsp", ("ocsp-and-crl#ocsp", "clients#status-with-openssl")),
    (
        "why does OCSP say unauthorized",
        ("ocsp-and-crl#ocsp", "troubleshooting#clients-don-t-accept-a-certificate"),
    ),
    (
        "how soon is a revocation on the CRL",
        (
            "ocsp-and-crl#crls",
            "certificates#revoking",
            "security#what-it-promises",
            "concepts#from-a-revocation-to-a-refusal",
        ),
    ),
    ("how do I configure nginx to check client certificates against the CRL", ("servers#nginx",)),
    (
        "store the CA keys in Vault",
        ("vault", "vault#from-nothing-to-a-working-ca", "operating#keys-in-vault"),
    ),
    ("what happens when Vault is sealed or down", ("vault#while-vault-is-away",)),
    (
        "sign with Vault's PKI engine",
        ("vault-pki", "vault-pki#from-nothing-to-a-working-ca", "operating#certificates-by-vault-s-pki-engine"),
    ),
    (
        "generate the CA key in an HSM",
        ("hsm", "hsm#from-nothing-to-a-working-ca", "operating#keys-in-a-pkcs-11-token"),
    ),
    ("the HSM doesn't answer any more", ("hsm#when-the-token-is-away", "operating#keys-in-a-pkcs-11-token")),
    ("how do users sign in with LDAP", ("ldap", "ldap#signing-in", "users-tokens-audit#accounts-of-a-directory")),
    (
        "give members of an LDAP group the admin role",
        ("ldap#what-follows-from-the-directory", "users-tokens-audit#accounts-of-a-directory", "ldap#the-ca"),
    ),
    ("how do I back up the CA", ("backup#back-up", "operating#backup")),
    ("how do I restore a backup", ("backup#restore", "operating#backup")),
    ("publish revocations to Mosquitto", ("mqtt", "mqtt#from-nothing-to-a-broker", "operating#revocations-over-mqtt")),
    ("what may an operator do", ("users-tokens-audit#roles",)),
    ("how do I make somebody an auditor", ("users-tokens-audit#roles",)),
    ("where do I approve requests", ("certificates#requests-that-wait", "pages#signing-and-approvals")),
    ("how many approvals are pending", ("/ra/approvals",)),
    ("create an API token for a script", ("users-tokens-audit#api-tokens",)),
    ("issue a certificate with the REST API", ("rest", "certificates#a-new-certificate")),
    ("which devices are overdue", ("/devices",)),
    ("what happens when I retire a device", ("certificates#devices",)),
    ("enroll 500 devices at once", ("scep#for-many-devices",)),
    ("revoke many certificates at once", ("certificates#many-at-once",)),
    (
        "preview a certificate before it is issued",
        (
            "certificates#a-new-certificate",
            "certificates#signing-on-the-ra-page",
            "getting-started#the-first-certificate",
        ),
    ),
    ("send an email before a certificate expires", ("operating#notices",)),
    ("which settings does the SMTP server need", ("operating#notices", "settings#section-smtp")),
    (
        "run two servers on one PostgreSQL database",
        ("postgresql", "postgresql#the-second-node", "operating#the-database"),
    ),
    ("what happens if PostgreSQL fails over", ("postgresql#fail-over",)),
    ("how do I rotate the issuing CA", ("operating#rotating-an-issuing-ca",)),
    (
        "replace the HTTPS certificate of this server",
        ("operating#the-certificate-of-https", "deployment#ansible", "operating#starting-and-stopping"),
    ),
    ("run it behind HAProxy with the PROXY protocol", ("behind-a-proxy#passing-tcp-on", "behind-a-proxy#what-counts")),
    ("how does it learn the client's address behind a proxy", ("behind-a-proxy", "behind-a-proxy#what-counts")),
    ("revoke a certificate because its key was compromised", ("certificates#revoking",)),
    ("download a PFX file", ("certificates#downloads",)),
    ("how do I import a private key", ("keys-and-csrs#keys",)),
    ("which policy signs a SCEP enrollment", ("templates-and-policies#which-policy-signs",)),
    ("sign in with a passkey", ("users-tokens-audit#second-factor",)),
    (
        "a user is locked out after too many wrong passwords",
        ("users-tokens-audit#accounts", "troubleshooting#signing-in-fails"),
    ),
    ("take certificates over from easy-rsa", ("operating#taking-over-from-openssl-ca-easy-rsa-or-cfssl",)),
    ("how old is the CRL", ("/va",)),
    ("what is the status of a.example.com", ("/certificates/",)),
    ("is the database healthy", ("/",)),
    ("curl command to enroll at this server", ("/apis",)),
    ("why does lint refuse my policy", ("templates-and-policies#lint",)),
    ("accept errors of lint", ("templates-and-policies#lint",)),
    ("unable to get local issuer certificate", ("troubleshooting#clients-don-t-accept-a-certificate",)),
)

#: Questions that the documents don't answer; nothing is guessed.
UNANSWERED: Final = (
    "What is the capital of France?",
    "How do I bake a cake?",
    "Who won the football match yesterday?",
    "Write me a poem about the sea",
    "xyzzyplugh",
)
