"""Having a running server of the same user answer a search: the side that asks.

It decides before anything else is imported, as that takes longer than a search whose networks are loaded. What is sent
is all that a process inherits: words, environment, working folder, standard streams. A copy of a process that has
imported everything then is the command (``warm_host``), and writes to these streams itself. Whatever speaks against it
is no error: the command goes on as without a server, unless something has been printed already.
"""

# pathlib takes longer to import than all that is done here.
# ruff: noqa: PTH115, PTH116, PTH120
from __future__ import annotations

import os
import stat
import sys

from imgsearch.cli.words import COMPLETE_VARIABLE, HELP, command_of

TYPE_CHECKING = False  # importing typing takes longer than all that is done here
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence
    from typing import Any, Final

__all__ = [
    "BEGUN",
    "COMMAND",
    "ENDED",
    "GO",
    "INTERRUPT",
    "LENGTH_BYTES",
    "NO_SERVER",
    "SUFFIX",
    "TAKEN",
    "answered",
    "is_private",
    "peer_uid",
    "places",
    "setting",
    "sockets",
]

NO_SERVER: Final = "IMGSEARCH_NO_SERVER"
COMMAND: Final = "search"
BY_ITSELF: Final = HELP | {"--no-server"}
DESCRIPTORS_OF_A_PROCESS: Final = ("dev/fd", "proc/self", "proc/thread-self")
"""Paths that lead elsewhere in another process, as the shell's ``<(…)`` makes them."""
NO: Final = frozenset({"", "0", "false", "f", "no", "n", "off"})
"""Values of a variable that stand for no, as typer has them."""
SUFFIX: Final = ".sock"
MOST_SERVERS: Final = 8
SECONDS: Final = 5.0
"""A server that has not begun by then hangs; the search goes on without it."""
LENGTH_BYTES: Final = 4

TAKEN: Final = b"T"
"""From the copy: it can answer, and waits for GO. Whoever does not send that goes on alone, and the copy ends."""
GO: Final = b"G"
INTERRUPT: Final = b"I"
BEGUN: Final = b"B"
"""From the copy: something is about to be printed or read, so nobody else can do it any more."""
ENDED: Final = b"X"
"""From the copy: a byte with the exit code follows."""
INTERRUPTED: Final = 130
LOST: Final = 70


def answered(words: Sequence[str]) -> int | None:
    """The exit code of a search that a running server has answered; None: the command is to run here.

    Args:
        words: of the command line.

    Raises:
        KeyboardInterrupt: no server has taken the search yet.
    """
    if not _may_ask(words):
        return None
    for path in sockets():
        code = _asked(path, words)
        if code is not None:
            return code
    return None


def _may_ask(words: Sequence[str]) -> bool:
    """Whether this command line can be carried out by another process."""
    if command_of(words) != COMMAND or not BY_ITSELF.isdisjoint(words):
        return False
    if os.environ.get(NO_SERVER, "").strip().lower() not in NO or COMPLETE_VARIABLE in os.environ:
        return False
    return not any(part in word for word in words for part in DESCRIPTORS_OF_A_PROCESS)


def places() -> list[str]:
    """Folders where servers of this user listen, the best first; they need not exist."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    runtime = [path for path in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}") if path]
    shared = [path for path in (os.environ.get("TMPDIR"), "/tmp") if path]  # noqa: S108  # a private folder in it
    found = [os.path.join(path, "imgsearch") for path in runtime]
    return list(dict.fromkeys([*found, *(os.path.join(path, f"imgsearch-{user}") for path in shared)]))


def is_private(folder: str) -> bool:
    """Whether it is a folder that nobody but this user can reach."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077


def sockets() -> Iterator[str]:
    """The sockets of this user's servers; one may be a leftover."""
    left = MOST_SERVERS
    for folder in filter(is_private, places()):
        try:
            names = sorted(os.listdir(folder))
        except OSError:  # it has just been removed
            continue
        for name in names:
            if name.endswith(SUFFIX) and left:
                left -= 1
                yield os.path.join(folder, name)


def peer_uid(connection: socket.socket) -> int | None:
    """Whose process is on the other side of a local socket; None where the system does not tell."""
    import socket

    if not hasattr(socket, "SO_PEERCRED"):
        return None
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)  # pid, uid, gid
    return int.from_bytes(told[4:8], sys.byteorder)


def setting() -> list[bytes]:
    """What has to be the same in both processes, besides what is sent: the program, the user's rights, the files."""
    import imgsearch

    root = os.stat("/")
    try:
        mounts = os.readlink("/proc/self/ns/mnt")
    except OSError:
        mounts = ""
    facts = (
        imgsearch.__version__,
        os.path.realpath(os.path.dirname(__file__)),
        sys.version,
        sys.getfilesystemencoding(),
        *(os.geteuid(), os.getuid(), os.getegid(), sorted(os.getgroups())),
        *(root.st_dev, root.st_ino, mounts),
    )
    return [os.fsencode(str(fact)) for fact in facts]


def _request(words: Sequence[str]) -> bytes:
    """All but the descriptors: fields that end with a NUL, which neither words nor variables can have."""
    umask = os.umask(0o077)
    os.umask(umask)
    facts = setting()
    fields = [str(len(facts)).encode(), *facts, str(umask).encode()]
    streams: tuple[Any, ...] = sys.stdin, sys.stdout, sys.stderr
    for stream in streams:
        fields += [stream.encoding.encode(), (stream.errors or "strict").encode()]
        fields.append(b"%d%d" % (stream.line_buffering, stream.write_through))
    fields += [str(len(words)).encode(), *map(os.fsencode, words)]
    fields += [name + b"=" + value for name, value in os.environb.items()]
    return b"\0".join(fields)


def _asked(path: str, words: Sequence[str]) -> int | None:
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(path)
            if peer_uid(connection) != os.geteuid():
                return None
            folder = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
            try:
                body = _request(words)
                length = len(body).to_bytes(LENGTH_BYTES, "big")
                socket.send_fds(connection, [length], [0, 1, 2, folder])
                connection.sendall(body)
            finally:
                os.close(folder)
            if connection.recv(1) != TAKEN:
                return None
            connection.sendall(GO)
            connection.settimeout(None)
            return _followed(connection)
    except (OSError, ValueError, AttributeError):  # nobody listens any more, a stream of an unusual kind, …
        return None


def _followed(connection: socket.socket) -> int | None:
    """Wait for the end of a search that has been taken."""
    begun = interrupted = False
    while True:
        try:
            message = connection.recv(1)
            if message == BEGUN:
                begun = True
            elif message == ENDED and (code := connection.recv(1)):
                return code[0]
            else:
                break
        except KeyboardInterrupt:
            if interrupted:
                return INTERRUPTED
            interrupted = True
            connection.sendall(INTERRUPT)
        except OSError:
            break
    if interrupted:
        return INTERRUPTED
    if not begun:
        return None
    sys.stderr.write(
        "imgsearch: the running server ended while it answered, so what is printed may be incomplete: run the command "
        "again, or with --no-server\n"
    )
    return LOST
