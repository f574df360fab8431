"""What is stored and listed: certificates, keys, CSRs, certificate templates and their files."""
