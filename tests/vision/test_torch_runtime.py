"""Running networks with torch: many threads, one device, batches of whatever waits.

Contract: each caller gets what belongs to its picture, or the error; memory that is too short makes batches smaller;
closing ends the thread. What runs here is torch on the CPU, which differs from a GPU in speed and in the last bits.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from imgsearch.errors import DeviceUnusable, InvalidModel
from imgsearch.vision.device_parity import LEAST_COSINE, cosines
from imgsearch.vision.devices import MAX_BATCH, Device
from imgsearch.vision.models import CATEGORY_SIZE, DEFAULT_MODEL, LOCATOR_SIZE, find_model
from imgsearch.vision.openvino_export import ConvertedModel, converted_model
from imgsearch.vision.runtime import Network
from imgsearch.vision.torch_runtime import TorchGraph, TorchRuntime, _named
from tests.conftest import ROOT
from tests.pictures import draw
from tests.torch_on_cpu import BF16, NEEDS_BF16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    Pixels = np.ndarray

pytestmark = [pytest.mark.extended, pytest.mark.networks]

THREAD = "imgsearch-device"


def pictures(count: int, size: int) -> list[Pixels]:
    return [np.asarray(draw(number, (size, size))) for number in range(count)]


def samples(size: int) -> list[Pixels]:
    """One photo of each product of the sample catalogue, and of each query."""
    found = [min(product.iterdir()) for product in sorted((ROOT / "sample_data" / "catalogue").iterdir())]
    found += sorted((ROOT / "sample_data" / "queries").iterdir())
    return [np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in found]


@pytest.fixture
def runtime() -> Iterator[TorchRuntime]:
    with closing(TorchRuntime(Device.parse("torch:cpu"))) as running:
        yield running


class Mean(torch.nn.Module):
    """Tells pictures apart, and takes no time: the mean, and the picture itself."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return pixels.float().mean(dim=(1, 2, 3)), pixels.float()


SIZE = 8


@pytest.fixture
def graph(runtime: TorchRuntime) -> TorchGraph:
    return TorchGraph(runtime, Mean(), SIZE)


def plain(number: int) -> Pixels:
    return np.full((SIZE, SIZE, 3), number, np.uint8)


class Held:
    """A graph whose first batch waits until it is let go; notes the sizes of all batches."""

    def __init__(self, graph: TorchGraph, fail: Callable[[int], Exception | None] = lambda _size: None) -> None:
        self.sizes: list[int] = []
        self._forward, self._fail = graph._forward, fail
        self._begun, self._let_go = Event(), Event()
        self._graph = graph
        graph._forward = self.forward

    def forward(self, batch: Sequence[Pixels]) -> list[list[np.ndarray]]:
        self.sizes.append(len(batch))
        self._begun.set()
        assert self._let_go.wait(60)
        error = self._fail(len(batch))
        if error is not None:
            raise error
        return self._forward(batch)

    def ask(self, count: int, others: Sequence[TorchGraph] = ()) -> list[list[np.ndarray] | Exception]:
        """Ask for one picture, and while it runs for the others; what each thread got."""
        graphs = [self._graph, *others]
        with ThreadPoolExecutor(count) as threads:
            answers = [threads.submit(self._graph, plain(0))]
            assert self._begun.wait(60)
            for number in range(1, count):
                answers.append(threads.submit(graphs[number % len(graphs)], plain(number)))
                self._wait_for(number)
            self._let_go.set()
            return [answer.exception() or answer.result() for answer in answers]

    def _wait_for(self, count: int) -> None:
        while len(self._graph._runtime._calls) < count:
            threading.Event().wait(0.001)


# Batches


def test_what_has_come_while_a_batch_ran_is_the_next_one(graph: TorchGraph) -> None:
    held = Held(graph)
    answers = held.ask(21)
    assert held.sizes == [1, 20]
    for number, (mean, pixels) in enumerate(answers):
        assert mean == number
        assert (pixels == number).all()


def test_no_batch_is_larger_than_there_is_room_for(graph: TorchGraph) -> None:
    held = Held(graph)
    answers = held.ask(MAX_BATCH + 11)
    assert held.sizes == [1, MAX_BATCH, 10]
    assert [mean for mean, _ in answers] == list(range(MAX_BATCH + 11))


