"""``imgsearch search``."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsearch.cli.answers import Answer, Question, print_answer, print_paths, write_sheet
from imgsearch.cli.errors import warn
from imgsearch.cli.opening import get_ready, open_instance, searching
from imgsearch.cli.options import (
    OUTPUT,
    PICTURES,
    RESOURCES,
    SELECTION,
    AllowPrivate,
    Category,
    Crop,
    FilterOption,
    FormatOption,
    InstanceOption,
    Nul,
    Quiet,
    RegionOption,
    check_no_instance,
    check_no_links,
    picture_options,
)
from imgsearch.cli.output import Format, resolve_format
from imgsearch.cli.query_pictures import NoPicture, parsed_links, query_pictures
from imgsearch.cli.warm_client import NO_SERVER
from imgsearch.errors import ImgsearchError, InputError, StorageError, UsageError
from imgsearch.values import Key, PictureOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgsearch.search.options import SearchOptions, SearchResult
    from imgsearch.search.searcher import Searcher
    from imgsearch.types import PictureSource

__all__ = ["search"]


def search(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", show_default=False, help="Pictures, folders, or - for a picture on stdin."),
    ] = None,
    instance: InstanceOption = None,
    product_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            show_default=False,
            help="With --pic-name: search with an indexed picture.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    pic_name: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="See --product-id.", rich_help_panel=PICTURES)
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="WORDS",
            show_default=False,
            help="Search with text, if the model supports it.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    urls: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            metavar="LINK",
            show_default=False,
            help="Search with the picture behind an http(s) link.",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    allow_private: AllowPrivate = False,
    num: Annotated[
        int, typer.Option("-n", "--num", help="Maximum number of results, 1 to 100.", rich_help_panel=SELECTION)
    ] = 10,
    start: Annotated[int, typer.Option(help="Number of results to skip, 0 to 499.", rich_help_panel=SELECTION)] = 0,
    category: Category = None,
    any_category: Annotated[
        bool, typer.Option("--any-category", help="Search all categories.", rich_help_panel=SELECTION)
    ] = False,
    crop: Crop = True,
    region: RegionOption = None,
    all_subjects: Annotated[
        bool,
        typer.Option(
            "--all-subjects",
            help="Search with every subject of a picture, one result list each.",
            rich_help_panel=PICTURES,
        ),
    ] = False,
    combine: Annotated[
        bool,
        typer.Option(
            "--combine", help="All pictures are one query: several views of one product.", rich_help_panel=PICTURES
        ),
    ] = False,
    filter_: FilterOption = None,
    distinct_product: Annotated[
        bool,
        typer.Option("--distinct-product", help="Only the best result of each product.", rich_help_panel=SELECTION),
    ] = False,
    min_score: Annotated[
        float, typer.Option(help="Leave out results with a lower Score, 0 to 1.", rich_help_panel=SELECTION)
    ] = 0.0,
    exclude_self: Annotated[
        bool,
        typer.Option(
            "--exclude-self", help="Leave out the query picture itself, under any name.", rich_help_panel=SELECTION
        ),
    ] = False,
    no_lift: Annotated[
        bool,
        typer.Option(
            "--no-lift",
            help="Do not lift the other pictures of a product, to show more products per page.",
            rich_help_panel=SELECTION,
        ),
    ] = False,
    scores: Annotated[
        bool,
        typer.Option(
            "--scores", help="With --format paths, print the Score and a tab before each path.", rich_help_panel=OUTPUT
        ),
    ] = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the pictures in the terminal.", rich_help_panel=OUTPUT)
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Write a contact sheet of the results.", rich_help_panel=OUTPUT
        ),
    ] = None,
    nul: Nul = False,
    quiet: Quiet = False,
    output_format: FormatOption = None,
    no_server: Annotated[  # noqa: ARG001  # the start of the program goes by it (warm_client)
        bool,
        typer.Option(
            "--no-server",
            envvar=NO_SERVER,
            show_envvar=False,
            help="Do not have a running server answer.",
            rich_help_panel=RESOURCES,
        ),
    ] = False,
) -> None:
    """Find similar pictures, best first."""
    from imgsearch.search.options import SearchOptions, SearchResult
    from imgsearch.sources.files import is_folder

    chosen = resolve_format(output_format)
    check_no_links(images or [], "give it as --url LINK")
    has_pictures = bool(images or urls)
    _check(product_id, pic_name, words, has_pictures=has_pictures)
    check_no_instance(images or [])
    if not has_pictures and (region is not None or not crop or all_subjects or combine):
        raise UsageError(
            "--region, --no-crop, --all-subjects and --combine need pictures, not --product-id and --pic-name or --text"
        )
    if words is not None and exclude_self:
        raise UsageError("--exclude-self needs a picture, not --text")
    _check_together(
        ("--category", category is not None, "--any-category", any_category),
        ("--all-subjects", all_subjects, "--region", region is not None),
        ("--all-subjects", all_subjects, "--no-crop", not crop),
        ("--all-subjects", all_subjects, "--combine", combine),
        ("--combine", combine, "--exclude-self", exclude_self),
        ("--combine", combine, "--region", region is not None),
        ("--scores", scores, f"--format {chosen}", chosen is not Format.PATHS),
        ("--preview", preview, f"--format {chosen}", output_format is not None and chosen is not Format.TABLE),
    )
    many = len([*(images or []), *(urls or [])]) > 1 or any(is_folder(Path(image)) for image in images or [])
    several = many and not combine
    single = not (several or combine)
    get_ready(
        instance,
        has_picture=has_pictures and single,
        is_plain=single and words is None and html is None and not preview,
    )
    options = picture_options(category, crop=crop, region=region)
    links = parsed_links(urls or [])
    key = None if product_id is None or pic_name is None else Key(product_id, pic_name)
    wanted = SearchOptions(
        num, start, any_category, filter_, distinct_product, min_score, exclude_self, lift=not no_lift
    )
    if html is not None:
        from imgsearch.cli.html_page import check_writable

        check_writable(html)
    failed: ImgsearchError | None = None
    asked = 0
    answers: list[Answer] = []
    with open_instance(instance, quiet=quiet) as target, ExitStack() as stack:
        pictures = query_pictures(images or [], links, stack, allow_private=allow_private)
        with searching(target, workers=1 if single else None) as searcher:
            answered: Iterable[tuple[Question, list[SearchResult] | InputError]]
            if words is not None:
                answered = [(Question(words), [searcher.by_text(words, options.category_id, wanted)])]
            elif combine:
                answered = [_combined(searcher, pictures, options, wanted)]
            else:
                answered = _answers(searcher, pictures, key, options, wanted, all_subjects=all_subjects)
            for question, results in answered:
                asked += 1
                if isinstance(results, InputError):
                    if not several:
                        raise type(results)(f"{question.name}: {results.message}", code=results.code) from None
                    failed = failed or results
                for result in [results] if isinstance(results, InputError) else results:
                    answer = Answer(question, result)
                    if isinstance(result, SearchResult) and result.warning is not None:
                        warn(f"{question.name}: {result.warning}")
                    if chosen is Format.PATHS and isinstance(answer.result, SearchResult):
                        print_paths(answer.result, nul=nul, scores=scores)
                    else:
                        print_answer(answer, chosen, target, several=several or all_subjects, preview=preview)
                    if html is not None:
                        answers.append(answer)
        if html is not None:
            try:
                write_sheet(html, answers, target)
            except StorageError as error:  # the results are printed already, and a second document would follow
                warn(f"the contact sheet was not written: {error.message}")
                raise typer.Exit(error.exit_code) from None
    if failed is not None:
        raise typer.Exit(1 if asked > 1 else failed.exit_code)


def _check(product_id: str | None, pic_name: str | None, words: str | None, *, has_pictures: bool) -> None:
    if words is not None and (has_pictures or product_id is not None or pic_name is not None):
        raise UsageError("give only one of --text, pictures, or --product-id with --pic-name")
    if words is not None:
        return
    if has_pictures and (product_id is not None or pic_name is not None):
        raise UsageError("give either pictures or --product-id with --pic-name, not both")
    if not has_pictures and (product_id is None or pic_name is None):
        raise UsageError(
            "nothing to search with: give a picture, - for one on stdin, --url, --product-id and --pic-name, or --text"
        )


def _check_together(*pairs: tuple[str, bool, str, bool]) -> None:
    """Refuse options of which one would be ignored.

    Raises:
        UsageError
    """
    for one, has_one, other, has_other in pairs:
        if has_one and has_other:
            raise UsageError(f"{one} and {other} cannot be used together")


def _combined(
    searcher: Searcher, given: Iterable[tuple[str, PictureSource]], options: PictureOptions, search: SearchOptions
) -> tuple[Question, list[SearchResult]]:
    """All pictures as one query.

    Raises:
        InputError: of the first picture that cannot be used.
    """
    searcher.prepare(options)
    pictures = list(given)
    for name, picture in pictures:
        if isinstance(picture, NoPicture):
            raise type(picture.error)(f"{name}: {picture.error.message}", code=picture.error.code)
    name, first = pictures[0]
    question = Question(f"{name} and {len(pictures) - 1} more", first)
    try:
        return question, [searcher.by_views((picture for _, picture in pictures), options, search)]
    except InputError as error:
        place, _, message = error.message.partition(": ")
        if not place.startswith("pictures["):
            raise
        number = int(place.removeprefix("pictures[").removesuffix("]"))
        raise type(error)(f"{pictures[number][0]}: {message}", code=error.code) from None


def _answers(
    searcher: Searcher,
    given: Iterable[tuple[str, PictureSource]],
    key: Key | None,
    options: PictureOptions,
    search: SearchOptions,
    *,
    all_subjects: bool,
) -> Iterator[tuple[Question, list[SearchResult] | InputError]]:
    """Yield each query with its results, one per subject, or with its error."""
    if key is not None:
        question = Question(f"{key.product_id}/{key.pic_name}", key=key)
        yield question, [searcher.by_name(key, options.category_id, search)]
        return
    searcher.prepare(options)
    asked: deque[Question] = deque()

    def pictures() -> Iterator[PictureSource]:
        for name, picture in given:
            asked.append(Question(name, picture))
            yield picture

    for results in searcher.by_pictures(pictures(), options, search, all_subjects=all_subjects):
        yield asked.popleft(), results
