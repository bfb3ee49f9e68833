"""What OpenVINO is told: code that was compiled with other settings must not be taken for the right one."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from imgsearch.vision.compile_settings import COMPILED, compile_settings, done_mark
from imgsearch.vision.precision import BF16, F32

MODEL = Path("/cache/models/one/model.xml")


def test_each_precision_has_a_folder_of_its_own_beside_the_model() -> None:
    folders = {
        Path(compile_settings(MODEL, precision, cores=2, parallel=False)["CACHE_DIR"])
        for precision in (None, F32, BF16)
    }
    assert len(folders) == 3
    assert all(folder.parent == MODEL.parent and folder.name.startswith(COMPILED) for folder in folders)


def test_the_mark_tells_all_apart_that_is_compiled_apart() -> None:
    settings = [
        compile_settings(MODEL, precision, cores=cores, parallel=parallel)
        for precision, cores, parallel in product((None, F32, BF16), (2, 4), (True, False))
    ]
    assert len({done_mark(one) for one in settings}) == len(settings)


def test_parallel_pictures_have_a_core_each() -> None:
    assert compile_settings(MODEL, None, cores=4, parallel=True)["NUM_STREAMS"] == "4"
    alone = compile_settings(MODEL, F32, cores=4, parallel=False)
    assert (alone["NUM_STREAMS"], alone["INFERENCE_NUM_THREADS"]) == ("1", "4")
    assert alone["INFERENCE_PRECISION_HINT"] == F32
