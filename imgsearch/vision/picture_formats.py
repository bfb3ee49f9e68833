"""Opening picture files: the formats that are taken, each with its decoder, and one clear error for anything else."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, UnidentifiedImageError

from imgsearch import own_process
from imgsearch.errors import DamagedPicture, MemoryExceeded, UnsupportedPicPixels
from imgsearch.vision.file_kinds import HEIF, SAVE_ANEW, container_kind, is_raw_photo, refusal
from imgsearch.vision.png_chunks import SIGNATURE, rendered_chunks

if TYPE_CHECKING:
    from PIL import ImageFile

__all__ = ["SUPPORTED_FORMATS", "decodable", "open_image", "opened_or_refused", "reason"]

SUPPORTED_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "MPO")
"""Pillow's names. MPO is what cameras with two lenses write under .jpg: its first frame is an ordinary JPEG."""
USUAL_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "PPM")
"""Those that Pillow always loads. It opens an MPO as a JPEG, and has no opener of that name."""
HEIF_PACKAGE: Final = "pillow_heif"


def decodable(data: bytes) -> bytes:
    """The bytes that a decoder gets of a file: of a PNG, only what its pixels need."""
    return rendered_chunks(data) if data.startswith(SIGNATURE) else data


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Read the header of a file; raises whatever its decoder does."""
    if container_kind(data) == HEIF and _has_heif():
        return _open_heif(data)
    return Image.open(io.BytesIO(data), formats=_formats(data))


def opened_or_refused(data: bytes) -> ImageFile.ImageFile:
    """Read the header of a file.

    Raises:
        UnsupportedPicFormat, UnsupportedPicPixels, MemoryExceeded, DamagedPicture
    """
    if is_raw_photo(data):
        raise refusal(data, _format_list())
    try:
        return open_image(data)
    except UnidentifiedImageError:
        raise refusal(data, _format_list()) from None
    except Image.DecompressionBombError:
        raise UnsupportedPicPixels(
            "this program's PIL.Image.MAX_IMAGE_PIXELS refuses a picture of that size: raise it there"
        ) from None
    except MemoryError:
        raise MemoryExceeded(f"reading the picture's header takes too much memory: {SAVE_ANEW}") from None
    except Exception as error:
        raise DamagedPicture(f"the header cannot be read ({reason(error)}): {SAVE_ANEW}") from error


def reason(error: Exception) -> str:
    """What a decoder says, on one short line."""
    text = " ".join(str(error).split())
    return (text[:200] or type(error).__name__).rstrip(".")


def _formats(data: bytes) -> tuple[str, ...]:
    """Those that a file may have by its first bytes; loads what reads them, as Pillow would with forty others."""
    if data[:4] == b"RIFF":
        from PIL import WebPImagePlugin

        return (WebPImagePlugin.WebPImageFile.format,)
    if data[:2] in (b"II", b"MM"):
        from PIL import TiffImagePlugin

        return (TiffImagePlugin.TiffImageFile.format,)
    if data[4:8] == b"ftyp":
        from PIL import AvifImagePlugin

        if own_process.is_ours():
            AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # pictures are decoded side by side as it is
        return (AvifImagePlugin.AvifImageFile.format,)
    return USUAL_FORMATS


def _has_heif() -> bool:
    return find_spec(HEIF_PACKAGE) is not None


def _open_heif(data: bytes) -> ImageFile.ImageFile:
    """By its class: registering it would change Pillow for a program that uses the library."""
    import pillow_heif

    if own_process.is_ours():
        options = pillow_heif.options
        options.DECODE_THREADS = 1
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False  # what is not used is not parsed
    opener: Any = pillow_heif.HeifImageFile
    opened: ImageFile.ImageFile = opener(io.BytesIO(data))
    return opened


def _format_list() -> str:
    names = [name for name in SUPPORTED_FORMATS if name not in ("PPM", "MPO")] + (["HEIC"] if _has_heif() else [])
    return f"{', '.join(names)} or PPM"
