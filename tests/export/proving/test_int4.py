"""Packages with linears of 4 bits: every kind of program, held against eager PyTorch with the same rounded weights.

The widest of the tiny backbones' layers have 32 and 48 inputs, so a program has weights of 4 bits and of 8.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from matrix import cells
from shipped import outside_and_delegates
from tiny_backbone import save_tiny

from edge_runtime.__main__ import main
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import BETA1, MethodKind, MethodShape, ModelShape, output_ports
from export.build import main as build_command
from export.build import parser
from export.errors import ConfigError
from export.planning.cost_model import linear_bytes
from export.planning.sizes import Sizes
from export.proving.measure import Run, run_methods
from export.proving.packed_texts import Place, text_inputs
from export.proving.proof import gradient_errors, proof_inputs, reference_gradients
from export.proving.reference import Reference, quantize_in_place, round_both_ways
from export.shapes import GROUP
from export.source import backbone
from export.source.families import BackboneSizes

if TYPE_CHECKING:
    from conftest import Build

MODEL = ModelShape(BankShape((0, 1, 2), 3, 4, 3, 32, 3))
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 2, 4)
LOOKUPS = {"aten::embedding.out": 3, "aten::_to_copy.out": 1}
"""What an int8 table of words and one of positions leave outside of the delegate."""
KINDS: dict[str, dict[str, object]] = {
    "all layers": {},
    "above a trunk": {"layers": "last:2"},
    "in parts": {"micro_batches": 2, "recompute": "layers"},
    "above a trunk, in parts": {"layers": "last:2", "micro_batches": 2, "recompute": "layers"},
    "few slots": {"held": "slots", "layers": "last:1", "trunk": False},
}
FIRST = ("all layers", "above a trunk, in parts")
"""Kinds that have among them all that the other ones are made of."""


def _four(build: Build, name: str, **more: object) -> Path:
    """Return the folder of a package of one tier; it is proved against its own rounded weights as it is made."""
    return build(f"int4-{name}", quantize="int4", most_tiers=1, **more).package.folder


def test_a_step_has_the_gradients_of_its_rounded_model(build: Build, tiny: Path, tmp_path: Path) -> None:
    """Measured: 0.03 from eager PyTorch with the rounded weights (int8 activations), 0.28 from float32."""
    package = build("int4-all layers", quantize="int4", most_tiers=1).package
    assert package.manifest.quantize == "int4"
    info = backbone.find(str(tiny))
    inputs = proof_inputs(MODEL, TRAIN, info.sizes.vocabulary, seed=5)
    (ran,) = run_methods(package.path("program.pte"), [Run(TRAIN.name, tuple(inputs.values()), 0)], tmp_path)
    outputs = dict(zip([port.name for port in output_ports(MODEL, TRAIN)], ran.outputs, strict=True))

    def errors(*, rounded: bool) -> dict[str, float]:
        model = backbone.load(info)
        if rounded:
            round_both_ways(model, info.family, int4=True)
        _, wanted = reference_gradients(Reference(model, info.family, (0, 1, 2), MODEL), inputs)
        gradients = {name: outputs[f"{name}_m1"] / (1 - BETA1) for name in wanted}
        return gradient_errors(gradients, wanted, MODEL)

    near, far = errors(rounded=True), errors(rounded=False)
    assert max(near.values()) < 0.06
    assert np.median(list(far.values())) > 4 * np.median(list(near.values()))


@pytest.mark.parametrize("kind", cells(KINDS, FIRST))
def test_every_kind_of_program_is_proved_and_one_delegate(build: Build, kind: str) -> None:
    """Against its own rounded weights (measured: 0.004 to 0.03), with one crossing a method, read from the file."""
    built = build(f"int4-{kind}", quantize="int4", most_tiers=1, **KINDS[kind])
    proof = built.package.manifest.tiers[0].proof
    assert 0 < proof["gradient_error"] < 0.06
    assert proof["float32_gradient_error"] > 3 * proof["gradient_error"]
    for method, (outside, delegates) in outside_and_delegates(built.package.path("program.pte")).items():
        looks_up = "ids" in [tensor.name for tensor in built.package.manifest.methods[method].inputs]
        assert outside == (LOOKUPS if looks_up else {}), method
        assert delegates == 1, method


def test_top_k_gates_are_those_of_the_rounded_model(build: Build) -> None:
    """Measured: 0.008; which expert a token goes to is decided on the rounded weights in both."""
    folder = _four(build, "topk", gate="topk", top_k=2, shared_rank=0)
    proof = json.loads((folder / "manifest.json").read_text())["tiers"][0]["proof"]
    assert 0 < proof["gradient_error"] < 0.06


@pytest.mark.parametrize("layers", cells(["last:1", "last:2"], ["last:2"]))  # of two: above a trunk, and all
def test_a_decoder_that_continues_texts_trains_in_4_bits(
    build: Build, tmp_path_factory: pytest.TempPathFactory, layers: str
) -> None:
    """Measured: gradients 0.03 from the rounded model's; ONNX's probabilities 0.014, half the sum of all differences.

    The head is the int8 one: outside of the delegates a program leaves what the int8 program leaves.
    """
    folder = tmp_path_factory.mktemp("llama")
    common = {"model": str(save_tiny(folder, "llama")), "task": "causal-lm", "labels": (), "layers": layers}
    four = build(f"llama-int4-{layers}", quantize="int4", most_tiers=1, **common).package
    assert 0 < four.manifest.tiers[0].proof["gradient_error"] < 0.06
    assert 0 < four.manifest.proof["onnx_probability_difference"] < 0.03
    eight = build(f"llama-int8-{layers}", quantize="int8", most_tiers=1, **common).package
    delegated, wanted = (outside_and_delegates(package.path("program.pte")) for package in (four, eight))
    assert delegated == wanted
    assert four.path("program.pte").stat().st_size < eight.path("program.pte").stat().st_size


def test_the_prediction_is_that_of_the_rounded_model(build: Build, tiny: Path, tmp_path: Path) -> None:
    """Probabilities against eager PyTorch with the weights of the forward rounded, for a text of 7 of 12 tokens."""
    package = build("int4-all layers", quantize="int4", most_tiers=1).package
    info, draw = backbone.find(str(tiny)), np.random.default_rng(4)
    start = package.bank()
    parts = [0.05 * draw.standard_normal(part.shape) for part in (start.experts, start.shared, start.head, start.mean)]
    names = ("experts", "shared", "head", "mean")
    bank = {name: torch.from_numpy(part.astype(np.float32)) for name, part in zip(names, parts, strict=True)}
    bank["gate_scale"] = torch.ones(3, 3)
    predict = MethodShape(MethodKind.PREDICT, 3, 0, 12, 1, 1)
    told = text_inputs([Place(0, 0, 0, 7)], predict)
    mask = told["mask"]
    ids = torch.from_numpy(draw.integers(5, 100, (1, 12))) * mask.to(torch.int64)
    inputs = *bank.values(), ids, told["positions"], told["attend"], told["readout"]
    (ran,) = run_methods(package.path("program.pte"), [Run(predict.name, inputs, 0)], tmp_path)

    def probabilities(*, rounded: bool) -> torch.Tensor:
        model = backbone.load(info)
        if rounded:
            quantize_in_place(model, info.family, int4=True)
        reference = Reference(model, info.family, (0, 1, 2), MODEL)
        with torch.no_grad():
            return torch.softmax(reference.logits(bank, ids, mask), -1)

    near, far = (float((ran.outputs[0] - probabilities(rounded=one)).abs().max()) for one in (True, False))
    assert near < 0.01
    assert far > 2 * near


def test_the_gateway_judges_the_model_of_4_bits(build: Build) -> None:
    """Weights whose inputs divide are stored as levels and scales; the program's probabilities are near."""
    package = build("int4-all layers", quantize="int4", most_tiers=1).package
    assert package.manifest.proof["onnx_probability_difference"] < 0.01
    graph = onnx.load(package.path("gateway/model.onnx")).graph
    levels = [tensor for tensor in graph.initializer if tensor.name.endswith(".int4")]
    assert len(levels) == 3 * 5  # query, key, value, output, and the feed-forward's first; its second has 48 inputs
    assert {tensor.data_type for tensor in levels} == {onnx.TensorProto.INT8}
    assert {tuple(tensor.dims)[1] for tensor in levels} == {GROUP}


