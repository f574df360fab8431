"""Keys in a PKCS#11 token (HSM-1): a hardware security module, or SoftHSM.

Begin with ``source`` (the key source of ``pkcs11:`` references); ``sessions`` keeps the module's sessions alive.
"""
