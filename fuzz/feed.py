"""``Feed``: bytes become operations and refusals in the order of their lines, or one refusal of the whole."""

from __future__ import annotations

import io
from contextlib import ExitStack

import atheris

from fuzz.target import check_error, run

with atheris.instrument_imports(
    include=[
        "imgsearch.sources.columns",
        "imgsearch.sources.feed",
        "imgsearch.sources.http.link",
        "imgsearch.sources.json_array",
        "imgsearch.sources.tables",
        "imgsearch.sources.text_input",
    ]
):
    from imgsearch.sources.feed import Feed, FeedOptions
    from imgsearch.sources.http import link  # noqa: F401  # the feed imports it late

from imgsearch.cli.output import safe
from imgsearch.errors import InvalidManifest
from imgsearch.types import AddPicture, DeletePictures, Refused


def target(data: bytes) -> None:
    with ExitStack() as stack:
        try:
            feed = Feed(None, stack, FeedOptions(1, 1.0), stream=io.BytesIO(data))
            feed.check()
            check(feed)
        except InvalidManifest as error:
            check_error(error)


def check(feed: Feed) -> None:
    last = 0
    for operation in feed.operations(lambda _key: False):
        number = int(operation.source.rpartition(":")[2])
        assert number >= last
        last = number
        match operation:
            case Refused(error=error):
                check_error(error)
                for text in (operation.product_id, operation.pic_name):
                    if text is not None:
                        text.encode()
            case AddPicture(key=key):
                key.product_id.encode()
                key.pic_name.encode()
            case DeletePictures(product_id=product_id):
                product_id.encode()
        assert safe(operation.source).isprintable()


if __name__ == "__main__":
    run(target)
