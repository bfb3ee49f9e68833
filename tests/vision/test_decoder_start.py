"""Starting decoders ahead of time: for the first picture of a young command, and never where a copy would be unsafe.

Contract: the process that was started ahead serves the next ``Decoders`` under the same limits as any other; a program
that is not ours, or that has threads, is not copied.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.killing_decoder import environment, killing
from tests.pictures import jpeg
from tests.processes import decoders_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems start a new interpreter")

PRELUDE = """
import os, sys, threading
from pathlib import Path
from imgsearch import own_process
from imgsearch.vision import decoder_start

def children():
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
"""
DECODE = """
from imgsearch.vision.decoder_pool import Decoders
from imgsearch.vision.limits import Limits
from imgsearch.errors import PictureError
decoders = Decoders(Limits())
"""


def run(script: str, data: bytes = b"", **options: object) -> str:
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], input=data, capture_output=True, check=False, **options
    )
    assert result.returncode == 0, result.stderr.decode()
    assert result.stderr == b""
    return result.stdout.decode()


def test_the_first_decoders_use_it_and_no_other_is_started() -> None:
    script = f"""
own_process.claim([])
decoder_start.start_ahead()
decoder_start.start_ahead()
(pid,) = children()
{DECODE}
picture = decoders.open(sys.stdin.buffer.read())
pixels = picture.decode(picture.whole, 16)
assert children() == [pid]
assert not {{os.readlink(f"/proc/{{pid}}/fd/{{number}}") for number in (0, 1, 2)}} - {{os.devnull}}
assert Path(f"/proc/{{pid}}/cmdline").read_bytes() == Path("/proc/self/cmdline").read_bytes(), "a copy"
decoders.close()
assert children() == []
from imgsearch.vision.picture import OpenPicture
sys.stdout.write(str((pixels == OpenPicture(picture._data, Limits()).decode(picture.whole, 16)).all()))
"""
    assert run(script, jpeg(1)) == "True"


@pytest.mark.parametrize(
    ("wish", "error"),
    [("crash", "SIGSEGV"), ("eat", "takes too much memory"), ("exit", "has ended"), ("killed", "memory is short")],
)
def test_it_guards_as_the_others_do(tmp_path: Path, wish: str, error: str) -> None:
    script = f"""
own_process.claim([])
decoder_start.start_ahead()
{DECODE}
try:
    picture = decoders.open(sys.stdin.buffer.read())
    picture.decode(picture.whole, 16)
except PictureError as error:
    sys.stdout.write(error.message)
decoders.close()
"""
    assert error in run(script, killing(wish), env={**os.environ, **environment(tmp_path)})


def test_no_program_is_copied_that_is_not_ours_or_has_threads() -> None:
    """A copy of a program with threads may wait for ever for a lock that one of them held."""
    script = """
decoder_start.start_ahead()
assert children() == [], "not ours"
own_process.claim([])
go_on = threading.Event()
thread = threading.Thread(target=go_on.wait)
thread.start()
decoder_start.start_ahead()
assert children() == [], "it has threads"
go_on.set()
thread.join()
"""
    run(script)


def test_one_that_is_not_needed_ends_with_its_command() -> None:
    script = """
own_process.claim([])
decoder_start.start_ahead()
print(children()[0])
"""
    pid = int(run(script))
    while Path(f"/proc/{pid}").exists() and b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().split()[2:3]:
        pass
    assert not decoders_of(os.getpid())


def test_one_that_somebody_ends_is_replaced() -> None:
    script = f"""
import signal
own_process.claim([])
decoder_start.start_ahead()
(pid,) = children()
os.kill(pid, signal.SIGKILL)
{DECODE}
picture = decoders.open(sys.stdin.buffer.read())
sys.stdout.write(str(picture.decode(picture.whole, 16).shape))
decoders.close()
"""
    assert run(script, jpeg(1)) == "(16, 16, 3)"
