"""``read_table``: bytes become lines whose files lie below the table's folder, or the table is refused."""

from __future__ import annotations

from fuzz.checks import check_error
from fuzz.files import folder, replaced
from imgsearch.errors import InvalidGroundTruth
from imgsearch.evaluation.tables import read_table

FOLDER = folder()
REQUIRED, OPTIONAL = ("file", "product"), ("category",)


def target(data: bytes) -> None:
    seen = set()
    try:
        for line in read_table(replaced(FOLDER / "table.csv", data), REQUIRED, OPTIONAL):
            assert line.file.is_relative_to(FOLDER)
            assert ".." not in line.file.parts
            assert line.name not in seen
            seen.add(line.name)
            assert set(line.values) == {*REQUIRED, *OPTIONAL}
            check_error(line.problem(line.quoted("product")))
    except InvalidGroundTruth as error:
        check_error(error)
