"""The operations that change an instance; each is answered after its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgsearch.server.errors import RequestRefused
from imgsearch.server.searching import filter_of, picture_options
from imgsearch.service.documents import added_document, deleted_document, updated_document
from imgsearch.service.operations import ParameterType
from imgsearch.values import ATTRIBUTE_COLUMNS, SERVICE_NAMES, Attributes

if TYPE_CHECKING:
    from imgsearch.server.calls import Call
    from imgsearch.server.served import Served

__all__ = ["add", "delete", "update"]


def _attributes(call: Call) -> dict[str, Any]:
    """The given attributes by their names in filters."""
    integers = call.given(ParameterType.INTEGER)
    names = {SERVICE_NAMES[column]: column for column in ATTRIBUTE_COLUMNS}
    given = (name for kind in (ParameterType.TEXT, ParameterType.INTEGER) for name in call.given(kind) if name in names)
    return {names[name]: call.integer(name) if name in integers else call.text(name) for name in given}


def add(served: Served, call: Call) -> dict[str, Any]:
    """AddImage."""
    key, options = call.key(), picture_options(call)
    outcome = served.writer.add(
        call.picture("PicContent"),
        key.product_id,
        key.pic_name,
        category=options.category_id,
        crop=options.crop,
        region=options.region,
        attributes=Attributes(**_attributes(call)),
    ).result()
    if outcome.error is not None:
        raise outcome.error
    item = served.instance.find(key)  # None if somebody has deleted it since
    return added_document(outcome, item.subjects if item else (), served.instance.kind)


def update(served: Served, call: Call) -> dict[str, Any]:
    """UpdateImage; what is not given stays."""
    key = call.key()
    attributes = _attributes(call)
    served.writer.update(product_id=key.product_id, pic_name=key.pic_name, attributes=attributes).result()
    return updated_document()


def delete(served: Served, call: Call) -> dict[str, Any]:
    """DeleteImage: a picture, all of a product, or what a filter selects; what is not there is no error."""
    if call.boolean("IsDeleteByFilter", default=False):
        expression = filter_of(call)
        if expression is None:
            raise RequestRefused("IsDeleteByFilter needs a Filter", code="InvalidFilterClause")
        return deleted_document(served.writer.delete_matching(expression).result().keys)
    product_id = call.text("ProductId")
    if product_id is None:
        raise RequestRefused("DeleteImage needs ProductId, or IsDeleteByFilter", code="MissingProductId")
    return deleted_document(served.writer.delete(product_id, call.text("PicName") or None).result().keys)
