"""Where memory and work go: figures that add up, known by hand for a tiny backbone, and shown uncut."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports
from export.compiling.compile import canonicalize
from export.compiling.explain import explain
from export.compiling.explained import FIGURES, as_object, timed
from export.compiling.recompute import recompute
from export.compiling.simplify import eliminate_dead_tensors
from export.compiling.trace import sample_inputs, trace
from export.model.graft import Graft
from export.model.step import build_step
from export.planning.profiles import Compute
from export.provenance import inherited
from export.report.tables import print_explained, totals
from export.source import backbone

MODEL = ModelShape(BankShape((0, 1), 3, 4, 3, 32, 5))
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)
TOKENS, WIDTH, INNER = 4 * 12, 32, 48
RATES = Compute(threads=1, int8_gmac_s=2.0, fp32_gmac_s=1.0, memory_gb_s=4.0)
Parts = list[dict[str, Any]]


@pytest.fixture(scope="module")
def parts(tiny: Path) -> Parts:
    """Return the figures of an int8 step with experts in layers 1 and 2 of 3."""
    return _explained(tiny, int4=False)


def _explained(tiny: Path, *, int4: bool) -> Parts:
    info = backbone.find(str(tiny))
    graft = Graft(backbone.load(info), info.family, (1, 2), quantize_embedding=True)
    module = trace(build_step(graft, MODEL, TRAIN), sample_inputs(input_ports(MODEL, TRAIN)))
    canonicalize(module, Quantization.INT4 if int4 else Quantization.INT8)
    with inherited(module):
        recompute(module, "none", WIDTH)
    eliminate_dead_tensors(module)
    parts: Parts = explain(module)["parts"]
    return parts


def _of(parts: Parts, **wanted: object) -> dict[str, float]:
    chosen = [part for part in parts if all(part[name] == value for name, value in wanted.items())]
    return totals(chosen, lambda _: "all")["all"]


def test_frozen_linears_by_hand(parts: Parts) -> None:
    """A layer has 4 d d + 2 d I weights; three layers run forward, of the adapted two only the upper one backward."""
    layer = TOKENS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)
    assert _of(parts)["int8_macs"] == 4 * layer
    assert _of(parts, direction="backward")["int8_macs"] == layer
    assert _of(parts, kind="attention", layer=0)["int8_macs"] == TOKENS * 4 * WIDTH * WIDTH


def test_attention_by_hand(parts: Parts) -> None:
    """Two products of 12 x 12 x 8 for each of 4 x 4 heads; four in the backward."""
    product = 4 * 4 * 12 * 12 * 8
    assert _of(parts, kind="attention", layer=2, direction="forward")["fp32_macs"] == 2 * product
    backward = _of(parts, kind="attention", layer=2, direction="backward")["fp32_macs"]
    sums = 4 * 4 * 12 * 8  # the softmax's backward sums each row of result times gradient by a GEMM with a row of ones
    assert backward == 4 * product + sums


def test_kept_bytes_by_hand(parts: Parts) -> None:
    """Query, key, value, the probabilities once, and the sum that the norm after the attention reads."""
    probabilities = 4 * 4 * 12 * 12
    assert _of(parts, kind="attention", layer=2)["kept_bytes"] == 4 * (
        3 * TOKENS * WIDTH + probabilities + TOKENS * WIDTH
    )
    assert _of(parts, layer=0)["kept_bytes"] == 0
    assert _of(parts, direction="backward")["kept_bytes"] == 0


def test_weights_by_hand(parts: Parts) -> None:
    """Of a feed-forward: int8 matrices, and a float32 scale and bias and an int64 zero for each output."""
    outputs = INNER + WIDTH
    wanted = 2 * WIDTH * INNER + outputs * (4 + 4 + 8)
    assert _of(parts, kind="feed-forward", layer=0)["weight_bytes"] == wanted


def test_weights_of_4_bits_by_hand(tiny: Path) -> None:
    """32 inputs: half a byte each, and a scale of two for each output; the second matrix has 48 and stays int8."""
    first = WIDTH * INNER // 2 + INNER * (2 + 4)
    second = WIDTH * INNER + WIDTH * (4 + 4 + 8)
    parts = _explained(tiny, int4=True)
    assert _of(parts, kind="feed-forward", layer=0)["weight_bytes"] == first + second
    assert _of(parts)["int8_macs"] == 4 * TOKENS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)  # activations are int8


def test_totals_add_up_whichever_way_they_are_cut(parts: Parts) -> None:
    """By kind, by layer and by direction, each figure has the same sum; the cost model's times sum to the step's."""
    with_times = timed(parts, RATES, 12.5)
    whole = totals(with_times, lambda _: "all")["all"]
    for by in ("kind", "layer", "direction"):
        cut = totals(with_times, lambda part, by=by: part[by]).values()
        for name in (*FIGURES, "ms"):
            assert sum(total[name] for total in cut) == pytest.approx(whole[name]), (by, name)
    assert whole["ms"] == pytest.approx(12.5)
    assert whole["operations"] > 300


def test_times_are_shares_of_work_over_rates() -> None:
    """4 int8 and 2 float32 multiply-accumulates and 8 bytes take 2, 2 and 2 parts of the measured step."""
    blank = dict.fromkeys(FIGURES, 0)
    parts = [{**blank, "int8_macs": 4}, {**blank, "fp32_macs": 2}, {**blank, "moved_bytes": 8}]
    assert [part["ms"] for part in timed(parts, RATES, 9.0)] == pytest.approx([3.0, 3.0, 3.0])


@pytest.mark.parametrize("width", [100, 40])
def test_tables_are_never_cut(parts: Parts, width: int) -> None:
    """Large figures, every kind and layer, and the reasons of what is not delegated; a hundred columns are enough."""
    large = [{**part, **{name: part[name] * 100 for name in FIGURES}} for part in parts]
    why = "XNNPACK does not take it with this shape, type or operand"
    left = [{"operation": "aten.native_layer_norm.default", "count": 13, "layers": [-1, *range(12)], "why": why}]
    record = {
        "planned_bytes": 123_456_789,
        "workspace_bytes": 2**20,
        "explain": {"parts": large},
        "left": left,
        "timing": {"median_ms": 1234.5},
    }
    console = Console(file=StringIO(), width=width)
    print_explained("train_m2_f1_s12_r2_b4", as_object(record, RATES), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert width < 100 or max(len(line) for line in text.splitlines()) <= 100
    kinds = ("attention", "embedding", "experts", "feed-forward", "head", "norms", "optimizer")
    assert all(f"│ {kind} " in text for kind in kinds)
    assert width < 100 or all(word in text.split() for word in why.split())
    assert "aten.native_layer_norm.default" in text
    assert f"{100 * _of(parts)['int8_macs'] / 1e6:,.1f}" in text
    assert "1,234.50" in text
    assert f"{100 * _of(parts)['operations']:,.0f}" in text
    assert "117.74 MiB" in text  # 123,456,789 bytes
