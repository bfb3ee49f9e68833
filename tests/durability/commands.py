"""Commands for processes that are watched: the whole command line, but for the network, which arithmetic stands for.

What lies between the picture's bytes and its feature has no part in what is written and when. So the feature is made
of the bytes by arithmetic, and hundreds of commands take seconds; everything else is what users run, from the options
to the exit code. This module imports all that the commands need, so that a process forked from it begins at once.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import faiss
import filelock  # noqa: F401  # the engine imports it late
import numpy as np
import rich.console
import rich.table  # noqa: F401
import typer
from typer.testing import CliRunner

import imgsearch.cli.app
import imgsearch.jobs.reindexing
import imgsearch.jobs.sync
import imgsearch.jobs.tuning
import imgsearch.search.searcher
import imgsearch.sources.stdin
import imgsearch.storage.integrity.repair
import imgsearch.storage.lock
from imgsearch.__main__ import main
from imgsearch.cli.errors import reporting
from imgsearch.cli.output import Format, print_document
from imgsearch.cli.summary import print_outcome
from imgsearch.errors import InputError
from imgsearch.instance import Instance
from imgsearch.jobs import indexing
from imgsearch.opened import Opened
from imgsearch.sources import files
from imgsearch.sources.feed import Feed, FeedOptions
from imgsearch.storage.engine import Engine
from imgsearch.storage.sqlite import database, store
from imgsearch.types import Content, Extracted, PictureSource, Recalled
from imgsearch.values import PictureOptions, Region, RegionMode
from imgsearch.vision.picture_hash import HASH_BYTES
from imgsearch.vision.pipeline import content_hash

__all__ = ["BATCH", "DIMENSION", "arithmetic_feature", "execute", "import_and_rebuild", "prepare", "run"]

BATCH = 4
"""Items of one commit: few, so that a short command has several commits."""
DIMENSION = 256
"""Of the default model, which the instances are stamped with."""
CHECKPOINT_PAGES = 20
"""SQLite folds its log into the database when it has so many pages, instead of 1,000: short commands see it as well."""

faiss.omp_set_num_threads(1)  # threads do not survive a fork
# A command that fails at once: what the command line imports on its way is then there.
CliRunner().invoke(imgsearch.cli.app.app, ["info", "-i", "/nowhere"])


def arithmetic_feature(data: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A feature that says nothing about the picture and is another one for other bytes; shape (DIMENSION,)."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    values = np.random.default_rng(seed).standard_normal(DIMENSION)
    return (values / np.linalg.norm(values)).astype(np.float32)


class ArithmeticPipeline:
    """What ``Pipeline`` does, one picture after the other, with features made by arithmetic."""

    look_ahead = 1

    def submit(
        self, picture: PictureSource, options: PictureOptions, is_known: Callable[[bytes], Recalled | bool]
    ) -> Future[Extracted | Recalled | Content]:
        future: Future[Extracted | Recalled | Content] = Future()
        try:
            content = picture.read(2**20)
            known = is_known(content_hash(content.data))
            if isinstance(known, Recalled):
                future.set_result(Recalled(replace(known.extracted, token=content.token)))
            else:
                future.set_result(Content(b"", content.token) if known else self.extract(content, options))
        except InputError as error:
            future.set_exception(error)
        return future

    def extract(self, content: Content, options: PictureOptions) -> Extracted:
        region = Region(0, 100, 0, 100) if options.given_region is None else options.given_region
        subjects = (region,) if options.region_mode is RegionMode.SUBJECT else ()
        category = len(content.data) % 7 if options.category_id is None else options.category_id
        chances = ((category, 0.99),) if options.category_id is None else ()
        digest = content_hash(content.data)
        feature = arithmetic_feature(content.data)
        picture_hash = hashlib.blake2b(content.data, digest_size=HASH_BYTES).digest()
        return Extracted(digest, content.token, region, subjects, category, chances, feature, picture_hash)


@contextmanager
def _arithmetic(_opened: Opened, **_options: object) -> Iterator[ArithmeticPipeline]:
    yield ArithmeticPipeline()


def redirect(output: Path, errors: Path) -> None:
    """Send what is printed to files."""
    for number, path in ((1, output), (2, errors)):
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)


def prepare(output: Path, errors: Path) -> None:
    """Send what is printed to files, and let arithmetic stand for the network."""
    redirect(output, errors)
    indexing.COMMIT_ITEMS = BATCH
    indexing.COMMIT_SECONDS = 1e9
    files.RACY_NANOSECONDS = 0  # what is written does not depend on the age of the pictures
    Opened.pipeline = _arithmetic
    connect = database.connect

    def connected(path: Path, *, write: bool) -> Any:
        connection = connect(path, write=write)
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        return connection

    store.connect = connected


def run(arguments: list[str], output: Path, errors: Path, *, large: bool = False) -> None:
    """The command line in this process, which ends with the command's exit code.

    Args:
        arguments: of the command line.
        output: where stdout goes.
        errors: where stderr goes.
        large: indexes have inverted lists, as those of large instances do.
    """
    prepare(output, errors)
    if large:
        Engine.rebuild = partialmethod(Engine.rebuild, flat_limit=0)
    sys.argv = ["imgsearch", *arguments]
    main()


def import_and_rebuild(folder: Path, lines: Path, output: Path, errors: Path) -> None:
    """What ``oss-import --rebuild`` does once its checks are passed, with the pictures of a folder."""

    def command(output_format: Format) -> None:
        with Instance.open(folder) as instance, ExitStack() as stack:
            feed = Feed(lines, stack, FeedOptions(downloads=1, timeout=60.0))
            feed.check()
            for outcome in instance.apply_stream(feed.operations(instance.has_item), rebuild=True):
                print_outcome(outcome, output_format, quiet=False)
        print_document({"Success": True})

    prepare(output, errors)
    try:
        reporting(command)(output_format=Format.JSONL)
    except typer.Exit as end:
        raise SystemExit(end.exit_code) from None


def execute(words: list[str], output: Path, errors: Path) -> None:
    """Become another program, which is watched on."""
    redirect(output, errors)
    os.execv(words[0], words)
