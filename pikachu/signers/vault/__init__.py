"""HashiCorp Vault and OpenBao as the place of issuing keys (VLT-1).

Begin with ``client`` (one call: token, time limits, retries, errors); ``availability`` decides whether Vault counts as
reachable.  Everything here blocks, and runs in the pool ``vault`` only.
"""
