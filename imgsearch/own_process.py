"""Whether this process belongs to imgsearch, or to a program that uses the library.

The library changes no process-wide settings of a host program. Only our own processes (the command line, decoders) may
do so.
"""

from __future__ import annotations

import gc
import io
import os
import sys

TYPE_CHECKING = False  # importing typing takes longer than all that is done here
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "begin_quick_start",
    "claim",
    "collect_rarely",
    "command_line",
    "end_quick_start",
    "exit_code",
    "has_single_threaded_blas",
    "is_ours",
    "open_standard_streams",
]

THREADS_OF_BLAS = "OPENBLAS_NUM_THREADS"
"""The number of threads; the BLAS that NumPy and FAISS bring along reads it when it is loaded."""

M_TOP_PAD = -2
"""An option of glibc's ``mallopt``: how many bytes to request beyond those needed."""
TAKEN_AT_ONCE = 32 * 2**20
MANY_OBJECTS = 50_000
"""New objects per garbage collection where many objects stay for a while; Python 3.11 to 3.13 collect every 700."""

_words: list[str] | None = None
_is_starting = False


def claim(words: Sequence[str]) -> None:
    """Mark the process as ours, record its arguments, and make NumPy's BLAS single-threaded, unless told otherwise.

    Its threads busy-wait for work: in ``add``, they took nearly a quarter of the processor time and did next to
    nothing. Large calculations are divided among our own threads (``all_cores``).
    """
    global _words  # noqa: PLW0603  # there is one process
    _words = list(words)
    os.environ.setdefault(THREADS_OF_BLAS, "1")


def begin_quick_start() -> None:
    """Trade memory for a quick start: collect no garbage, and request memory from the system in large steps.

    The objects that imports create stay, so collections would examine them in vain. While several threads load
    networks, malloc keeps requesting memory, and for each request the kernel interrupts all of them.
    """
    global _is_starting  # noqa: PLW0603  # there is one process
    _is_starting = True
    gc.disable()
    if sys.platform == "linux":
        import ctypes

        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
        if mallopt is not None:
            mallopt(M_TOP_PAD, TAKEN_AT_ONCE)


def end_quick_start() -> None:
    """Resume garbage collection after ``begin_quick_start``, exempting all present objects."""
    global _is_starting  # noqa: PLW0603  # there is one process
    if _is_starting:
        _is_starting = False
        gc.freeze()
        gc.enable()


def collect_rarely() -> None:
    """Collect garbage once per ``MANY_OBJECTS`` new objects, and exempt all present ones.

    For a command that holds batches of many small objects, which Python would otherwise examine over and over in vain.
    Not for decoders, whose garbage may hold pictures.
    """
    gc.freeze()
    gc.set_threshold(MANY_OBJECTS, *gc.get_threshold()[1:])


def open_standard_streams() -> None:
    """Fill in standard streams that the caller has closed: a file opened later would get their numbers.

    What is written to a closed stdout fails, so no result is lost in silence; what is written to a closed stderr does
    not. Characters that the streams' encoding lacks are escaped.
    """
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            if os.open(os.devnull, flags) != number:
                raise OSError(f"{name} is closed")
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_ours() -> bool:
    """Whether the process has been claimed."""
    return _words is not None


def has_single_threaded_blas() -> bool:
    """Whether the environment makes NumPy's BLAS single-threaded, as it does in a process of ours."""
    return os.environ.get(THREADS_OF_BLAS) == "1"


def command_line() -> str | None:
    """The command line; None in a host program, whose arguments are not ours to record."""
    if _words is None:
        return None
    import shlex

    return shlex.join(["imgsearch", *_words])


def exit_code(main: Callable[[], None]) -> int:
    """Run a program, and flush what it has printed.

    Args:
        main: raises SystemExit with its exit code, None or 0 for success.
    """
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        code = end.code or 0
    else:
        code = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the reader has exited; the command has reported its result
            code = code or 1
    return code
