"""Accounts of an LDAP directory (USR-5, RFC 4511): looking them up and verifying their passwords.

``connection`` speaks with one server, ``connection_pool`` keeps connections open between questions, ``client`` answers
them with the first server that works, all blocking; ``directory`` runs them in a worker pool, with time limits.
``pikachu.auth.directory_accounts`` turns the answers into accounts.
"""
