"""The tools: what each is called, what it tells an agent about itself, and what answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp.types import Tool, ToolAnnotations

from imgsearch.agents import arguments, reading, schemas, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from imgsearch.agents.context import Answer, Context

__all__ = ["TOOLS", "AgentTool"]

KEYS: Final = "A stored picture is named by ProductId and PicName; a product may have several pictures. "


@dataclass(frozen=True, slots=True)
class AgentTool:
    """One tool."""

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    output: dict[str, Any]
    run: Callable[[Context, Any], Answer]
    writes: bool = False
    destroys: bool = False
    """What is stored may be lost by it, so that a client should ask first."""

    def described(self, instances: list[str], *, thumbnails: bool) -> Tool:
        """As a client sees it, for this server."""
        return Tool(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=arguments.input_schema(self.arguments, instances, thumbnails=thumbnails),
            output_schema=self.output,
            annotations=ToolAnnotations(
                read_only_hint=not self.writes,
                destructive_hint=self.destroys,
                idempotent_hint=True,
                open_world_hint=False,
            ),
        )


TOOLS: Final = (
    AgentTool(
        "search",
        "Search by picture",
        "Find stored pictures that show the same product as a picture, or a similar one; best first, with a Score from "
        "0 to 1. Give exactly one query: path (a file on the server's machine), data (the picture in base64), "
        "product_id with pic_name (a stored picture), or text (where the model has a text side). In an instance of the "
        "kind 'product', only the likely categories of the picture are searched unless category or any_category say "
        "otherwise. Filters apply before ranking. Page with start and num.",
        arguments.SearchArguments,
        schemas.SEARCH,
        reading.search,
    ),
    AgentTool(
        "show",
        "Show a product",
        "Show all that is stored of a product's pictures, or of one of them: category, region, attributes, where its "
        f"file lies. {KEYS}Exists is false if there is none.",
        arguments.ShowArguments,
        schemas.SHOW,
        reading.show,
    ),
    AgentTool(
        "list",
        "List stored pictures",
        "List stored pictures page by page, in the order of ProductId and PicName, all or those that match a filter, a "
        "category or a product. TotalCount counts the matches on all pages: with num 1 it is the way to count. "
        f"{KEYS}",
        arguments.ListArguments,
        schemas.LIST,
        reading.list_,
    ),
    AgentTool(
        "duplicates",
        "Find duplicates",
        "Group stored pictures that show the same: copies, also saved in another format, resized or slightly cropped; "
        "with level 'similar' also look-alikes. Nothing is deleted.",
        arguments.DuplicatesArguments,
        schemas.DUPLICATES,
        reading.duplicates,
    ),
    AgentTool(
        "compare",
        "Compare two pictures",
        "Tell how alike two pictures are to the model of the instance; they need not be stored. Score is the "
        "probability that both show the same product. To compare a picture with stored ones, search.",
        arguments.CompareArguments,
        schemas.COMPARE,
        reading.compare,
    ),
    AgentTool(
        "eval",
        "Measure search quality",
        "Measure how often search finds the right product on a folder of labelled pictures, with the model and kind of "
        "the instance, which is not changed. A folder per product is enough: each picture searches for the others. "
        "Takes about a second for ten pictures.",
        arguments.EvalArguments,
        schemas.EVAL,
        reading.evaluate,
    ),
    AgentTool(
        "info",
        "Facts about an instance",
        "Tell what an instance is: kind, number of pictures and products, categories with counts, model, limits of "
        "pictures, whether it can be searched with words, and which folders of pictures may be read.",
        arguments.InfoArguments,
        schemas.INFO,
        reading.info,
    ),
    AgentTool(
        "add",
        "Add pictures",
        "Index picture files under ProductId and PicName, with attributes for filters and results; a stored picture of "
        "the same names is replaced. Only features are stored, no picture. A picture that cannot be used fails alone: "
        "Failures tells why. What is added is found by searches at once.",
        arguments.AddArguments,
        schemas.ADD,
        writing.add,
        writes=True,
        destroys=True,
    ),
    AgentTool(
        "update",
        "Change stored items",
        "Change attributes or category of a product's pictures, of one, or of all that match a filter, without the "
        "picture files. What is not named stays; unset removes an attribute.",
        arguments.UpdateArguments,
        schemas.UPDATE,
        writing.update,
        writes=True,
        destroys=True,
    ),
    AgentTool(
        "delete",
        "Delete stored pictures",
        "Delete a product with all its pictures, one of its pictures, or all pictures that match a filter, from the "
        "instance. Picture files stay where they are. This cannot be undone: use dry_run first. What is not there is "
        "no error: Deleted is 0.",
        arguments.DeleteArguments,
        schemas.DELETE,
        writing.delete,
        writes=True,
        destroys=True,
    ),
)
