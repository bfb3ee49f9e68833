"""A Milvus that is killed and started again: what it has acknowledged is there, and a connection goes on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tenacity

from imgsearch.errors import RemoteUnavailable
from imgsearch.storage.milvus.address import MilvusAddress
from imgsearch.storage.milvus.index import MilvusIndex
from tests.milvus_server import Cable, MilvusServer
from tests.storage.builders import nearest, scattered

pytestmark = pytest.mark.long

COUNT = 200
FEATURES = scattered(COUNT + 20)


@pytest.fixture
def own_server(milvus: MilvusServer) -> Iterator[MilvusServer]:
    """A server of this test; the shared one tells whether there can be any, and sets the password."""
    folder = Path(tempfile.mkdtemp(prefix="imgsearch-milvus-"))
    server = MilvusServer(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_killed_server_has_all_when_it_is_back(own_server: MilvusServer) -> None:
    cable = Cable(own_server.socket)
    index = MilvusIndex(MilvusAddress.parse(f"milvus://127.0.0.1:{cable.port}").named())
    ids, features = np.arange(1, COUNT + 21), FEATURES.astype(np.float16)
    categories = ids % 3
    index.build(1, iter([(ids[:COUNT], categories[:COUNT], features[:COUNT])]))
    index.publish(1)
    index.add(ids[COUNT:], categories[COUNT:], features[COUNT:])
    index.remove(ids[:5])
    own_server.stop()
    with pytest.raises(RemoteUnavailable):
        index.shortlist(FEATURES[:1], 5, [None], number=1)
    own_server.start()
    # It answers before it has loaded its collections again.
    patient = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(RemoteUnavailable),
        wait=tenacity.wait_fixed(0.5),
        stop=tenacity.stop_after_delay(120),
        reraise=True,
    )
    counts = patient(index.count, 1)
    assert sum(counts.values()) == COUNT + 15
    assert index.published() == 1
    (found,) = patient(index.shortlist, FEATURES[210:211], 10, [None], number=1)
    left = [number for number in range(COUNT + 20) if number >= 5]
    assert sorted(found.tolist()) == sorted(ids[nearest(FEATURES, FEATURES[210], 10, left)].tolist())
    index.close()
    cable.close()
