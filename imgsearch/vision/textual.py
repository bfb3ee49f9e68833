"""Texts as features, beside those of pictures: of models that have a text tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from imgsearch.errors import InvalidModel
from imgsearch.vision.runtime import Graph, normalised

if TYPE_CHECKING:
    import numpy.typing as npt

    from imgsearch.vision.openvino_export import ConvertedModel

__all__ = ["TextEncoder"]


class TextEncoder:
    """Tokenizer and text tower of a converted model; safe to call from several threads at once.

    Args:
        model: that has a text side.

    Raises:
        InvalidModel: what reads tokenizers is not installed, or cannot read this one.
    """

    def __init__(self, model: ConvertedModel) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise InvalidModel(
                "searching by text needs the package tokenizers: install it with pip install 'imgsearch-local[text]'"
            ) from None
        try:
            self._tokenizer = Tokenizer.from_file(str(model.tokenizer_path))
        except Exception as error:  # the package has no class of its own
            raise InvalidModel(f"the tokenizer of {model.record.name} cannot be read: {error}") from None
        self._graph = Graph(model.text_path, parallel=False)

    def __call__(self, text: str) -> tuple[npt.NDArray[np.float32], bool]:
        """The feature of a text, and whether the text was too long and only its beginning is in it.

        Returns:
            Shape (dimension,), L2-normalised.
        """
        encoding = self._tokenizer.encode(text)
        (feature,) = self._graph(np.array([encoding.ids, encoding.attention_mask], np.int64))
        return normalised(feature), bool(encoding.overflowing)
