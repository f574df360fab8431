"""People: accounts, API tokens, challenge passwords and sessions, and who may change them."""
