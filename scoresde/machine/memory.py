"""Memory that a process keeps for its next tensors."""

import contextlib
import ctypes
import sys

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's mallopt


def keep_freed() -> bool:
    """Has the C library keep what is freed, and give it to the next tensor of this process.

    Otherwise glibc returns every freed tensor of 32 MiB or more to the system, which hands its pages out again one by
    one, each filled with zeros: on a CPU an evaluation of a U-Net of 64 x 64 pixels takes twice as long.  What the
    process has held at once it then holds to its end.  `run.py` calls this; `MALLOC_MMAP_MAX_=0
    MALLOC_TRIM_THRESHOLD_=-1` in the environment is the same.

    Returns:
        Whether the C library has it: glibc, on Linux.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        return bool(library.mallopt(MMAP_MAX, 0)) and bool(library.mallopt(TRIM_THRESHOLD, -1))
    return False
