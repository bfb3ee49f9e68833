"""What holds for every refusal and for every operation, whatever was parsed."""

from __future__ import annotations

from imgsearch.cli.output import safe
from imgsearch.errors import ImgsearchError
from imgsearch.service.categories import check_category
from imgsearch.types import AddPicture, DeletePictures, Operation, Refused

__all__ = ["check_error", "check_operation"]

USAGE = 2
INPUT = 3
REMOTE = 7
MAX_MESSAGE_CHARS = 20_000
"""A message may quote some of the input, not all of it."""


def check_error(error: ImgsearchError, *exit_codes: int, has_lines: bool = False) -> None:
    """It has a code of its own, and says something, on one line, in text that any document can hold.

    Args:
        error: of a parser.
        exit_codes: that it may have; none: that of bad input.
        has_lines: the message may have several.
    """
    assert error.exit_code in (exit_codes or (INPUT,)), error.exit_code
    assert error.code
    assert error.message.strip()
    assert has_lines or "\n" not in error.message
    assert len(error.message) <= MAX_MESSAGE_CHARS
    error.message.encode()


def check_operation(operation: Operation) -> None:
    """What a manifest asks for can be told, printed and stored."""
    match operation:
        case Refused(error=error):
            check_error(error)
            texts = (operation.product_id, operation.pic_name)
        case AddPicture(key=key, options=options):
            texts = (key.product_id, key.pic_name)
            check_category(options.category_id)
        case DeletePictures(product_id=product_id):
            texts = (product_id, None)
    for text in texts:
        if text is not None:
            text.encode()
    assert safe(operation.source).isprintable()
