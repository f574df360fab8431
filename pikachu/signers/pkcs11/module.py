"""A PKCS#11 library that several threads may call at the same time.

python-pkcs11 initializes a library without locking, which forbids concurrent calls (PKCS#11 section 5.4), but releases
the interpreter's lock in each call.
"""

from __future__ import annotations

import ctypes
from typing import Final

from pkcs11 import PKCS11Error
from pkcs11._pkcs11 import lib

_OS_LOCKING_OK: Final = 0x00000002
_OK: Final = 0x00000000
_ALREADY_INITIALIZED: Final = 0x00000191


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS: use the locks of the operating system."""

    _fields_ = (
        ("CreateMutex", ctypes.c_void_p),
        ("DestroyMutex", ctypes.c_void_p),
        ("LockMutex", ctypes.c_void_p),
        ("UnlockMutex", ctypes.c_void_p),
        ("flags", ctypes.c_ulong),
        ("pReserved", ctypes.c_void_p),
    )


class _FunctionList(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST."""

    _fields_ = (
        ("major", ctypes.c_ubyte),
        ("minor", ctypes.c_ubyte),
        ("C_Initialize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
        ("C_Finalize", ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)),
    )


class ThreadSafeModule(lib):
    """A library, initialized with locking; each process has one of each path, from its first use on.

    It must not be made before the process forks: initialization does not survive that.

    :raises PKCS11Error: when the library can't be loaded, or can't lock.
    """

    def initialize(self) -> None:
        """Initialize the library; the constructor calls it.

        :raises PKCS11Error: when the library can't be loaded, or can't lock.
        """
        functions = self._functions()
        if functions is None:
            super().initialize()
            return
        arguments = _InitializeArguments(flags=_OS_LOCKING_OK)
        _check("C_Initialize", functions.C_Initialize(ctypes.byref(arguments)), _ALREADY_INITIALIZED)

    def restart(self) -> None:
        """Finalize and initialize the library, so that it looks for tokens again; every session and handle ends.

        No other thread may be in a call.

        :raises PKCS11Error: when the library refuses.
        """
        functions = self._functions()
        if functions is None:
            self.reinitialize()
            return
        functions.C_Finalize(None)
        self.initialize()

    def _functions(self) -> _FunctionList | None:
        """Return the functions of the library; None where each caller gets functions with a state of its own.

        p11-kit's modules do that. What is initialized here is not what python-pkcs11 calls then, which initializes its
        own; these modules lock in any case.
        """
        library = ctypes.CDLL(self.so)
        first, second = (ctypes.POINTER(_FunctionList)() for _ in range(2))
        for listed in (first, second):
            _check("C_GetFunctionList", library.C_GetFunctionList(ctypes.byref(listed)))
        is_shared = ctypes.addressof(first.contents) == ctypes.addressof(second.contents)
        return first.contents if is_shared else None


def _check(call: str, result: int, allowed: int = _OK) -> None:
    if result not in (_OK, allowed):
        raise PKCS11Error(f"{call} failed with 0x{result:08x}")
