"""Output of searches: documents, tables, paths, previews and contact sheets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgsearch.cli.errors import warn
from imgsearch.cli.output import Format, console, print_document, print_name, safe, text
from imgsearch.errors import InputError
from imgsearch.service.categories import CATEGORIES, Kind
from imgsearch.service.documents import error_document, search_document

if TYPE_CHECKING:
    from pathlib import Path

    from imgsearch.instance import Instance
    from imgsearch.search.options import SearchResult
    from imgsearch.types import PictureSource
    from imgsearch.values import Key

__all__ = ["Answer", "Question", "print_answer", "print_paths", "write_sheet"]


@dataclass(frozen=True, slots=True)
class Question:
    """A query: a picture, the key of an indexed one, or a text if both are None."""

    name: str
    picture: PictureSource | None = None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its result."""

    question: Question
    result: SearchResult | InputError


def print_paths(result: SearchResult, *, nul: bool, scores: bool) -> None:
    """Print where the pictures lie, a line each; with ``scores``, each after its Score and a tab."""
    for hit in result.hits:
        path = str(hit.item.location or hit.item.key.pic_name)
        print_name(f"{hit.score:.6f}\t{path}" if scores else path, nul=nul)


def print_answer(answer: Answer, chosen: Format, instance: Instance, *, several: bool, preview: bool) -> None:
    """Print a result or an error, as one of several or alone; a preview only with tables."""
    name, result = answer.question.name, answer.result
    if isinstance(result, InputError):
        if chosen.is_json:
            print_document({"Query": safe(name)} | error_document(result), one_line=True)
        warn(f"{name}: {result.message} ({result.code})")
    elif chosen.is_json:
        document = search_document(result, instance.kind)
        print_document(
            {"Query": safe(name)} | document if several else document, one_line=several or chosen is Format.JSONL
        )
    else:
        _print_table(name, result, with_categories=instance.kind is Kind.PRODUCT)
    if preview and not isinstance(result, InputError) and chosen is Format.TABLE:
        from imgsearch.cli.preview import show

        show(result.hits, instance)


def _print_table(name: str, result: SearchResult, *, with_categories: bool) -> None:
    from rich.table import Table

    where = console()
    table = Table(title=text(name), title_justify="left", caption_justify="left")
    region = "" if result.region is None else f", region {result.region}"
    took = f"{result.seconds * 1000:.0f} ms"
    table.caption = text(f"{len(result.hits)} of {result.found} in {took}{region}{_where(result)}{_copies(result)}")
    with_content = any(hit.item.attributes.custom_content for hit in result.hits)
    table.add_column("#", justify="right", style="dim")
    table.add_column("Score", justify="right")
    table.add_column("ProductId", overflow="fold", style="bold")
    table.add_column("PicName", overflow="fold")
    if with_categories:
        table.add_column("Category")
    if with_content:
        table.add_column("CustomContent", overflow="fold")
    for rank, hit in enumerate(result.hits, 1):
        item = hit.item
        style = "bold green" if hit.identical else "green" if hit.score >= 0.5 else "dim"
        score = "same" if hit.identical else f"{hit.score:.3f}"
        cells = [
            text(rank),
            text(score, style),
            text(item.key.product_id),
            text(item.key.pic_name),
        ]
        if with_categories:
            cells.append(text(CATEGORIES.get(item.category_id, item.category_id)))
        if with_content:
            cells.append(text(item.attributes.custom_content or ""))
        table.add_row(*cells)
    where.print(table)


def _where(result: SearchResult) -> str:
    """The searched categories, for people."""
    names = [CATEGORIES[category_id] for category_id in result.searched_categories]
    if not names:
        return ""
    if len(names) > 1 and result.confidence is not None:
        unsure = f"{names[0]} is uncertain ({result.confidence:.0%})"
        return f", in {', '.join(names)}: {unsure}; use --category to choose one, --any-category to search all"
    return f", in {names[0]}"


def _copies(result: SearchResult) -> str:
    """That ``--exclude-self`` leaves out more than one item: copies under other names, which few people expect."""
    if result.left_out < 2:
        return ""
    return f"; {result.left_out} pictures with the same bytes are left out, 'duplicates' lists them"


def write_sheet(target: Path, answers: list[Answer], instance: Instance) -> None:
    """Write a contact sheet of all results.

    Raises:
        StorageFull, StorageUnwritable
    """
    from imgsearch.cli.contact_sheet import Row, Shown, picture_of, write
    from imgsearch.sources.files import FilePicture

    rows = []
    for answer in answers:
        if isinstance(answer.result, InputError):
            continue
        picture, location = answer.question.picture, None
        if answer.question.key is not None:
            item = instance.item(answer.question.key)
            picture, location = picture_of(item), item.location
        elif isinstance(picture, FilePicture):
            location = picture.path
        query = Shown(picture, "query", region=answer.result.region, location=location, is_query=True)
        rows.append(Row(answer.question.name, query, answer.result.hits))
    write(target, rows, instance.limits)
