"""The graphs of the embedded models for OpenVINO, built straight from their weights and our trained parameters.

``model_builder`` puts the same networks together as torch modules, for training, for GPUs and for all other models; a
test holds the two against each other. Needs OpenVINO, which importing this module loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from imgsearch.vision.efficientnet_lite import EfficientNetLite, folded
from imgsearch.vision.model_builder import MAX_FEATURE_DIMENSION
from imgsearch.vision.model_weights import weights_file
from imgsearch.vision.models import CATEGORISER, CATEGORY_SIDES, LOCATOR
from imgsearch.vision.network_constants import (
    BACKGROUND_WEIGHT,
    CENTRE_WIDTH,
    CHROMA_BINS,
    CHROMA_LIMIT,
    COLOUR_SHARE,
    DIFFERENCE_RANGE,
    GEM_FLOOR,
    GEM_POWER,
    JOINED_WEIGHT,
    LEAST_DIFFERENCE,
    LIGHTNESS_BINS,
    MOST_EXPOSURE,
    NEVER,
    SIDE,
    SRGB_TO_XYZ,
    STAGE_CHANNELS,
    STAGES,
    WHITE,
    classifier_projection,
)
from imgsearch.vision.openvino_compat import load_openvino
from imgsearch.vision.opset_operations import (
    between,
    bilinear,
    constant,
    convolved,
    indexed,
    linear,
    mean_of_places,
    normalised,
    opset,
    summed,
    with_axis,
)
from imgsearch.vision.state_dict import read_state_dict
from imgsearch.vision.trained_weights import CATEGORY, COLOUR, HEAD, SHAPE, load_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from imgsearch.vision.models import ModelRecord

    Array = npt.NDArray[np.generic]
    Parameters = dict[str, Array]

__all__ = ["build", "can_build"]

DECODER_EPSILON: Final = 1e-5
"""Of the batch normalisations of what finds subjects."""


def can_build(record: ModelRecord) -> bool:
    """Whether a record's networks are built here; all others are converted with the help of torch."""
    known = all(EfficientNetLite.knows(part.architecture) for part in (record, *record.joined_records))
    return known and record.input_size > 0


def build(record: ModelRecord) -> tuple[Any, int]:
    """The graph of a record's purpose, and the length of its first output.

    Args:
        record: complete but for the dimension; ``can_build`` it.

    Returns:
        An OpenVINO model: uint8 pixels (1, size, size, 3) in, float32 out as ``runtime.Network`` describes it.

    Raises:
        InvalidModel: the weights are missing, altered, unreadable or do not fit.
    """
    pixels = opset.parameter([1, record.input_size, record.input_size, 3], np.uint8, name="pixels")
    colours = opset.convert(opset.transpose(pixels, opset.constant(np.array([0, 3, 1, 2], np.int64))), "f32")
    if record.purpose == LOCATOR:
        outputs = _locator(record, _network(record), colours)
    else:
        networks = [_network(part) for part in (record, *record.joined_records)]
        make = _categoriser if record.purpose == CATEGORISER else _embedder
        outputs = make(record, networks, colours)
    return load_openvino().Model(outputs, [pixels], record.purpose), int(outputs[0].get_output_shape(0)[1])


def _network(record: ModelRecord) -> EfficientNetLite:
    path = weights_file(record)
    assert path is not None
    return EfficientNetLite(record.architecture, read_state_dict(path), path)


# Features


def _embedder(record: ModelRecord, networks: list[EfficientNetLite], colours: Any) -> list[Any]:
    """The feature and, where there is one, the category evidence; ``embedder.Embedder`` is the same for torch."""
    scale = 1.0 / (255.0 * np.array(record.std))
    shift = -np.array(record.mean) / np.array(record.std)
    planes = opset.add(
        opset.multiply(colours, constant(scale.reshape(1, 3, 1, 1))), constant(shift.reshape(1, 3, 1, 1))
    )
    category = load_parameters(CATEGORY)
    sizes = [record.input_size, *(joined.input_size for joined in record.joined_records)]
    pooled, shares = [], []
    for network, size, name in zip(networks, sizes, record.evidence_names, strict=True):
        _, maps = network.maps(planes if size == record.input_size else bilinear(planes, size))
        pooled.append(_pooled(maps))
        if name is not None:
            shares.append(_evidence(mean_of_places(maps), network, name, category))
    if len(pooled) > 1:
        parts = [normalised(vectors) for vectors in pooled]
        others = [opset.multiply(part, constant(JOINED_WEIGHT)) for part in parts[1:]]
        vectors = opset.concat([parts[0], *others], 1)
    else:
        vectors = pooled[0]
    feature = _shape(record, networks[0])(vectors)
    if record.has_colour:
        block = _colour(colours, load_parameters(COLOUR), normalises_exposure=record.normalises_exposure)
        block = opset.multiply(block, constant(COLOUR_SHARE))
        feature = normalised(opset.concat([feature, block], 1))
    return [feature, _sum(shares)] if shares else [feature]


