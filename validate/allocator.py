"""Memory that stays: without this, what a forward frees may go back to the system and be asked for anew every time."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT, LARGEST = 1 << 30, 1 << 25  # bytes; glibc's own largest threshold is the latter


def keep_memory() -> None:
    """Tell glibc to keep freed memory for the next forward; elsewhere nothing happens.

    A forward over five tokens frees a megabyte of logits. Whether glibc returned it depended on what else lay in the
    heap, for whole prompts at a time: on two cores v(5) was 1.3 or 1.55, and no plain run showed it.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
