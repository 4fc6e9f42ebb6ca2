"""Memory that this process has allocated, as glibc counts it. Linux only."""

import ctypes
import gc

NAMES = "arena free_blocks small_blocks mapped_blocks mapped unused small_free used free top"


class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]


def allocated():
    """In MiB, after garbage is collected."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = Info
    gc.collect()
    libc.malloc_trim(0)
    info = libc.mallinfo2()
    return (info.used + info.mapped) / 2**20