def _sum(shares: list[Any]) -> Any:
    total = shares[0]
    for share in shares[1:]:
        total = opset.add(total, share)
    return total


def _pooled(maps: Any) -> Any:
    """Generalised mean with a weight on the centre: ``embedder.pooled_for_search``."""
    rows, columns = maps.get_output_shape(0)[2:]
    down, right = (np.linspace(-1, 1, side) ** 2 for side in (rows, columns))
    weights = np.exp(-(down[:, None] + right[None, :]) / (2 * CENTRE_WIDTH**2))
    powers = opset.power(opset.maximum(maps, constant(GEM_FLOOR)), constant(GEM_POWER))
    weighted = summed(opset.multiply(powers, constant((weights / weights.sum())[None, None])), 2, 3)
    return opset.power(weighted, constant(1.0 / GEM_POWER))


def _shape(record: ModelRecord, network: EfficientNetLite) -> Callable[[Any], Any]:
    """From activations, shape (1, channels), to the shape block."""
    if record.joined:
        if not record.has_colour:
            return _projection(load_parameters(HEAD))
        parameters = load_parameters(SHAPE)
        trained, plain = (_projection(parameters, prefix) for prefix in ("trained_", "plain_"))

        def both(vectors: Any) -> Any:
            parts = opset.concat([trained(vectors), plain(normalised(vectors))], 1)
            return normalised(linear(normalised(parts), parameters["reduction"]))

        return both
    colours = load_parameters(COLOUR)["projection"].shape[1] if record.has_colour else 0
    projection = classifier_projection(network.classifier[0], MAX_FEATURE_DIMENSION - colours)
    return lambda vectors: normalised(linear(vectors, projection))


def _projection(parameters: Parameters, prefix: str = "") -> Callable[[Any], Any]:
    """``embedder.ProjectedShape.of``."""
    projection = parameters[f"{prefix}projection"].astype(np.float32)
    if (scale := parameters.get(f"{prefix}scale")) is not None:
        projection = projection * scale.astype(np.float32)
    origin = parameters[f"{prefix}origin"]
    return lambda vectors: normalised(linear(opset.subtract(vectors, constant(origin.reshape(1, -1))), projection))


# Colours


def _colour(colours: Any, parameters: Parameters, *, normalises_exposure: bool) -> Any:
    """The colour block of RGB in 0..255, shape (1, 3, rows, columns): ``colour.ColourBlock``."""
    histogram = _histogram(colours, normalises_exposure=normalises_exposure)
    centred = opset.subtract(histogram, constant(parameters["origin"].reshape(1, -1)))
    return normalised(linear(centred, parameters["projection"]))


