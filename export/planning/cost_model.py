"""Predict what a program costs a device. Pure: numbers in, numbers out.

Axes: L adapted layers, k of them that a tier trains, D all layers, M experts, m trained and f frozen slots, H = m + f,
r rank, rs shared rank, d width, I inner width, h heads, C labels, V rows of a language head, B texts of a step at most,
R rows, S places of a row, N = R * S places: whether a token stands in a place or not, the place is computed.

The model is stated here so that a refusal can be checked by hand; its constants were fitted to programs that
``export`` lowered (tests hold prediction and measurement together).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge_runtime.wire.manifest import Cost
from edge_runtime.wire.manifest_checks import Quantization
from export.planning.inference_sizes import TRUNK_ROWS, predict_methods, trunk_methods
from export.planning.profiles import DeviceProfile
from export.planning.sizes import Sizes, TierShape
from export.shapes import GROUP, HEAD_SLICE

MIB: Final = 2**20
TRAIN_BYTES: Final = 75_000
PREDICT_BYTES: Final = 25_000
"""Graph of a layer in a training and in an inference method, with scales and biases, beside the weights that all
methods share. Measured: 63 kB and 23 kB in MiniLM's package, 83 kB in SmolLM's training method."""
TOKENIZER_BYTES: Final = 700_000
"""tokenizer.json and manifest.json."""
_Rows = tuple[int, int, int]
INT4_BYTES: Final = 0.5 + 2 / GROUP
"""Of a weight: half a byte, and a scale of two bytes for each group."""
INT4_SLOWNESS: Final = 1.5
"""Time of a GEMM with 4-bit weights as a multiple of int8's: instructions on ARM with i8mm (docs/decisions/0019); with
AVX2 it is 1.9."""


def linear_bytes(sizes: Sizes) -> int:
    """Return the bytes of the frozen linears, in both directions where a gradient passes."""
    each = 1 if sizes.rounded else 4
    backward = sum(count * out * into * _weight_bytes(sizes, out) for count, out, into in sizes.backbone.linears)
    layers = sizes.backbone.depth * _forward_bytes(sizes) + sizes.differentiated * backward
    return int(layers) + each * (2 if sizes.backbone.tied else 3) * sizes.language_weights


def trunk_bytes(sizes: Sizes) -> int:
    """Return the bytes of the frozen linears that a trunk has: those up to the lowest trained layer's, forward only."""
    return int((sizes.lowest + 1) * _forward_bytes(sizes))


def _forward_bytes(sizes: Sizes) -> float:
    """Return the bytes of one layer's frozen linears as the forward reads them."""
    return sum(count * out * into * _weight_bytes(sizes, into) for count, out, into in sizes.backbone.linears)


def _weight_bytes(sizes: Sizes, inputs: int) -> float:
    """Return the bytes of one weight of a frozen linear with so many inputs."""
    rounded = INT4_BYTES if sizes.quantize == Quantization.INT4 and inputs % GROUP == 0 else 1
    return rounded if sizes.rounded else 4


def storage_bytes(sizes: Sizes, tiers: int = 1, inferences: int = 1, trunks: int = 0) -> int:
    """Return the bytes of a package of so many tiers, inferences and trunks, without its gateway part.

    Each frozen weight is stored twice where a gradient passes it: along the forward's and the backward's channels; of a
    language head that is not tied, the rows are stored a third time, to be looked up. Methods share them; each adds its
    graph.
    """
    each = 1 if sizes.rounded else 4
    table = sizes.backbone.vocabulary * (sizes.backbone.width * each + (4 if sizes.rounded else 0))
    linears = linear_bytes(sizes)
    graphs = sizes.backbone.depth * (tiers * TRAIN_BYTES + inferences * PREDICT_BYTES)
    graphs += trunks * (sizes.lowest + 1) * PREDICT_BYTES
    return linears + table + sizes.bank.nbytes + graphs + TOKENIZER_BYTES


