"""Settings of the instance as a whole, stored in two tables so that one can repair the other."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from imgsearch.quantization import Coding
from imgsearch.storage.checksum import row_checksum
from imgsearch.storage.records import PROJECTION, TUNED
from imgsearch.storage.sqlite.rows import Rows, translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgsearch.projection import Projection

__all__ = ["SETTING_TABLES", "Settings"]

SETTING_TABLES: Final = ("settings", "settings_copy")


class Settings(Rows):
    """The settings of an instance."""

    _codings: list[Coding] | None = None
    """Inside ``reading``: the layout of features, once it has been read."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Reads inside this block see one snapshot."""
        outer = self._codings
        with super().reading():
            self._codings = [] if outer is None else outer
            try:
                yield
            finally:
                self._codings = outer

    @property
    def coding(self) -> Coding:
        """How stored features are laid out, as of this snapshot: a reindex may change it."""
        known = [] if self._codings is None else self._codings
        if not known:
            row = self._connection.execute("SELECT name, value, seal FROM settings WHERE name = 'model'").fetchone()
            self._verify_rows([] if row is None else [row])
            known.append(Coding.of(None if row is None else json.loads(row[1])))
        return known[0]

    @translated
    def settings(self) -> dict[str, Any]:
        """All settings, given to ``create`` or set since."""
        rows = self._connection.execute("SELECT name, value, seal FROM settings").fetchall()
        self._verify_rows(rows)
        return {name: json.loads(value) for name, value, _ in rows}

    @translated
    def made_by(self) -> dict[str, Any]:
        """The model that computed the features: the one given to ``create``, or the one of the last reindex."""
        row = self._connection.execute("SELECT name, value, seal FROM settings WHERE name = 'model'").fetchone()
        if row is None:
            raise self.damage("the setting 'model'")
        self._verify_rows([row])
        model: dict[str, Any] = json.loads(row[1])
        return model

    def set_setting(self, name: str, value: Any) -> None:
        """Add or change a setting in both tables."""
        row = (name, json.dumps(value))
        for table in SETTING_TABLES:
            self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (*row, row_checksum(*row)))

    @translated
    def tuning(self) -> Projection | None:
        """The projection applied to all stored features, as of this snapshot; None without one.

        Raises:
            InstanceDamaged: it is corrupted.
        """
        return self._known_tuning()

    def set_tuning(self, tuning: Projection | None) -> None:
        """Record the projection; the caller must apply it to all stored features in the same commit."""
        if tuning is not None:
            self.set_setting(TUNED, tuning.name)
            self.set_setting(PROJECTION, tuning.as_text())
            return
        for table in SETTING_TABLES:
            self._connection.execute(f"DELETE FROM {table} WHERE name IN (?, ?)", (TUNED, PROJECTION))

    def _setting(self, name: str) -> Any:
        row = self._connection.execute("SELECT name, value, seal FROM settings WHERE name = ?", (name,)).fetchone()
        if row is None:
            return None
        self._verify_rows([row])
        return json.loads(row[1])
