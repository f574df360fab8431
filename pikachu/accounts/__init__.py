"""Accounts, API tokens, challenge passwords and sessions, with the rules for changing them.

Each subject has a module.  ``visibility`` decides which accounts an actor may see, ``holdings`` revokes what a
suspended or deleted account holds, and ``account_fields`` checks names and e-mail addresses.
"""