def storage_mb(sizes: Sizes, tiers: Sequence[TierShape]) -> float:
    """Return the same in 10^6 bytes for a list of tiers and the inferences and trunks that come with them.

    Weights are the deepest tier's: a step of fewer layers reads some of them, and adds its graph and its trunks'.
    """
    longest = max(tier.sequence for tier in tiers)
    inferences = predict_methods(1, longest, packed=not sizes.model.vocabulary)
    deepest, *others = sorted({tier.layers for tier in tiers}, key=lambda layers: -sizes.at_depth(layers).adapted)
    whole = sizes.at_depth(deepest)
    count = sum(tier.layers == deepest for tier in tiers)
    size = storage_bytes(whole, count, len(inferences), _trunks(whole, longest))
    for layers in others:
        own = sizes.at_depth(layers)
        size += sum(tier.layers == layers for tier in tiers) * (own.differentiated + 1) * TRAIN_BYTES
        size += _trunks(own, longest) * (own.lowest + 1) * PREDICT_BYTES
    return round(size / 1e6, 1)


def _trunks(sizes: Sizes, longest: int) -> int:
    return len(trunk_methods(longest)) if sizes.cut else 0


def kept_bytes(sizes: Sizes, tier: TierShape) -> int:
    """Return the bytes that a training step keeps from its forward for its backward.

    For each place and differentiated layer but the lowest, seven rows of d (query, key, value, what attention makes,
    what enters and leaves the norms), one of I (the GELU's derivative; three where the feed-forward is gated) and S
    probabilities for each head. In the lowest one only the norm after it and its experts are differentiated: two rows
    of d. The experts keep three rows of their units in each layer.

    ``light`` does without the probabilities, what leaves the norms and what the experts keep, and of a gated
    feed-forward keeps its two linears' results only; ``layers`` keeps one row of d in a layer only.
    """
    above = sizes.backbone.depth - sizes.lowest - 1
    inner = (3 if sizes.backbone.gated else 1) * sizes.backbone.inner
    again = 4 * sizes.backbone.width + 2 * inner // 3 if sizes.backbone.gated else 5 * sizes.backbone.width + inner
    rows = {
        "none": above * (7 * sizes.backbone.width + inner + sizes.backbone.heads * tier.sequence)
        + 2 * sizes.backbone.width
        + 3 * _units(sizes, tier) * sizes.adapted,
        "light": above * again + 2 * sizes.backbone.width,
        "layers": above * sizes.backbone.width + 2 * sizes.backbone.width,
    }
    kept = tier.rows_per_call * tier.sequence * rows[tier.recompute]
    if sizes.cut:  # the trunk stands beside it, with what passes through it for its texts
        row = 2 * sizes.backbone.inner + 6 * sizes.backbone.width + 2 * sizes.backbone.heads * tier.sequence
        kept += TRUNK_ROWS * tier.sequence * row
    return 4 * kept


def workspace_bytes(sizes: Sizes, tier: TierShape) -> int:
    """Return the bytes of what passes through the backward of one layer, beside what is kept.

    Two rows of I and two of d; or where a language head is larger, logits and probabilities of a slice of its words,
    and three rows of d. With ``layers`` a layer's forward stands beside its backward: ten more rows of d, one of I
    (three) and the probabilities. Who may look at whom, S for a place, is there for all layers.
    """
    row = 2 * sizes.backbone.inner + 2 * sizes.backbone.width
    if tier.recompute == "layers":
        row += (
            10 * sizes.backbone.width
            + (3 if sizes.backbone.gated else 1) * sizes.backbone.inner
            + sizes.backbone.heads * tier.sequence
        )
    words = min(sizes.model.vocabulary, HEAD_SLICE)
    head = 2 * words + 3 * sizes.backbone.width if words else 0
    return 4 * tier.rows_per_call * tier.sequence * (max(row, head) + tier.sequence)


def packed_again_bytes(sizes: Sizes, tier: TierShape) -> int:
    """Return the bytes of frozen weights that are packed once more: XNNPACK does so for each operation that reads one.

    With ``layers`` the forward linears of a differentiated layer are computed twice, all but the last.
    """
    if tier.recompute != "layers":
        return 0
    last = sizes.backbone.width * sizes.backbone.inner * _weight_bytes(sizes, sizes.backbone.inner)
    return int(sizes.differentiated * (_forward_bytes(sizes) - last))


def activation_bytes(sizes: Sizes, tier: TierShape) -> int:
    """Return the bytes of a call's buffers: kept for the backward, and passing."""
    return kept_bytes(sizes, tier) + workspace_bytes(sizes, tier)