def test_a_batch_is_of_one_graph_and_those_that_wait_longest_come_first(
    runtime: TorchRuntime, graph: TorchGraph
) -> None:
    other = TorchGraph(runtime, Mean(), SIZE)
    held = Held(graph)
    order: list[tuple[bool, int]] = []
    run = other.run
    other.run = lambda batch: order.append((False, len(batch))) or run(batch)
    answers = held.ask(10, [other])  # of those that wait, the first is the other one's
    assert order == [(False, 5)]
    assert held.sizes == [1, 4]
    assert [mean for mean, _ in answers] == list(range(10))


def test_answers_are_the_callers_own(graph: TorchGraph) -> None:
    """Buffers are used again, and one answer does not keep a whole batch in memory."""
    _, first = graph(plain(1))
    graph(plain(2))
    assert (first == 1).all()
    assert first.base is None
    assert first.dtype == np.float32


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (SIZE, SIZE, 4), (SIZE + 1, SIZE, 3)])
def test_pixels_of_another_shape_spoil_no_batch(graph: TorchGraph, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="instead of"):
        graph(np.zeros(shape, np.uint8))


# Failures


def test_short_memory_halves_the_batches_from_then_on(graph: TorchGraph) -> None:
    held = Held(graph, lambda size: torch.OutOfMemoryError("CUDA out of memory.") if size > 3 else None)
    answers = held.ask(21)
    assert [mean for mean, _ in answers] == list(range(21))
    assert held.sizes == [1, 20, 10, 5, *[2] * 10]
    held.sizes.clear()
    assert graph.run([plain(number) for number in range(5)])[4][0] == 4
    assert held.sizes == [2, 2, 1]


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"])
def test_no_memory_for_a_single_picture_is_told_to_all_who_wait(graph: TorchGraph, words: str) -> None:
    failing = [True]
    held = Held(graph, lambda _size: RuntimeError(words) if failing else None)
    answers = held.ask(4)
    assert held.sizes == [1, 3, 1]
    for error in answers:
        assert isinstance(error, DeviceUnusable)
        assert "too little memory left for a single picture" in error.message
    failing.clear()
    assert graph(plain(7))[0] == 7  # when somebody has made room


def test_any_other_error_reaches_all_who_wait_and_the_device_goes_on(graph: TorchGraph) -> None:
    failing = [True]
    held = Held(graph, lambda _size: ZeroDivisionError("a bug") if failing else None)
    assert [type(error) for error in held.ask(5)] == [ZeroDivisionError] * 5
    failing.clear()
    assert graph(plain(7))[0] == 7


@pytest.mark.parametrize(
    ("error", "device", "said"),
    [
        (RuntimeError("CUDA error: unspecified launch failure\nMore."), "cuda", "cuda has failed (CUDA error: unsp"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "cuda:1", "cuda:1 has failed (cuDNN error"),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "cuda",
            "cuda has too little memory left (CUDA out",
        ),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "cuda", None),
        (ValueError("CUDA"), "cuda", None),
    ],
)
def test_failures_of_a_gpu_have_a_name(error: Exception, device: str, said: str | None) -> None:
    named = _named(error, Device.parse(device))
    assert (named is None) == (said is None)
    if named is not None and said is not None:
        assert named.message.startswith(said)
        assert named.exit_code == 2


