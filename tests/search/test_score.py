"""What a cosine becomes: Score and relevance rise with it, and only an identical picture reaches the maximum."""

from __future__ import annotations

import json
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsearch.search.score import (
    MAX_SCORE,
    RIVAL_CEILING,
    RIVAL_FLOOR,
    Calibration,
    Rivals,
    cosines,
    hamming,
)
from tests.storage.builders import DIMENSION, child, clustered, finished, scattered

slopes = st.floats(0.1, 100)
offsets = st.floats(-50, 50)
similarities = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=20)


@given(slope=slopes, offset=offsets, values=similarities)
@settings(deadline=None)
def test_scores_rise_with_the_cosine_and_stay_below_one(slope: float, offset: float, values: list[float]) -> None:
    scores = Calibration(slope, offset).scores(np.array(sorted(values), np.float32))
    assert (np.diff(scores) >= 0).all()
    assert scores[0] >= 0
    assert scores[-1] <= MAX_SCORE == 0.999999


def test_scores_tell_cosines_apart_where_it_matters() -> None:
    """Half is where slope and offset say: at tanh(0.7); towards cosine 1 Score reaches its greatest value."""
    values = np.tanh(np.array([-9, 0, 0.6, 0.7, 0.8, 1.5])).astype(np.float32)
    scores = Calibration(20.0, -14.0).scores(values)
    assert scores[3] == pytest.approx(0.5, abs=1e-4)
    assert scores[2] == pytest.approx(1 - scores[4], abs=1e-4)
    assert (np.diff(scores) > 0).all()
    assert scores[4] - scores[2] > 0.7
    assert Calibration(3.0, -4.0).scores(np.ones(1, np.float32))[0] > 0.99


@pytest.mark.parametrize("slope", [1e3, 1e9])
def test_extreme_calibrations_neither_overflow_nor_reach_one(slope: float) -> None:
    scores = Calibration(slope, 0.0).scores(np.array([-1, 0, 1], np.float32))
    assert scores.tolist() == [pytest.approx(0, abs=1e-12), 0.5, MAX_SCORE]


@pytest.mark.parametrize("dimension", [2, DIMENSION, 250, 1280])
def test_hamming_distance_of_equal_opposite_and_unrelated_features(dimension: int) -> None:
    """0 for equal ones, 512 for opposite ones, 256 give or take for what has nothing in common; symmetric."""
    features = scattered(60, 3, dimension)
    distances = np.stack([hamming(feature, features) for feature in features])
    assert (np.diag(distances) == 0).all()
    assert (distances == distances.T).all()
    assert hamming(features[0], -features).tolist()[0] == 512
    if dimension >= DIMENSION:
        assert abs(distances[~np.eye(60, dtype=bool)].mean() - 256) < 10


def test_hamming_distance_grows_with_the_angle() -> None:
    """The share of differing bits is the angle's share of a half turn (Charikar, STOC 2002)."""
    start, other = scattered(2, 5)
    side = other - (other @ start) * start
    side /= np.linalg.norm(side)
    angles = np.linspace(0, np.pi, 9, dtype=np.float32)
    turned = np.cos(angles)[:, None] * start + np.sin(angles)[:, None] * side
    distances = hamming(start, turned.astype(np.float32))
    assert (np.diff(distances) > 0).all()
    assert np.abs(distances - 512 * angles / np.pi).max() < 45  # about four standard deviations


def test_codes_are_the_same_in_another_process() -> None:
    """Distances can be compared between runs and machines: nothing of a code depends on the process."""
    features = clustered(40, 9)
    code = (
        "import json, sys, numpy as np\n"
        "from imgsearch.search.score import hamming\n"
        "features = np.array(json.loads(sys.stdin.read()), np.float32)\n"
        "print(json.dumps(hamming(features[0], features).tolist()))"
    )
    process = child(code)
    assert process.stdin is not None
    process.stdin.write(json.dumps(features.tolist()))
    process.stdin.flush()
    assert json.loads(finished(process)) == hamming(features[0], features).tolist()


def test_codes_never_change() -> None:
    """A regression value: distances that people have stored stay comparable from release to release."""
    ramp = np.linspace(-1, 1, 8, dtype=np.float32)
    assert hamming(ramp, np.stack([ramp, ramp[::-1], np.roll(ramp, 1), np.abs(ramp)])).tolist() == [0, 512, 187, 261]


@pytest.mark.parametrize("dimension", [3, DIMENSION, 250, 1280])
def test_equal_features_have_equal_cosines_wherever_they_stand(dimension: int) -> None:
    """Otherwise rounding would put equal items into a random order; and the cosines are right."""
    features = scattered(301, 1, dimension)
    features[::3] = features[0]
    query = scattered(1, 2, dimension)[0]
    values = cosines(query, features)
    assert len(set(values[::3].tolist())) == 1
    assert {cosines(query, features[:n])[0] for n in (1, 2, 7, 100)} == {values[0]}
    assert np.allclose(values, features.astype(np.float64) @ query, atol=1e-6)


# What a result competes with


@given(
    values=st.lists(st.tuples(st.sampled_from("abcd"), st.floats(-1, 1, width=32)), min_size=1, max_size=30),
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_rivals_are_the_two_best_products_whatever_the_order(values: list[tuple[str, float]], order: Random) -> None:
    """A product counts once, with its best picture; each within the bounds."""
    best = {name: max(value for one, value in values if one == name) for name, _ in values}
    bounded = sorted((min(max(value, RIVAL_FLOOR), RIVAL_CEILING) for value in best.values()), reverse=True)
    first, second, *_ = [*bounded, RIVAL_FLOOR]
    shuffled = list(values)
    order.shuffle(shuffled)
    for some in (values, shuffled):
        names, numbers = zip(*some, strict=True)
        rivals = Rivals.of(np.array([*map(ord, names)]), np.array(numbers, np.float32))
        assert (rivals.best, rivals.second) == (pytest.approx(first), pytest.approx(second))


def test_one_product_alone_competes_with_one_that_a_larger_catalogue_would_have() -> None:
    alone = Rivals.of(np.array([3, 3]), np.array([0.7, 0.6], np.float32))
    assert (alone.best, alone.second) == (pytest.approx(0.7), RIVAL_FLOOR)
    assert Rivals.of(np.zeros(0, np.int64), np.zeros(0, np.float32)) == Rivals()


def test_the_same_similarity_means_less_where_other_products_reach_it_too() -> None:
    """Within a query Score rises with the similarity; across queries it falls with what competes."""
    curve = Calibration(24.0, -1.6, -9.5, -13.7)
    similarity = np.array([0.6], np.float32)
    (clear,) = curve.scores(similarity, Rivals(0.6, RIVAL_FLOOR))
    (contested,) = curve.scores(similarity, Rivals(0.6, 0.58))
    (behind,) = curve.scores(similarity, Rivals(0.8, 0.6))
    assert clear > 0.9
    assert clear > contested > behind
    assert behind < 0.1
    rising = curve.scores(np.linspace(-1, 1, 100).astype(np.float32), Rivals(0.8, 0.6))
    assert (np.diff(rising) >= 0).all()


def test_a_curve_without_rivals_is_that_of_older_features() -> None:
    values = np.array([0.1, 0.5, 0.9], np.float32)
    older = Calibration(7.84, -4.79)
    assert older.scores(values, Rivals(0.9, 0.9)).tolist() == older.scores(values).tolist()
