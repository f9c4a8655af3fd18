"""No core dumps: the memory of a process that reads notes is not written to a disk when it dies."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Leave no core dump when this process dies, or one that it starts.

    The limit is inherited. It does not hold where the system pipes cores to a program (systemd,
    apport); there the process's flag does, which a new program has to set again. That flag also
    keeps out debuggers and profilers of the same user.
    """
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
