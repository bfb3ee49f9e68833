"""Addresses of pictures, buckets, databases and indexes: text becomes an address that it names again, or is refused."""

from __future__ import annotations

from fuzz.checks import INPUT, REMOTE, USAGE, check_error
from imgsearch.errors import ImgsearchError
from imgsearch.sources.http.link import Link
from imgsearch.sources.oss.address import OssAddress, check_role_arn, endpoint_region, endpoint_url
from imgsearch.storage.milvus.address import MilvusAddress, is_milvus
from imgsearch.storage.postgres.address import Address


def target(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for check in (_link, _bucket, _endpoint, check_role_arn, _index, _database):
        try:
            check(text)
        except ImgsearchError as error:
            check_error(error, INPUT, REMOTE, USAGE)


def _link(text: str) -> None:
    link = Link.parse(text)
    assert link.port > 0
    assert Link.parse(link.url).url == link.url
    first, _, second = text.partition(" ")
    Link.parse(first).joined(second)


def _bucket(text: str) -> None:
    address = OssAddress.parse(text)
    assert OssAddress.parse(str(address)) == address
    assert address.manifest_key.startswith(address.prefix)
    assert address.manifest.startswith(str(address))


def _endpoint(text: str) -> None:
    try:
        assert endpoint_region(endpoint_url(None, text or None)) == text
    except ImgsearchError as error:
        check_error(error, REMOTE, USAGE)
    url = endpoint_url(text, None)
    assert endpoint_url(url, None) == url
    endpoint_region(url)


def _index(text: str) -> None:
    address = MilvusAddress.parse(text)
    assert is_milvus(text)
    assert MilvusAddress.parse(str(address)) == address
    assert address.uri.endswith(str(address.port))
    assert address.server.endswith(str(address.port))
    assert address.named().collection


def _database(text: str) -> None:
    address = Address.parse(text)
    assert Address.parse(address.url) == address
    assert Address.parse(str(address.place)) == address
    assert address.place.resolve() == address.place == address.place.absolute()
    assert address.place.name == address.schema
    if address.has_secret:
        assert set(dict(address.parameters)) < set(address.connection_options())