def _histogram(colours: Any, *, normalises_exposure: bool) -> Any:
    """Shape (1, 196): ``colour.colour_histogram``."""
    small = opset.adaptive_avg_pool(colours, opset.constant(np.array([SIDE, SIDE], np.int64)))
    planes = opset.divide(small, constant(255.0))
    lab = _lab(_exposed(planes) if normalises_exposure else planes)
    inside = (opset.constant(np.array([number], np.int64)) for number in (1, -1, 1, 2))
    middle_rows = opset.slice(lab, *inside)
    edges = [indexed(lab, 0, 2), indexed(lab, -1, 2), indexed(middle_rows, 0, 3), indexed(middle_rows, -1, 3)]
    border = opset.concat(edges, 2)
    # The median: the largest of the smaller half and one more.
    half = border.get_output_shape(0)[2] // 2
    least = opset.topk(border, opset.constant(np.int64(half + 1)), 2, "min", "value").output(0)
    background = indexed(least, half, 2)
    distances = opset.subtract(lab, with_axis(background, 2, 3))
    difference = opset.sqrt(summed(opset.multiply(distances, distances), 1))
    places = np.linspace(-1, 1, SIDE) ** 2
    central = np.exp(-(places[:, None] + places[None, :]) / (2 * CENTRE_WIDTH**2))
    rising = opset.divide(opset.subtract(difference, constant(LEAST_DIFFERENCE)), constant(DIFFERENCE_RANGE))
    subject = opset.add(between(rising, 0.0, 1.0), constant(BACKGROUND_WEIGHT))
    weights = _reshaped(opset.multiply(subject, constant(central[None])), 1, SIDE * SIDE, 1)
    flat = _reshaped(lab, 1, 3, SIDE * SIDE)
    light, first, second = (indexed(flat, number, 1) for number in range(3))
    bins = opset.multiply(_shares(light, 0.0, 100.0, LIGHTNESS_BINS), weights)
    chromas = [_shares(chroma, -CHROMA_LIMIT, CHROMA_LIMIT, CHROMA_BINS) for chroma in (first, second)]
    pairs = opset.multiply(with_axis(chromas[0], 3), with_axis(chromas[1], 2))
    pairs = _reshaped(pairs, 1, SIDE * SIDE, CHROMA_BINS**2)
    counts = opset.matmul(bins, pairs, transpose_a=True, transpose_b=False)
    counts = _reshaped(counts, 1, LIGHTNESS_BINS * CHROMA_BINS**2)
    shares = opset.divide(counts, summed(counts, 1, keep=True))
    return opset.sqrt(opset.maximum(shares, constant(0.0)))


def _exposed(planes: Any) -> Any:
    """Planes of shape (1, 3, SIDE, SIDE), made brighter: ``colour.exposed``."""
    brightest = opset.reduce_max(planes, opset.constant(np.array([1, 2, 3], np.int64)), keep_dims=True)
    return opset.divide(planes, opset.maximum(brightest, constant(1 / MOST_EXPOSURE)))


def _lab(planes: Any) -> Any:
    """CIE L*a*b* (D65) of sRGB planes in 0..1: ``colour.lab``."""
    bent = opset.divide(opset.add(opset.maximum(planes, constant(0.04045)), constant(0.055)), constant(1.055))
    straight = opset.divide(planes, constant(12.92))
    dark = opset.less_equal(planes, constant(0.04045))
    light = opset.select(dark, straight, opset.power(bent, constant(2.4)))
    matrix = np.array(SRGB_TO_XYZ) / np.array(WHITE)[:, None]
    xyz = convolved(light, matrix[:, :, None, None])
    edge = 6 / 29
    root = opset.power(opset.maximum(xyz, constant(edge**3)), constant(1 / 3))
    near = opset.add(opset.divide(xyz, constant(3 * edge**2)), constant(4 / 29))
    roots = opset.select(opset.greater(xyz, constant(edge**3)), root, near)
    x, y, z = (indexed(roots, number, 1) for number in range(3))
    channels = [
        opset.subtract(opset.multiply(y, constant(116.0)), constant(16.0)),
        opset.multiply(opset.subtract(x, y), constant(500.0)),
        opset.multiply(opset.subtract(y, z), constant(200.0)),
    ]
    return opset.concat([with_axis(channel, 1) for channel in channels], 1)


def _shares(values: Any, low: float, high: float, bins: int) -> Any:
    """What each bin gets of a value, shape (1, pixels) to (1, pixels, bins)."""
    places = opset.multiply(
        opset.subtract(between(values, low, high), constant(low)), constant((bins - 1) / (high - low))
    )
    distances = opset.abs(opset.subtract(with_axis(places, 2), constant(np.arange(bins)[None, None])))
    return opset.maximum(opset.subtract(constant(1.0), distances), constant(0.0))


def _reshaped(values: Any, *shape: int) -> Any:
    return opset.reshape(values, opset.constant(np.array(shape, np.int64)), special_zero=False)


# Categories


