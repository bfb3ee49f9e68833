"""A Pillow decoder that really crashes, hangs or takes all memory, for processes that find it on their path.

``environment(folder)`` gives the variables for such a process: Python's ``sitecustomize`` adds the decoder to Pillow's
PPM reader, as the code of a broken library would be in there, and it does what a file's comment asks for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SITE: Final = '''
import ctypes, os, resource, signal, time
from PIL import Image, ImageFile, PpmImagePlugin

class KillingDecoder(ImageFile.PyDecoder):
    """Does what its file asks for instead of decoding."""

    _pulls_fd = True

    def decode(self, buffer):
        wish = self.args[0]
        if wish == "crash":
            ctypes.string_at(0)
        elif wish == "abort":
            os.abort()
        elif wish == "loop":
            while True:
                pass
        elif wish == "sleep":
            time.sleep(10_000)
        elif wish == "eat":
            hoard = []
            while True:
                hoard.append(bytearray(16 << 20))
        elif wish == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif wish == "exit":
            os._exit(3)
        elif wish == "killed once":
            if not os.path.exists(os.environ["KILLED_ONCE"]):
                open(os.environ["KILLED_ONCE"], "x").close()
                os.kill(os.getpid(), signal.SIGKILL)
        elif wish == "print":
            os.write(1, b"\\x1b[31mstdout"), os.write(2, b"\\x1b[31mstderr")
        level = resource.getrlimit(resource.RLIMIT_CORE)[0] if wish == "core limit" else 200
        self.set_as_raw(bytes([level]) * 160 * 120 * 3)
        return -1, 0

class Killing(ImageFile.ImageFile):
    format = "PPM"
    format_description = "a picture that kills"

    def _open(self):
        wish = self.fp.read(40).split(b"\\n")[1].decode()
        if wish == "crash early":
            ctypes.string_at(0)
        self._mode, self._size = "RGB", (160, 120)
        self.tile = [("killing", (0, 0, 160, 120), 0, (wish,))]

Image.register_decoder("killing", KillingDecoder)
usual, accepts = Image.OPEN["PPM"]

def open_either(fp=None, filename=None):
    start = fp.read(4)
    fp.seek(0)
    return Killing(fp, filename) if start == b"KILL" else usual(fp, filename)

Image.OPEN["PPM"] = open_either, lambda prefix: prefix.startswith(b"KILL") or accepts(prefix)
'''


def environment(folder: Path) -> dict[str, str]:
    """Variables for a process whose Pillow has the decoder; ``folder`` is for what they name."""
    (folder / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "KILLED_ONCE": str(folder / "killed once")}


def killing(wish: str) -> bytes:
    """A picture file at which the decoder does ``wish``."""
    return f"KILL\n{wish}\n".encode() + b"\0" * 1000
