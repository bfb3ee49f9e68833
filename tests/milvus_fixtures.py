"""A Milvus for the tests that need one: started once by each process that runs some."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imgsearch.storage.milvus.address import MilvusAddress
from imgsearch.storage.milvus.index import MilvusIndex
from tests.milvus_server import Cable, MilvusServer, shared_server, why_not


@pytest.fixture(scope="session")
def milvus() -> MilvusServer:
    """A running server, which tests leave alone but for collections of their own."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"no Milvus: {reason}")
    return shared_server()[0]


@pytest.fixture(scope="session")
def milvus_port(milvus: MilvusServer) -> int:
    """A port on 127.0.0.1 that leads to it for as long as the tests run."""
    return shared_server()[1].port


@pytest.fixture
def milvus_address(milvus_port: int) -> MilvusAddress:
    """An address with a name of collections that no other test has."""
    return MilvusAddress.parse(f"milvus://127.0.0.1:{milvus_port}").named()


@pytest.fixture
def milvus_index(milvus_address: MilvusAddress) -> Iterator[MilvusIndex]:
    """An index without generations; what a test leaves there is dropped."""
    index = MilvusIndex(milvus_address)
    yield index
    for number in index.numbers():
        index.drop(number)
    index.close()


@pytest.fixture
def cable(milvus: MilvusServer) -> Iterator[Cable]:
    """A cable to the server for one test, which may pull it out."""
    made = Cable(milvus.socket)
    yield made
    made.close()
