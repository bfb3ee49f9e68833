"""Arguments of the tools, and their JSON schemas, which tell the ranges; these are checked where values are used."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema

from imgsearch.search.options import MAX_NUM, MAX_START
from imgsearch.service.categories import CATEGORIES
from imgsearch.values import ATTRIBUTE_COLUMNS, Attributes

__all__ = [
    "MAX_PICTURES",
    "MAX_ROWS",
    "MAX_THUMBNAILS",
    "SHOWN",
    "AddArguments",
    "Arguments",
    "CompareArguments",
    "DeleteArguments",
    "DuplicatesArguments",
    "EvalArguments",
    "GivenPicture",
    "InfoArguments",
    "ListArguments",
    "NewPicture",
    "SearchArguments",
    "ShowArguments",
    "UpdateArguments",
    "input_schema",
]

MAX_PICTURES: Final = 100
"""Of one call of ``add``: it ends within the patience of a client, and so does the server while it runs."""
MAX_ROWS: Final = 1_000
"""Items or groups of one answer, which an agent reads as a whole."""
THUMBNAILS: Final = 5
MAX_THUMBNAILS: Final = 20

INSTANCE: Final = "instance"
SHOWN: Final = "thumbnails"
"""Arguments that depend on how the server was started."""

PATH = Field(
    None,
    description="Path of a picture on the server's machine: absolute, or relative to one of the folders that it may "
    "read. The tool 'info' of this server and its instructions name these folders.",
)
DATA = Field(
    None, description="The picture itself: the bytes of a JPEG, PNG, WebP, … file in base64, or a data: URL of them."
)
FILTER = Field(
    None,
    description="Only items that match this expression over attributes. int_attr, int_attr2 … int_attr4 compare with "
    "> >= < <= = !=, 'in' and 'not in'; str_attr … str_attr4 with = !=, 'in' and 'not in'; strings are in double "
    'quotes. Example: int_attr<5000 AND (str_attr="red" OR str_attr2 in ("wool","linen")). '
    "An attribute that is not set meets no condition.",
)
CATEGORY = Field(
    None,
    description=f"Category, as a number or name: {', '.join(f'{number} {name}' for number, name in CATEGORIES.items())}"
    ". Instances of the kind 'generic' have no categories.",
)
REGION = Field(
    None,
    description="The part of the picture that counts, 'x1,x2,y1,y2' in pixels of the upright picture (both x first, "
    "x2 and y2 exclusive). Without it, the main subject is found.",
)
CROP = Field(True, description="False: the whole picture counts, instead of its main subject or a region.")
SHOWN_FIELD = Field(
    THUMBNAILS,
    description="How many of the pictures in the answer come with it as small JPEGs, the first ones first.",
    json_schema_extra={"minimum": 0, "maximum": MAX_THUMBNAILS},
)
DRY_RUN = Field(False, description="Change nothing; only tell what would be changed.")


def _number(default: int, description: str, least: int, most: int | None = None) -> Any:
    limits = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
    return Field(default, description=description, json_schema_extra=dict(limits))


class Arguments(BaseModel):
    """Arguments of every tool."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instance: str | None = Field(None, description="The name of the instance.")


class _Attributes(BaseModel):
    """Attributes of an item, by their names in filters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    custom_content: str | None = Field(None, description="Any text to be returned with results, up to 4096 characters.")
    int_attr: int | None = Field(None, description="A whole number of 32 bits; the answers call it IntAttr.")
    int_attr2: int | None = None
    int_attr3: int | None = None
    int_attr4: int | None = None
    str_attr: str | None = Field(None, description="A text of up to 128 characters; the answers call it StrAttr.")
    str_attr2: str | None = None
    str_attr3: str | None = None
    str_attr4: str | None = None

    def given(self) -> dict[str, int | str]:
        """Those that are set."""
        return {name: value for name in ATTRIBUTE_COLUMNS if (value := getattr(self, name)) is not None}

    def attributes(self) -> Attributes:
        """As an item has them.

        Raises:
            InvalidValue
        """
        return Attributes(**{name: getattr(self, name) for name in ATTRIBUTE_COLUMNS})


class SearchArguments(Arguments):
    """Of ``search``."""

    path: str | None = PATH
    data: str | None = DATA
    product_id: str | None = Field(None, description="With pic_name: search with a picture that is stored.")
    pic_name: str | None = Field(None, description="See product_id.")
    text: str | None = Field(
        None, description="Search with words. Only if the model of the instance has a text side; 'info' tells."
    )
    category: int | str | None = CATEGORY
    any_category: bool = Field(
        False, description="Search all categories, not only those that are likely for the picture."
    )
    crop: bool = CROP
    region: str | None = REGION
    filter: str | None = FILTER
    num: int = _number(10, "How many results at most.", 1, MAX_NUM)
    start: int = _number(0, "How many results to skip; start + num is at most 500.", 0, MAX_START)
    min_score: float = Field(
        0.0,
        description="Leave out results with a lower Score. Of results with a Score of 0.5 about half show the same "
        "product, of those with 0.7 or more eight in ten; 1 is the identical picture.",
        json_schema_extra={"minimum": 0, "maximum": 1},
    )
    distinct_product: bool = Field(False, description="Only the best picture of each product.")
    exclude_self: bool = Field(False, description="Leave out the query picture itself, under whatever name.")
    thumbnails: int = SHOWN_FIELD


class ShowArguments(Arguments):
    """Of ``show``."""

    product_id: str = Field(description="ProductId.")
    pic_name: str | None = Field(None, description="PicName; without it, all pictures of the product are shown.")
    thumbnails: int = SHOWN_FIELD


class ListArguments(Arguments):
    """Of ``list``."""

    filter: str | None = FILTER
    category: int | str | None = CATEGORY
    product_id: str | None = Field(None, description="Only pictures of this product.")
    num: int = _number(20, "How many items at most.", 1, MAX_ROWS)
    start: int = _number(0, "How many items to skip.", 0)
    thumbnails: int = SHOWN_FIELD


class DuplicatesArguments(Arguments):
    """Of ``duplicates``."""

    level: Literal["same", "similar"] = Field(
        "same", description="same: copies, also re-encoded, resized or slightly cropped; similar: look-alikes as well."
    )
    min_score: float | None = Field(
        None,
        description="Least Score of look-alikes, with level 'similar' only; 0.9 by default.",
        json_schema_extra={"minimum": 0, "maximum": 1},
    )
    products: Literal["any", "within", "across"] = Field(
        "any", description="within: compare each product's pictures with each other only; across: only groups of "
        "several products."
    )  # fmt: skip
    filter: str | None = FILTER
    category: int | str | None = CATEGORY
    product_id: str | None = Field(None, description="Only pictures of this product.")
    num: int = _number(20, "How many groups at most.", 1, MAX_ROWS)
    thumbnails: int = SHOWN_FIELD


class GivenPicture(BaseModel):
    """A picture to compare."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = PATH
    data: str | None = DATA
    crop: bool = CROP
    region: str | None = REGION


