"""Addresses of an index in Milvus: what they say, what they refuse, and that they never have a secret."""

from __future__ import annotations

import pytest

from imgsearch.errors import UsageError
from imgsearch.storage.milvus.address import MilvusAddress, is_milvus

PARSED = {
    "milvus://host": ("host", 19530, "", False, "http://host:19530"),
    "milvus://host:1234/shop": ("host", 1234, "shop", False, "http://host:1234"),
    "milvuss://host/": ("host", 19530, "", True, "https://host:19530"),
    "milvus://[::1]:5/": ("::1", 5, "", False, "http://[::1]:5"),
}


@pytest.mark.parametrize("text", PARSED)
def test_an_address_names_a_server(text: str) -> None:
    address = MilvusAddress.parse(text)
    assert (address.host, address.port, address.database, address.tls, address.uri) == PARSED[text]
    assert is_milvus(text)


@pytest.mark.parametrize(
    "text",
    [
        "milvus://host:19530",
        "milvuss://host:1/db?collection=a_1&timeout=2.5&replicas=3&ca=/etc/ca.pem",
        "milvus://[::1]:5",
    ],
)
def test_an_address_written_out_is_the_same(text: str) -> None:
    address = MilvusAddress.parse(text)
    assert MilvusAddress.parse(str(address)) == address
    assert str(address) == text


def test_parameters_have_their_values() -> None:
    address = MilvusAddress.parse("milvuss://h/?collection=shop&timeout=2.5&replicas=3&ca=/ca.pem")
    assert (address.collection, address.timeout, address.replicas, address.ca) == ("shop", 2.5, 3, "/ca.pem")


def test_collections_get_a_name_of_their_own() -> None:
    """Unless they have one; two instances never share one by chance."""
    given, other = MilvusAddress.parse("milvus://h?collection=shop"), MilvusAddress.parse("milvus://h")
    assert given.named() == given
    assert other.named().collection.startswith("imgsearch_")
    assert other.named() != other.named()


REFUSED = {
    "http://host": "an address of Milvus is",
    "milvus://": "an address of Milvus is",
    "milvus:host": "an address of Milvus is",
    "milvus://host:0": "an address of Milvus is",
    "milvus://host:99999": "[Pp]ort",
    "milvus://host:a": "[Pp]ort",
    "milvus://host#part": "an address of Milvus is",
    "milvus://host/a/b": "cannot be the name of a database",
    "milvus://host/1": "cannot be the name of a database",
    "milvus://host?colection=a": "no parameter 'colection'",
    "milvus://host?collection=": "'collection'.* is wrong",
    "milvus://host?collection=a-b": "'collection'.* is wrong",
    "milvus://host?collection=a&collection=b": "twice",
    "milvus://host?timeout=0": "'timeout'.* is wrong",
    "milvus://host?timeout=nan": "'timeout'.* is wrong",
    "milvus://host?timeout=x": "'timeout'.* is wrong",
    "milvus://host?replicas=0": "'replicas'.* is wrong",
    "milvuss://host?ca=here.pem": "absolute path",
    "milvus://host?ca=/ca.pem": "needs TLS",
    "milvuss://host?ca=/a\udcf2": "characters of no address",
    "milvus://host\n": "characters of no address",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[text]):
        MilvusAddress.parse(text)


@pytest.mark.parametrize("text", ["milvus://me:secret@host", "milvuss://secret@host:1/db"])
def test_credentials_are_refused_and_not_repeated(text: str) -> None:
    """An address is stored; the message names the variable to set."""
    with pytest.raises(UsageError, match="IMGSEARCH_MILVUS_TOKEN") as told:
        MilvusAddress.parse(text)
    assert "secret" not in str(told.value)
