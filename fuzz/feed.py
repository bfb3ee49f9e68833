"""``Feed``: bytes become operations and refusals in the order of their lines, or one refusal of the whole."""

from __future__ import annotations

import io
from contextlib import ExitStack

from fuzz.checks import check_error, check_operation
from imgsearch.errors import InvalidManifest
from imgsearch.sources.feed import Feed, FeedOptions
from imgsearch.sources.http import link  # noqa: F401  # the feed imports it late


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
        check_operation(operation)