class CompareArguments(Arguments):
    """Of ``compare``."""

    first: GivenPicture = Field(description="A picture: give either path or data.")
    second: GivenPicture = Field(description="Another one: give either path or data.")


class EvalArguments(Arguments):
    """Of ``eval``."""

    folder: str = Field(
        description="Path of a folder of labelled pictures: a folder per product, or with the tables groundtruth.csv, "
        "labels.csv or boxes.csv."
    )
    parts: list[Literal["retrieval", "categories", "subjects"]] | None = Field(
        None, description="Measure only these parts; by default all that the folder has."
    )
    any_category: bool = Field(False, description="Search all categories, not only that of the query.")
    crop: bool = CROP


class InfoArguments(Arguments):
    """Of ``info``."""


class NewPicture(_Attributes):
    """A picture to add."""

    path: str = Field(
        description="Path of the picture file on the server's machine: absolute, or relative to one of the folders "
        "that it may read."
    )
    product_id: str = Field(description="ProductId of the product that it shows, 1 to 512 characters.")
    pic_name: str | None = Field(None, description="PicName, unique in the product; by default the name of the file.")
    category: int | str | None = CATEGORY
    crop: bool = CROP
    region: str | None = REGION


class AddArguments(Arguments):
    """Of ``add``."""

    pictures: list[NewPicture] = Field(
        description=f"The pictures, 1 to {MAX_PICTURES}.", json_schema_extra={"minItems": 1, "maxItems": MAX_PICTURES}
    )


class UpdateArguments(_Attributes, Arguments):
    """Of ``update``."""

    product_id: str | None = Field(None, description="Change all pictures of this product; or give a filter.")
    pic_name: str | None = Field(None, description="With product_id: change this picture only.")
    filter: str | None = FILTER
    category: int | str | None = CATEGORY
    unset: list[Literal[ATTRIBUTE_COLUMNS]] = Field([], description="Attributes to remove.")  # type: ignore[valid-type]
    dry_run: bool = DRY_RUN


class DeleteArguments(Arguments):
    """Of ``delete``."""

    product_id: str | None = Field(None, description="Delete all pictures of this product; or give a filter.")
    pic_name: str | None = Field(None, description="With product_id: delete this picture only.")
    filter: str | None = FILTER
    dry_run: bool = DRY_RUN


class _Plain(GenerateJsonSchema):
    """Schemas that models read easily: no titles, and what may be left out is not also null."""

    def nullable_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: Any) -> dict[str, Any]:
        if schema.get("default", False) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # the signature is pydantic's
        return False


def input_schema(arguments: type[BaseModel], instances: list[str], *, thumbnails: bool) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, as they are for this server.

    Args:
        arguments: of the tool.
        instances: names of those served; of a single one, no name need be given.
        thumbnails: whether answers can have pictures.
    """
    whole = arguments.model_json_schema(schema_generator=_Plain)
    definitions = whole.pop("$defs", {})
    schema: dict[str, Any] = _inlined(whole, definitions)
    del schema["title"], schema["description"]
    properties = schema["properties"]
    if not thumbnails:
        properties.pop(SHOWN, None)
    if len(instances) == 1:
        properties.pop(INSTANCE, None)
    elif INSTANCE in properties:
        properties[INSTANCE]["enum"] = instances
        schema["required"] = [INSTANCE, *schema.get("required", [])]
    return schema


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its definitions in their places: not every client resolves references."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        named = definitions[schema["$ref"].rpartition("/")[2]]
        inner = {name: value for name, value in named.items() if name not in ("title", "description")}
        schema = inner | {name: value for name, value in schema.items() if name != "$ref"}
    return {name: _inlined(value, definitions) for name, value in schema.items()}
