"""The devices that an instance's features were made with, as far as they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from imgsearch.vision.devices import CPU_LABEL

if TYPE_CHECKING:
    from imgsearch.storage.port import Truth

__all__ = ["DEVICES", "devices_of", "note_device"]

DEVICES: Final = "devices"
"""The setting that lists what has made features, once that is not the CPU alone."""


def devices_of(store: Truth) -> list[str]:
    """What an instance's features were made with, in the order of their coming; imported ones do not tell."""
    listed: list[str] = store.settings().get(DEVICES, [])
    return listed or ([CPU_LABEL] if store.count() else [])


def note_device(store: Truth, device: str) -> None:
    """Have the instance remember a device, in the commit that brings the first of its features."""
    known = devices_of(store)
    if device not in (known or [CPU_LABEL]):
        store.set_setting(DEVICES, [*known, device])