def _evidence(pooled: Any, network: EfficientNetLite, name: str, parameters: Parameters) -> Any:
    """A network's share of each category's score, of shape (1, categories): ``category_head.CategoryEvidence``."""
    weights, bias = network.classifier
    logits = linear(pooled, weights.T, bias)
    # Never: zero in the exponential that follows.
    speaking = np.where(parameters["groups"].astype(bool), 0.0, NEVER)
    chances = opset.add(with_axis(opset.log_softmax(logits, 1), 1), constant(speaking[None]))
    axis = opset.constant(np.array([2], np.int64))
    most = opset.reduce_max(chances, axis, keep_dims=True)
    total = opset.log(summed(opset.exp(opset.subtract(chances, most)), 2))
    priors = opset.add(total, opset.squeeze(most, axis))
    trained = linear(normalised(pooled), parameters[f"weights_{name}"])
    return opset.add(trained, opset.multiply(priors, constant(float(parameters["prior_weight"]))))


def _categoriser(record: ModelRecord, networks: list[EfficientNetLite], colours: Any) -> list[Any]:
    """Evidence of shape (1, categories): ``category_head.CategoryNetworks``."""
    category = load_parameters(CATEGORY)
    planes = _centred(colours)
    shares = []
    for network, name in zip(networks, record.evidence_names, strict=True):
        assert name is not None
        side = CATEGORY_SIDES[name]
        _, maps = network.maps(planes if side == record.input_size else bilinear(planes, side))
        shares.append(_evidence(mean_of_places(maps), network, name, category))
    return [_sum(shares)]


def _centred(colours: Any) -> Any:
    """RGB in 0..255 with mean and deviation 0.5."""
    return opset.subtract(opset.divide(colours, constant(127.5)), constant(1.0))


# Subjects


def _locator(record: ModelRecord, network: EfficientNetLite, colours: Any) -> list[Any]:
    """Heat of shape (1, rows, columns) and evidence of shape (1, categories): ``saliency.Locator``."""
    stages, last = network.maps(_centred(colours), STAGES)
    heat = opset.sigmoid(_heat(stages, load_parameters(record.subject_decoder)))
    return [heat, _evidence(mean_of_places(last), network, "whole", load_parameters(CATEGORY))]


def _heat(stages: list[Any], parameters: Parameters) -> Any:
    """The logits of the heat, shape (1, rows, columns), the finest maps first: ``saliency.Decoder``."""

    def conv(maps: Any, name: str, **options: Any) -> Any:
        return convolved(maps, parameters[f"{name}.weight"], parameters[f"{name}.bias"], **options)

    def block(maps: Any, name: str) -> Any:
        """A residual block: depthwise, then two layers place by place."""
        weight, bias, mean, variance = (
            parameters[f"{name}.layers.1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        first = f"{name}.layers.0"
        weights, shift = folded(
            parameters[f"{first}.weight"], (weight, bias, mean, variance), DECODER_EPSILON, parameters[f"{first}.bias"]
        )
        inner = convolved(maps, weights, shift, depthwise=True)
        return opset.add(maps, conv(opset.relu(conv(inner, f"{name}.layers.2")), f"{name}.layers.4"))

    def doubled(maps: Any) -> Any:
        return bilinear(maps, 2 * maps.get_output_shape(0)[2])

    standardised = [
        opset.divide(
            opset.subtract(maps, constant(parameters[f"mean{number}"].reshape(1, -1, 1, 1))),
            constant(parameters[f"deviation{number}"].reshape(1, -1, 1, 1)),
        )
        for number, maps in enumerate(stages)
    ]
    assert len(standardised) == len(STAGE_CHANNELS)
    fine, middle, coarse = standardised
    overall = linear(mean_of_places(coarse), parameters["overall.weight"].T, parameters["overall.bias"])
    maps = opset.add(conv(coarse, "lateral.2"), with_axis(overall, 2, 3))
    for number in range(2):
        maps = block(maps, f"coarse.{number}")
    maps = block(opset.add(doubled(maps), conv(middle, "lateral.1")), "middle.0")
    maps = opset.add(doubled(maps), conv(fine, "lateral.0"))
    for number in range(2):
        maps = block(maps, f"fine.{number}")
    return opset.squeeze(conv(opset.relu(maps), "out"), opset.constant(np.array([1], np.int64)))
