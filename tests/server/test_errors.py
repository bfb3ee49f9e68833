"""Every error has a status of HTTP, and one that passes by itself says when to ask again."""

from __future__ import annotations

import inspect

import pytest

from imgsearch import errors
from imgsearch.errors import ImgsearchError, InstanceLocked
from imgsearch.server.errors import RequestRefused, retry_after, status_of

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ImgsearchError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_status_follows_from_whose_fault_it_is(kind: type[ImgsearchError]) -> None:
    """The request's: 400; a lock: 409; memory, or a database that is away: 503; the server's: 500."""
    error = kind("what is wrong")
    expected = {"InstanceLocked": 409, "MemoryRefused": 503, "RemoteUnavailable": 503, "ImgsearchError": 500}
    if kind.__name__ in expected:
        assert status_of(error) == expected[kind.__name__]
    elif issubclass(kind, errors.InstanceUnusable | errors.StorageError):
        assert status_of(error) == 500
    else:
        assert status_of(error) == 400
    assert retry_after(error) == (1000 if isinstance(error, InstanceLocked) else None)


def test_a_refusal_has_its_own() -> None:
    refused = RequestRefused("too many", code="Throttling.User", status=429, retry_after=7)
    assert (status_of(refused), retry_after(refused), refused.code) == (429, 7, "Throttling.User")
