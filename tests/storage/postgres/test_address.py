"""Addresses have one form, as URLs and as paths, and keep no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("psycopg")

from imgsearch.errors import UsageError
from imgsearch.storage.backends import has_password, is_remote, located
from imgsearch.storage.postgres.address import Address

FORMS = {
    "postgresql://u@h:5/db?schema=s": {"user": "u", "host": "h", "port": "5", "dbname": "db"},
    "postgres://h/db": {"host": "h", "dbname": "db"},
    "postgresql:///db": {"dbname": "db"},
    "postgresql:///db?host=/var/run/pg&port=5": {"dbname": "db", "host": "/var/run/pg", "port": "5"},
    "postgresql://%2Fvar%2Frun/db": {"dbname": "db", "host": "/var/run"},
    "postgresql://a:1,b:2/db?sslmode=verify-full&sslrootcert=/etc/ca.pem": {
        "host": "a,b",
        "port": "1,2",
        "dbname": "db",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ca.pem",
    },
    "postgresql://[::1]:5/db": {"host": "::1", "port": "5", "dbname": "db"},
    "postgresql://u%40x@h/d%2Fb": {"user": "u@x", "host": "h", "dbname": "d/b"},
    "postgresql://h": {"host": "h"},
    "postgresql:///db?host=+a%20b": {"host": "+a b", "dbname": "db"},
    "postgresql://./db": {"host": ".", "dbname": "db"},
}


@pytest.mark.parametrize("text", FORMS)
def test_all_forms_come_through(text: str) -> None:
    """As a URL, as a path that has lost slashes, and as the path that the program hands on."""
    address = Address.parse(text)
    assert address.connection_options() == FORMS[text]
    place = located(text)
    assert str(place) == address.url
    assert place.name == address.schema
    for again in (address.url, str(place), str(Path(place)), str(place.resolve()), str(place.absolute())):
        assert Address.parse(again) == address
        assert located(again) == place


def test_the_schema_is_part_of_it() -> None:
    assert Address.parse("postgresql://h/db").schema == "imgsearch"
    assert Address.parse("postgresql://h/db?schema=shop&connect_timeout=3").schema == "shop"
    for wrong in ("Shop", "1a", "pg_shop", "a-b", "", "x" * 64, 'a"b', "ä"):
        with pytest.raises(UsageError, match="schema"):
            Address.parse(f"postgresql://h/db?schema={wrong}")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:s3cret@h/db?schema=x",
        "postgresql://u@h/db?password=s3cret",
        "postgresql://u:s3cret@h/db?nonsense=1",
        "postgresql://u@h/db?password=s3cret&nonsense=1",
        "postgresql://u:s3cret@h/db?schema=WRONG",
        "postgresql://@u:s3cret@h",
        "postgresql://@u:s3cret@h/db",
    ],
)
def test_no_secret_is_printed(text: str) -> None:
    """Not even in the message about an address that is not valid; the process itself has it."""
    if any(part in text for part in ("nonsense", "WRONG", "//@")):
        with pytest.raises(UsageError) as refused:
            Address.parse(text)
        assert "s3cret" not in refused.value.message
        return
    address = Address.parse(text)
    assert "s3cret" not in address.url + repr(address) + str(address.place) + repr(address.place)
    assert address.connection_options()["password"] == "s3cret"
    assert Address.parse(address.url).connection_options()["password"] == "s3cret"
    assert has_password(text)


@pytest.mark.parametrize("text", ["postgresql://h/d?a\udc8f=1", "postgresql://u:s3cret@h\n/d", "postgresql://h/\x00"])
def test_characters_of_no_text_are_refused(text: str) -> None:
    """A shell passes bytes that are not UTF-8 as halves of characters."""
    with pytest.raises(UsageError, match="characters of no address") as refused:
        Address.parse(text)
    assert refused.value.message.isprintable()
    assert "s3cret" not in refused.value.message


def test_folders_are_no_addresses() -> None:
    for name in ("shop", "./postgresql", "/postgresql:", "postgres"):
        assert not is_remote(name)
        assert located(name) == Path(name)
