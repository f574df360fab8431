"""Who is asking: passwords, tokens, client certificates, challenge passwords."""