def state_bytes(sizes: Sizes, tier: TierShape) -> int:
    """Return the bytes of a step's inputs and outputs: values, both moments and, in micro-batches, gradient sums.

    The experts below stand in the trunk's inputs, and once more as it multiplies them.
    """
    copies = 2 * (3 if tier.micro_batches == 1 else 5)
    lower = 2 * sizes.below * (sizes.bank.experts * sizes.bank.expert_size + sizes.bank.shared_size)
    return 4 * (copies * _values(sizes, tier) + sizes.adapted * tier.frozen * sizes.bank.expert_size + lower)


def memory_bytes(sizes: Sizes, tier: TierShape, runtime_bytes: int) -> int:
    """Return the peak resident bytes of a training process.

    XNNPACK packs the frozen weights of each method that is loaded into copies of its own, so they count twice; those
    that the trunks share count once more for each further trunk. An inference is loaded for prediction, and is no part
    of it. Inputs and outputs of a step (values and both moments) count twice as well.
    """
    trunks = max(0, _trunks(sizes, tier.sequence) - 1)
    packed = 2 * storage_bytes(sizes) + trunks * trunk_bytes(sizes) + packed_again_bytes(sizes, tier)
    return runtime_bytes + packed + activation_bytes(sizes, tier) + state_bytes(sizes, tier)


def _units(sizes: Sizes, tier: TierShape) -> int:
    """Columns of a layer's held experts: hidden units, routers, biases."""
    return _columns(sizes, tier.trained + tier.frozen)


def _columns(sizes: Sizes, held: int) -> int:
    return held * (sizes.bank.rank + 1) + 2 * sizes.bank.shared_rank + 1


def _values(sizes: Sizes, tier: TierShape) -> int:
    """Trainable values."""
    return sizes.adapted * (tier.trained * sizes.bank.expert_size + sizes.bank.shared_size) + sizes.bank.head_size


def step_seconds(sizes: Sizes, tier: TierShape, profile: DeviceProfile) -> float:
    """Return the time of a training step: frozen GEMMs, run-time GEMMs, and all that moves, one after another.

    Each micro-batch after the first reads the frozen weights once more, and each of them the gradient sums.
    """
    experts = 5 * tier.places * _units(sizes, tier) * sizes.backbone.width * sizes.adapted
    again = (tier.micro_batches - 1) * linear_bytes(sizes)
    again += 4 * 3 * tier.micro_batches * _values(sizes, tier) if tier.micro_batches > 1 else 0
    work = _Work(sizes.forward, sizes.differentiated, experts, sizes.model.vocabulary, tier.recompute)
    return _seconds(sizes, tier.places, tier.sequence, profile, work) + again / (profile.compute.memory_gb_s * 1e9)


def trunk_seconds(sizes: Sizes, tier: TierShape, profile: DeviceProfile) -> float:
    """Return the time that the trunks take for the texts of one step; 0 without a trunk."""
    if not sizes.cut:
        return 0.0
    places = trunk_texts(tier) * tier.sequence
    experts = 2 * places * _columns(sizes, sizes.bank.experts) * sizes.backbone.width * sizes.below
    return _seconds(sizes, places, tier.sequence, profile, _Work(sizes.lowest + 1, 0, experts))


def trunk_texts(tier: TierShape) -> int:
    """Return how many texts of S tokens take a trunk as long as the texts of one step do, at most.

    Each text goes to the shortest trunk that holds it and fills half of its row or more, so the tokens of N places are
    computed in 2 N places; and there are B texts.
    """
    return min(tier.batch, 2 * tier.rows)


@dataclass(frozen=True)
class _Work:
    """Layers run forward and backward, multiply-accumulates of experts, V of a language head, recomputation."""

    forward: int
    backward: int
    experts: int = 0
    language: int = 0
    recompute: str = "none"


