"""The words of questions: stop words, and words that mean the same (UI-11)."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.#-]*[a-z0-9]|[a-z0-9]")
# Stop words: common in every page and in questions.
_STOP: Final = frozenset(
    (
        *("a", "an", "and", "any", "are", "as", "at", "be", "been", "by", "can", "could", "did", "do", "does"),
        *("doesn", "don", "for", "from", "get", "got", "had", "has", "have", "he", "her", "here", "how", "i", "if"),
        *("in", "is", "isn", "it", "its", "let", "may", "me", "must", "my", "need", "no", "not", "of", "on", "or"),
        *("our", "out", "s", "she", "should", "so", "some", "t", "than", "that", "the", "their", "them", "then"),
        *("there", "these", "this", "to", "us", "was", "we", "were", "what", "when", "where", "whether", "which"),
        *("who", "whom", "whose", "why", "will", "with", "would", "you", "your"),
        *("about", "after", "again", "all", "already", "also", "before", "during", "just", "more", "most"),
        *("once", "only", "other", "over", "still", "through", "up", "via", "while", "yet"),
        *("happen", "happens", "now", "possible", "server", "soon", "want", "way", "work", "works"),
        *("mean", "pikachu", "please", "put", "show", "tell", "they", "ui", "use", "using"),
    )
)
# Words that mean the same in questions and in the guide.
_SYNONYMS: Final = (
    "pqc post-quantum quantum ml-dsa mldsa dilithium",
    "renew renewal re-enroll re-enrollment reenroll simplereenroll",
    "expire expiry expires expired end ends ending",
    "create make generate new",
    "remove delete",
    "revoke revocation revoked",
    "user account person",
    "log-in login sign-in signin sign",
    "pfx pkcs12 pkcs#12 p12",
    "cert certificate",
    "csr pkcs10 pkcs#10",
    "approve approval approvals",
    "audit event events",
    "backup restore copy",
    "hsm pkcs#11 softhsm",
    "inspect decode parse",
    "mqtt mosquitto broker",
    "email mail e-mail",
    "url address path",
    "replace rotate change",
    "compromised keycompromise stolen",
    "postgres postgresql",
    "many bulk",
    "everyone everybody",
    "permission role right",
    "ldap directory",
    "otp totp",
    "2fa mfa second-factor",
    "sso oidc single-sign-on openid",
    "monitor monitoring metrics",
    "lost forgot forgotten",
)
#: A number from which on somebody asks about many objects.
_MANY: Final = 20
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ies", "ers", "er", "ed", "es", "als", "al", "s", "e", "y")


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP]


def stem(word: str) -> str:
    """Return a word without its ending, to compare words of questions."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


def search_terms(text: str) -> list[str]:
    """Return the stemmed words of *text* without stop words."""
    return [stem(word) for word in _words(text)]


_SAME: Final = {stem(word): words.split() for words in _SYNONYMS for word in words.split()}


def word_groups(text: str, limit: int) -> list[tuple[str, ...]]:
    """Return the words of *text* without numbers, each followed by those that mean the same.

    :param limit: the most groups.
    """
    groups: dict[str, tuple[str, ...]] = {}
    for word in _words(text):
        if word.isdecimal() and int(word) >= _MANY:
            word = "many"
        if not word.isdecimal():
            same = _SAME.get(stem(word), [])
            key = same[0] if same else stem(word)
            groups.setdefault(key, (word, *(one for one in same if one != word)))
    return list(groups.values())[:limit]


def term_groups(text: str) -> list[tuple[str, ...]]:
    """Return the groups of :func:`word_groups`, stemmed."""
    return [tuple(dict.fromkeys(stem(word) for word in group)) for group in word_groups(text, len(text))]
