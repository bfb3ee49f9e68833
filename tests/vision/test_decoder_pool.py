"""Decoding in processes of their own (docs/durability.md): what breaks a decoder costs that picture and nothing else.

The decoders here are real processes, in which a Pillow decoder really crashes, hangs or takes all memory.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from imgsearch.errors import (
    DamagedPicture,
    DecoderFailed,
    EmptyPicture,
    InvalidRegion,
    MemoryExceeded,
    PictureError,
    PictureTooLarge,
    UnsupportedPicFormat,
    UnsupportedPicPixels,
)
from imgsearch.values import PictureOptions, Region
from imgsearch.vision.decoder_pool import Allowance, Decoders
from imgsearch.vision.limits import Limits
from imgsearch.vision.picture import OpenPicture
from tests.killing_decoder import environment, killing
from tests.pictures import draw, encode, jpeg, turned
from tests.processes import decoders_of, is_running

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 32
LIMITS = Limits()
SHORT = Allowance(seconds=1, waiting=120)
IMPATIENT = Allowance(seconds=1, waiting=5)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in Linux's /proc")


@pytest.fixture
def killer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes started from now on have a decoder that does what files ask for."""
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def others() -> set[int]:
    """What decodes for tests that share something with later ones."""
    return processes()


@pytest.fixture
def decoders(others: set[int], killer: None) -> Iterator[Decoders]:
    decoders = Decoders(LIMITS, SHORT)
    yield decoders
    decoders.close()


def processes() -> set[int]:
    """Those that decode for this one."""
    return decoders_of(os.getpid())


def decode(decoders: Decoders, data: bytes) -> np.ndarray:
    picture = decoders.open(data)
    return picture.decode(picture.whole, SIZE)


GOOD = jpeg(3, (300, 200))


@on_linux
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_the_memory_of_a_picture_serves_the_next_one(decoders: Decoders, others: set[int]) -> None:
    """The system would have to clear it anew, page by page."""

    def faults() -> int:
        (serving,) = (pid for pid in processes() - others if decoders_of(pid) == set())
        return int(Path(f"/proc/{serving}/stat").read_text().rpartition(")")[2].split()[7])

    def look_at(data: bytes) -> None:
        picture = decoders.open(data)
        picture.decode(picture.whole, 256)
        picture.decode(Region(100, 1100, 100, 1100), 256)

    data = jpeg(1, (1200, 1200))
    for _ in range(3):
        look_at(data)
    before = faults()
    look_at(data)
    assert faults() - before < 1200 * 1200 * 4 / os.sysconf("SC_PAGESIZE") / 10


