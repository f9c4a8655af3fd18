"""No core dumps: the memory of a process that reads notes is not written to a disk when it dies."""

from __future__ import annotations

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Leave no core when this process dies, nor one of those that it starts.

    The limit is inherited. Where the system pipes cores to a program (systemd, apport) it does not
    hold; the process's own flag does, which a new program has to set again. Set, it also keeps
    debuggers and profilers of the same user out.
    """
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