def test_a_program_is_smaller_by_what_the_planner_says(build: Build) -> None:
    """By hand: 7,168 weights a layer; 1,536 have 48 inputs forward, and 1,536 others backward. 7/16 of a byte each."""
    four, eight = (build(f"{name}-all layers", quantize=name, most_tiers=1).package for name in ("int4", "int8"))
    sizes = Sizes(
        BackboneSizes(32, 3, 48, 4, 4, 8, 512, 100),
        ModelShape(BankShape((0, 1, 2), 3, 4, 3, 32, 3)),
    )
    saved = (3 + 2) * (7_168 - 1_536) * 7 / 16  # three layers forward; the lowest has no backward
    assert linear_bytes(sizes) - linear_bytes(replace(sizes, quantize=Quantization.INT4)) == saved
    program = "program.pte"
    measured = eight.path(program).stat().st_size - four.path(program).stat().st_size
    assert measured == pytest.approx(saved, rel=0.35)  # the float32 scale of a row goes, the graph's text grows


def test_a_device_trains_in_4_bits(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edge_runtime train`: the loss of texts that a word tells apart falls by half in a few epochs."""
    draw, rows = np.random.default_rng(2), []
    for place, label in enumerate(("red", "green", "blue")):
        for _ in range(16):
            noise = " ".join(f"word{number}" for number in draw.integers(10, 95, 4))
            rows.append(f"{noise} word{place},{label}")
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    folder = _four(build, "all layers")
    words = ["train", "--package", str(folder), "--data", str(data), "--epochs", "8", "--json", "--threads", "1"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["loss_last"] < 0.5 * told["loss_first"]


@pytest.mark.parametrize("option", ["--quantize", "--qlinear"])
@pytest.mark.parametrize("name", ["int4", "8da4w"])
def test_the_command_takes_4_bits_by_both_names(option: str, name: str) -> None:
    """Ours and optimum-executorch's."""
    assert parser().parse_args(["--device", "pixel8", option, name]).quantize == "int4"


def test_a_backbone_without_a_linear_that_divides_is_refused(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Width 36 and inner width 40: such a package would call itself int4 and be int8."""
    folder = save_tiny(tmp_path / "narrow")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 36, "intermediate_size": 40}))
    with pytest.raises(ConfigError, match=r"quantize int4: a scale is shared by 32 inputs, .* have 36 or 40; no one"):
        build("narrow", model=str(folder), quantize="int4")
    options = [
        "--device",
        "raspberrypi5",
        "-m",
        str(folder),
        "--labels",
        "a,b",
        "--qlinear",
        "8da4w",
        "-o",
        str(tmp_path / "p"),
    ]
    assert build_command(options) == 2
    assert "take int8" in capsys.readouterr().err
