"""Authentication and authorization: passwords, tokens, client certificates, challenge passwords, permissions."""