def check_works(decoders: Decoders) -> None:
    """A good picture gets its pixels."""
    alone = OpenPicture(GOOD, LIMITS)
    assert np.array_equal(decode(decoders, GOOD), alone.decode(alone.whole, SIZE))


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        turned(draw(7, (300, 200)), 6, "JPEG"),
        encode(draw(1).convert("RGBA"), "PNG"),
        encode(draw(1).convert("I;16"), "PNG"),
        encode(draw(1), "TIFF", compression="tiff_lzw"),
        encode(draw(1), "WEBP"),
        encode(draw(1), "GIF"),
    ],
    ids=["jpeg", "turned", "alpha", "16 bit", "tiff", "webp", "gif"],
)
def test_the_same_pixels_as_in_this_process(decoders: Decoders, data: bytes) -> None:
    """Otherwise a picture would not find itself: commands decode there, a program may decode here."""
    here, there = OpenPicture(data, LIMITS), decoders.open(data)
    assert (there.width, there.height, there.whole) == (here.width, here.height, here.whole)
    for region in (here.whole, Region(10, 60, 20, 90)):
        pixels = there.decode(region, SIZE)
        assert (pixels.shape, pixels.dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert np.array_equal(pixels, here.decode(region, SIZE))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", EmptyPicture),
        (b"x" * LIMITS.max_bytes, PictureTooLarge),
        (b"text", UnsupportedPicFormat),
        (jpeg(1, (99, 100)), UnsupportedPicPixels),
        (encode(draw(1), "PNG")[:20], DamagedPicture),
        (jpeg(1)[: jpeg(1).index(b"\xff\xda")], DamagedPicture),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_same_refusals_as_in_this_process(decoders: Decoders, data: bytes, error: type[PictureError]) -> None:
    with pytest.raises(error) as there:
        decode(decoders, data)
    with pytest.raises(error) as here:
        OpenPicture(data, LIMITS).decode(Region(0, 9, 0, 9), SIZE)
    assert type(there.value) is type(here.value)
    assert (there.value.code, there.value.message) == (here.value.code, here.value.message)
    check_works(decoders)


def test_the_same_warning_as_in_this_process(decoders: Decoders) -> None:
    """Of a picture that is used although it is cut off; it does not stick to the next one."""
    data = jpeg(1, (300, 300))[:-200]
    here, there = OpenPicture(data, LIMITS), decoders.open(data)
    assert np.array_equal(there.decode(there.whole, SIZE), here.decode(here.whole, SIZE))
    assert there.warning == here.warning
    assert there.warning is not None
    check_works(decoders)


def test_a_region_outside_is_refused_before_anything_is_decoded(decoders: Decoders) -> None:
    with pytest.raises(InvalidRegion):
        decoders.open(GOOD).given_region(PictureOptions(region=Region(0, 301, 0, 200)))


@pytest.mark.parametrize(
    ("wish", "error", "message"),
    [
        ("crash", DecoderFailed, r"it crashes its decoder \(SIGSEGV\): open it in an editor"),
        ("crash early", DecoderFailed, "SIGSEGV"),
        ("abort", DecoderFailed, "SIGABRT"),
        pytest.param("loop", DecoderFailed, "more than 1 seconds of processor time", marks=pytest.mark.extended),
        pytest.param("eat", MemoryExceeded, "160 x 120 pixels takes too much memory", marks=on_linux),
        ("killed", DecoderFailed, "the system ended the process .* when memory is short"),
        ("exit", DecoderFailed, "the process that decoded it has ended"),
    ],
)
def test_a_picture_that_breaks_its_decoder_is_one_failure(
    decoders: Decoders, wish: str, error: type[PictureError], message: str
) -> None:
    """It is told why and what to do, and the next picture of the same thread is decoded."""
    check_works(decoders)
    with pytest.raises(error, match=message) as caught:
        decode(decoders, killing(wish))
    assert caught.value.exit_code == 3
    check_works(decoders)


@pytest.mark.extended
def test_a_decoder_that_waits_for_ever_is_one_failure(killer: None) -> None:
    """Processor time does not show it, so the clock counts too."""
    decoders = Decoders(LIMITS, IMPATIENT)
    with pytest.raises(DecoderFailed, match="more than 5 seconds: open it"):
        decode(decoders, killing("sleep"))
    check_works(decoders)
    decoders.close()


@pytest.mark.extended
def test_pictures_beside_one_that_breaks_its_decoder_are_decoded(decoders: Decoders) -> None:
    wishes = ["crash", "", "eat" if sys.platform == "linux" else "abort", "", "exit", ""] * 3

    def broken(wish: str) -> bool:
        try:
            decode(decoders, killing(wish))
        except PictureError:
            return True
        return False

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(broken, wishes)) == [bool(wish) for wish in wishes]


def test_a_picture_whose_decoder_was_ended_by_others_is_tried_again(decoders: Decoders, tmp_path: Path) -> None:
    """The system ends processes when memory is short, whoever took it."""
    assert (decode(decoders, killing("killed once")) == 200).all()
    assert (tmp_path / "killed once").exists()