def _seconds(sizes: Sizes, places: int, sequence: int, profile: DeviceProfile, work: _Work) -> float:
    """Return the time of some work in rows of ``sequence`` places; what is computed again is counted again.

    ``light`` repeats norms, attention probabilities and the experts' first GEMM, ``layers`` a layer's forward but its
    last linear.
    """
    forward, backward = work.forward, work.backward
    head = 2 * sizes.language_weights if work.language else 0
    linears = INT4_SLOWNESS * sizes.frozen_weights if sizes.quantize == Quantization.INT4 else sizes.frozen_weights
    frozen = places * (linears * (forward + backward) + head)
    attention = places * sequence * sizes.backbone.width * (2 * forward + 4 * backward)
    there, back = moved_values(sizes, sequence, work.recompute)
    moved, experts = forward * there + backward * back + 6 * work.language, work.experts
    if work.recompute == "light":
        attention += places * sequence * sizes.backbone.width * backward
    if work.recompute == "layers":
        frozen += places * backward * linears * (1 - sizes.backbone.width * sizes.backbone.inner / sizes.frozen_weights)
        attention += 2 * places * sequence * sizes.backbone.width * backward
    if work.recompute != "none":
        experts += experts // 5
    compute = profile.compute
    frozen_rate = compute.int8_gmac_s if sizes.rounded else compute.fp32_gmac_s
    return (
        frozen / (frozen_rate * 1e9)
        + (attention + experts) / (compute.fp32_gmac_s * 1e9)
        + 4 * places * moved / (compute.memory_gb_s * 1e9)
    )


def moved_values(sizes: Sizes, sequence: int, recompute: str = "none") -> tuple[int, int]:
    """Return the values that all but a layer's products read and write for one place, forward and backward.

    Counted in graphs that ``rewrite`` made, as rows of d, of I, and of h S probabilities. What a forward keeps for its
    backward only, as GELU's derivative, counts as backward.
    """
    there, back, more = _MOVED[sizes.backbone.gated]
    again = more.get(recompute, (0, 0, 0))
    sides = (sizes.backbone.width, sizes.backbone.inner, sizes.backbone.heads * sequence)
    forward = sum(count * side for count, side in zip(there, sides, strict=True))
    return forward, sum((count + extra) * side for count, extra, side in zip(back, again, sides, strict=True))


_MOVED: Final[dict[bool, tuple[_Rows, _Rows, dict[str, _Rows]]]] = {
    False: ((40, 3, 4), (67, 11, 5), {"light": (18, 0, 4), "layers": (32, 2, 4)}),
    True: ((71, 9, 4), (101, 19, 5), {"light": (14, 5, 4), "layers": (65, 5, 4)}),
}
"""Forward, backward and what a level of recomputation adds to it: encoders, and decoders with a gated feed-forward."""


def round_bytes(sizes: Sizes, trained: int) -> tuple[int, int]:
    """Return (up, down) of a round in float32: trained and shared experts of its layers up, the whole bank down.

    The head is frozen unless a gateway's operator asks for it; then the gateway's planner counts it against the budget.
    """
    up = 4 * sizes.adapted * (trained * sizes.bank.expert_size + sizes.bank.shared_size)
    return up, sizes.bank.nbytes


def predict(sizes: Sizes, tier: TierShape, profile: DeviceProfile) -> Cost:
    """Return what a tier will cost a device, as the only one of its package."""
    sizes = sizes.at_depth(tier.layers)
    up, down = round_bytes(sizes, tier.trained)
    runtime = int(profile.defaults.runtime_mib * MIB)
    return Cost(
        memory_mib=round(memory_bytes(sizes, tier, runtime) / MIB, 1),
        step_ms=round(1e3 * step_seconds(sizes, tier, profile), 1),
        storage_mb=storage_mb(sizes, [tier]),
        bytes_up=up,
        bytes_down=down,
        trunk_ms=round(1e3 * trunk_seconds(sizes, tier, profile), 1),
    )


def excesses(cost: Cost, profile: DeviceProfile) -> list[str]:
    """Return, for each budget that a cost exceeds, a phrase with both numbers."""
    budget = profile.budget
    # A round may be the first on its texts, so the trunk counts in each of its steps.
    seconds = (cost.step_ms + cost.trunk_ms) * profile.defaults.steps_per_round / 1e3
    table = (
        ("memory", cost.memory_mib, budget.memory_mib, "MiB"),
        ("storage", cost.storage_mb, budget.storage_mb, "MB"),
        ("upload", cost.bytes_up / 1e6, budget.bytes_up / 1e6, "MB a round"),
        ("download", cost.bytes_down / 1e6, budget.bytes_down / 1e6, "MB a round"),
        ("time", seconds, budget.round_seconds, "s a round"),
    )
    return [f"{name} {need:.4g} of {have:.4g} {unit}" for name, need, have, unit in table if need > have]