def test_networks_that_do_not_fit_into_the_memory(runtime: TorchRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(Mean):
        def to(self, *_args: object, **_options: object) -> Large:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(DeviceUnusable, match="too little memory left"):
        TorchGraph(runtime, Large(), SIZE)


def test_other_weights_are_refused(runtime: TorchRuntime, tiny: ConvertedModel) -> None:
    with pytest.raises(InvalidModel, match="are not those of"):
        runtime.graph(replace(tiny.record, weights_hash="0" * 64))


# Closing


def device_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def test_closing_ends_the_thread() -> None:
    before = device_threads()
    runtime = TorchRuntime(Device.parse("torch:cpu"))
    graph = TorchGraph(runtime, Mean(), SIZE)
    assert graph(plain(1))[0] == 1
    assert len(device_threads()) == len(before) + 1
    runtime.close()
    runtime.close()
    assert device_threads() == before
    with pytest.raises(RuntimeError, match="given back"):
        graph(plain(1))


def test_closing_lets_nobody_wait(runtime: TorchRuntime, graph: TorchGraph) -> None:
    held = Held(graph)
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(graph, plain(1))
        assert held._begun.wait(60)
        waiting = threads.submit(graph, plain(2))
        held._wait_for(1)
        closed = threads.submit(runtime.close)
        while not runtime._closed:
            threading.Event().wait(0.001)
        held._let_go.set()
        assert running.result()[0] == 1
        with pytest.raises(RuntimeError, match="given back"):
            waiting.result()
        closed.result()


# The networks


@pytest.fixture(scope="module")
def model(cache: Path) -> ConvertedModel:
    return converted_model(find_model(DEFAULT_MODEL), cache)


@pytest.fixture(scope="module")
def on_cpu(model: ConvertedModel, cache: Path) -> Network:
    return Network(model, cache, parallel=True)


@pytest.fixture(scope="module", params=["torch:cpu", pytest.param(BF16, marks=NEEDS_BF16)])
def on_torch(request: pytest.FixtureRequest, model: ConvertedModel, cache: Path) -> Iterator[Network]:
    with closing(Network(model, cache, parallel=True, device=request.param)) as network:
        yield network


def ranked(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """The ten nearest of the gallery for each query."""
    return np.argsort(-(queries @ gallery.T), axis=1)[:, :10]


def test_features_match_those_of_openvino(on_cpu: Network, on_torch: Network) -> None:
    """Closely enough for the same lists, whichever has made the gallery."""
    images = samples(on_cpu.input_size)
    with ThreadPoolExecutor(16) as threads:
        theirs, ours = (
            np.stack([feature for feature, _ in threads.map(network.embed, images)]) for network in (on_cpu, on_torch)
        )
    assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
    assert np.linalg.norm(ours, axis=1) == pytest.approx(1, abs=1e-3)
    assert cosines(ours, theirs).min() >= LEAST_COSINE
    products = len(images) // 2
    queries = theirs[products:]
    alike = ranked(queries, theirs[:products]), ranked(queries, ours[:products])
    assert (alike[0][:, 0] == alike[1][:, 0]).mean() >= 0.97
    assert np.mean([len(set(one) & set(other)) for one, other in zip(*alike, strict=True)]) >= 9.5


def test_subjects_and_categories_match_too(on_cpu: Network, on_torch: Network) -> None:
    whole, regions = samples(LOCATOR_SIZE)[:8], samples(CATEGORY_SIZE)[:8]
    for one, other in zip(map(on_cpu.locate, whole), map(on_torch.locate, whole), strict=True):
        assert np.abs(one[0] - other[0]).mean() < 0.05
        assert one[1].argmax() == other[1].argmax()
    for one, other in zip(map(on_cpu.categorise, regions), map(on_torch.categorise, regions), strict=True):
        assert one.shape == other.shape
        assert np.corrcoef(one, other)[0, 1] > 0.99


def test_the_company_shows_in_the_last_bits_at_most(tiny: ConvertedModel, cache: Path) -> None:
    images = pictures(24, tiny.record.input_size)
    with closing(Network(tiny, cache, parallel=True, device="torch:cpu")) as network:
        alone = [network.embed(image)[0] for image in images]
        with ThreadPoolExecutor(24) as threads:
            crowded = list(threads.map(lambda number: network.embed(images[number % 24])[0], range(96)))
    for number, feature in enumerate(crowded):
        assert np.abs(feature - alone[number % 24]).max() < 1e-4


def test_coded_features_are_codes(tiny: ConvertedModel, cache: Path) -> None:
    coded = ConvertedModel(tiny.folder, replace(tiny.record, bits=2))
    (image,) = pictures(1, tiny.record.input_size)
    with closing(Network(coded, cache, parallel=True, device="torch:cpu")) as network:
        assert len(np.unique(network.embed(image)[0])) <= 4


# A GPU


def test_a_gpu_runs_many_threads_pictures(gpu: str, model: ConvertedModel, on_cpu: Network, cache: Path) -> None:
    images = samples(on_cpu.input_size) * 4
    with closing(Network(model, cache, parallel=True, device=gpu)) as network, ThreadPoolExecutor(64) as threads:
        ours = np.stack([feature for feature, _ in threads.map(network.embed, images)])
    theirs = np.stack([on_cpu.embed(image)[0] for image in images[: len(images) // 4]])
    assert cosines(ours, np.tile(theirs, (4, 1))).min() >= LEAST_COSINE


def test_a_gpu_that_is_nearly_full_takes_smaller_batches(gpu: str, model: ConvertedModel, cache: Path) -> None:
    images = samples(model.record.input_size)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        with closing(Network(model, cache, parallel=True, device=gpu)) as network:
            alone = network.embed(images[0])[0]
            torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**28) / total)
            with ThreadPoolExecutor(64) as threads:
                crowded = list(threads.map(network.embed, images))
        assert cosines(crowded[0][0][np.newaxis], alone[np.newaxis]).min() > 0.999
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