@on_linux
def test_decoders_that_somebody_kills_are_replaced(decoders: Decoders, others: set[int]) -> None:
    """The one that decodes, and the one that forks them all; a picture that is open at the time is opened anew."""
    picture = decoders.open(GOOD)
    expected = picture.decode(picture.whole, SIZE)
    for _ in range(2):
        for pid in sorted(processes() - others, reverse=True):
            os.kill(pid, signal.SIGKILL)
        assert np.array_equal(picture.decode(picture.whole, SIZE), expected)


def test_pictures_can_be_open_side_by_side(decoders: Decoders) -> None:
    one, other = decoders.open(GOOD), decoders.open(jpeg(4))
    for picture, data in ((one, GOOD), (other, jpeg(4)), (one, GOOD)):
        alone = OpenPicture(data, LIMITS)
        assert np.array_equal(picture.decode(picture.whole, SIZE), alone.decode(alone.whole, SIZE))


def test_what_a_decoder_prints_reaches_nobody(decoders: Decoders, capfd: pytest.CaptureFixture[str]) -> None:
    """Libraries print what a file wants them to, terminal codes included."""
    decode(decoders, killing("print"))
    decoders.close()
    assert capfd.readouterr() == ("", "")


@on_linux
def test_a_crash_leaves_no_core_dump(decoders: Decoders) -> None:
    """There would be pixels in it. Linux ignores 0 where dumps are piped to a program; 1 byte stops these too."""
    assert (decode(decoders, killing("core limit")) == 1).all()


@on_linux
@pytest.mark.parametrize("wish", ["", "sleep", "loop"])
def test_nothing_is_left_when_they_are_closed(killer: None, wish: str) -> None:
    """Also while a picture is being decoded, so that Ctrl-C has not to wait for it."""
    decoders = Decoders(LIMITS)
    before = processes()
    begun = threading.Event()

    def work() -> None:
        begun.set()
        decode(decoders, killing(wish))

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(work)
        begun.wait(30)
        if not wish:
            future.result(timeout=30)
        else:
            while len(processes() - before) < 2:
                pass
        decoders.stop()
        if wish:
            with pytest.raises(RuntimeError, match="stopped"):
                future.result(timeout=30)
    decoders.close()
    assert not processes() - before
    with pytest.raises(RuntimeError, match="stopped"):
        decoders.open(GOOD)


DECODE_STDIN = """
import sys
from imgsearch.vision.decoder_pool import Decoders
from imgsearch.vision.limits import Limits
picture = Decoders(Limits()).open(sys.stdin.buffer.read())
print("open", flush=True)
picture.decode(picture.whole, 8)
"""


@on_linux
@pytest.mark.parametrize("wish", ["sleep", "loop"])
def test_nothing_is_left_when_the_command_is_killed(tmp_path: Path, wish: str) -> None:
    """Not even a decoder that is in the middle of something that never ends."""
    with subprocess.Popen(
        [sys.executable, "-c", DECODE_STDIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment(tmp_path)},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(killing(wish))
        process.stdin.close()
        assert process.stdout.readline() == b"open\n"
        started = decoders_of(process.pid)
        assert len(started) == 2
        process.kill()
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in started):
        assert time.monotonic() < deadline, "a decoder outlives the command"
        time.sleep(0.01)


@on_linux
def test_nothing_is_started_before_a_picture_is_opened() -> None:
    """An ``add`` that finds everything unchanged starts no process."""
    before = processes()
    Decoders(LIMITS).close()
    assert processes() == before


def test_what_may_be_taken_grows_with_the_picture() -> None:
    """Far more than a whole picture takes, so that nothing good is refused on a slow machine."""
    seconds, memory = Allowance().of(1000, 160 * 120)
    assert (seconds, memory) == (5, 256 * 1024 * 1024 + 4 * 1000 + 32 * 160 * 120)
    seconds, memory = Allowance().of(8_000_000, 64_000_000)
    assert seconds == 37
    assert memory == 256 * 1024 * 1024 + 32_000_000 + 2_048_000_000
