"""What a search begins before its command is loaded: the process that decodes, and the networks of the last search."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from imgsearch import own_process
from imgsearch.cli.warm_client import COMMAND
from imgsearch.cli.words import COMPLETE_VARIABLE, HELP, command_of
from imgsearch.errors import ImgsearchError
from imgsearch.locations import cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["begin", "has_picture"]

WITHOUT_PICTURE: Final = HELP | {"--product-id", "--pic-name", "--text"}


def has_picture(words: Sequence[str]) -> bool:
    """Whether a command line looks like a search with a picture; it has not been parsed yet."""
    return command_of(words) == COMMAND and WITHOUT_PICTURE.isdisjoint(word.partition("=")[0] for word in words)


def begin(words: Sequence[str]) -> None:
    """Begin what a search with a picture needs in any case; does nothing for other command lines."""
    if not has_picture(words) or COMPLETE_VARIABLE in os.environ:
        return
    from imgsearch.vision import early_networks
    from imgsearch.vision.decoder_start import start_ahead

    start_ahead()  # first: a process with threads is not copied
    own_process.begin_quick_start()  # after it, as a decoder may run for hours
    with suppress(ImgsearchError):  # without a home directory; the search reports that
        early_networks.begin(cache_folder())  # the configuration file has not been read yet
