"""Programs that continue texts: loss and gradients against the stock model, and packages of every decoder family."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_backbone import FAMILIES, save_tiny
from torch import Tensor

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.build import main
from export.compiling.trace import sample_inputs, trace
from export.model.graft import Graft
from export.model.language_head import LanguageHead
from export.model.step import build_step
from export.proving.measure import Run, run_methods
from export.proving.packed_texts import Place, places_of, text_inputs
from export.proving.proof import gradient_errors, proof_inputs, reference_gradients
from export.proving.reference import Reference
from export.source import backbone
from export.source.families import FAMILIES as ROWS

MODEL = ModelShape(BankShape((0, 1), 3, 4, 3, 32, 0), vocabulary=100)
TRAIN = MethodShape(MethodKind.TRAIN, 2, 1, 12, 4, 6)
PREDICT = MethodShape(MethodKind.PREDICT, 3, 0, 12, 1, 1)
ADAPTED = (0, 1)
DECODERS = sorted(name for name, row in ROWS.items() if row.causal)
Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return a function that gives the folder of a small random model of a family, made once."""
    folders: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = save_tiny(tmp_path_factory.mktemp(kind), kind)
        return folders[kind]

    return of


def _run(path: Path, method: MethodShape, inputs: dict[str, Tensor], model: ModelShape = MODEL) -> dict[str, Tensor]:
    info = backbone.find(str(path))
    graft = Graft(backbone.load(info, "causal-lm"), info.family, ADAPTED, quantize_embedding=False)
    names = [port.name for port in output_ports(model, method)]
    return dict(zip(names, build_step(graft, model, method)(*inputs.values()), strict=True))


def _reference(path: Path) -> Reference:
    info = backbone.find(str(path))
    return Reference(backbone.load(info, "causal-lm"), info.family, ADAPTED, MODEL)


def test_ports_have_targets_and_neither_labels_nor_head() -> None:
    """What a runtime must give and gets: token ids to predict, a weight for each, and no head or mean."""
    inputs = [port.name for port in input_ports(MODEL, TRAIN)]
    texts = ["ids", "positions", "attend"]
    assert inputs[-6:] == [*texts, "mask", "targets", "weights"]
    assert not {"head", "mean", "readout", "labels", "head_m1"} & set(inputs)
    assert [port.name for port in output_ports(MODEL, TRAIN)][:3] == ["loss", "usage", "trained"]
    predict = [port.name for port in input_ports(MODEL, PREDICT)]
    assert predict == ["experts", "shared", "gate_scale", *texts, "readout"]
    assert [(port.name, port.shape) for port in output_ports(MODEL, PREDICT)] == [("probabilities", (1, 100))]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])  # the head tied to the table of word embeddings, and not
def test_loss_and_gradients_equal_the_stock_model(folder: Folders, kind: str) -> None:
    """The centred head, the lookup in place of a one-hot and the gradient made in the forward change nothing."""
    inputs = proof_inputs(MODEL, TRAIN, 100)
    outputs = _run(folder(kind), TRAIN, inputs)
    loss, wanted = reference_gradients(_reference(folder(kind)), inputs)
    torch.testing.assert_close(outputs["loss"][0], loss)
    gradients = {name: outputs[f"{name}_m1"] / 0.1 for name in wanted}
    assert max(gradient_errors(gradients, wanted, MODEL, by_layer=True).values()) < 1e-5


def test_the_loss_of_a_routed_model_is_the_log_of_its_perplexity(folder: Folders) -> None:
    """Top-k mode: the exponential of the told loss is the stock model's perplexity, whatever the auxiliary weights."""
    routed = replace(MODEL, bank=replace(MODEL.bank, shared_rank=0), top_k=2)
    inputs = proof_inputs(routed, MethodShape(MethodKind.TRAIN, 3, 0, 12, 4, 6), 100)
    inputs["balance_weight"] = torch.full((2,), 0.5)
    outputs = _run(folder("llama"), MethodShape(MethodKind.TRAIN, 3, 0, 12, 4, 6), inputs, routed)
    info = backbone.find(str(folder("llama")))
    stock = Reference(backbone.load(info, "causal-lm"), info.family, ADAPTED, routed)
    chances, total = 0.0, float(inputs["weights"].sum())
    for text in places_of(inputs):
        with torch.no_grad():
            ids = inputs["ids"][text.places].unsqueeze(0)
            logits = stock.token_logits({**inputs, "experts": inputs["trained"]}, ids, torch.ones(ids.shape))
        p = torch.softmax(logits[0].double(), -1).gather(-1, inputs["targets"][text.places].unsqueeze(-1)).squeeze(-1)
        chances += float((p.log() * inputs["weights"][text.places]).sum())
    assert float(torch.exp(outputs["loss"])) == pytest.approx(np.exp(-chances / total), rel=1e-4)


def test_padding_and_positions_of_no_weight_change_nothing(folder: Folders) -> None:
    """Other ids behind the text, and other targets where the weight is 0, give the same loss and gradients."""
    inputs = proof_inputs(MODEL, TRAIN, 100)
    outputs = _run(folder("llama"), TRAIN, inputs)
    noise = {
        "ids": torch.where(inputs["mask"] > 0, inputs["ids"], torch.full_like(inputs["ids"], 17)),
        "targets": torch.where(inputs["weights"] > 0, inputs["targets"], torch.full_like(inputs["targets"], 5)),
    }
    other = _run(folder("llama"), TRAIN, {**inputs, **noise})
    for name in ("loss", "trained_m1", "shared_m1"):
        torch.testing.assert_close(other[name], outputs[name], rtol=1e-5, atol=1e-8)
    blank = {name: torch.zeros_like(inputs[name]) for name in ("weights", "mask", "positions", "attend")}
    nothing = _run(folder("llama"), TRAIN, {**inputs, **blank})
    assert float(nothing["loss"]) == 0
    assert all(torch.isfinite(tensor).all() for tensor in nothing.values())


def test_prediction_is_that_of_the_last_real_token(folder: Folders) -> None:
    """For a text of 5 of 12 tokens, the stock model's softmax at its fifth position."""
    inputs = proof_inputs(MODEL, PREDICT, 100)
    inputs |= text_inputs([Place(0, 0, 0, 5)], PREDICT, last=True)
    del inputs["mask"]
    probabilities = _run(folder("qwen3"), PREDICT, inputs)["probabilities"][0]
    logits = _reference(folder("qwen3")).token_logits(inputs, inputs["ids"][:, :5], torch.ones(1, 5))
    torch.testing.assert_close(probabilities, torch.softmax(logits[0, -1], -1), rtol=1e-4, atol=1e-6)


def test_the_loss_of_a_head_by_hand() -> None:
    """Logits (ln 2, 0, 0) for both positions: p = (1/2, 1/4, 1/4); targets 0 and 2 with weights 3 and 1."""
    head = LanguageHead(torch.tensor([[np.log(2.0)], [0.0], [0.0]], dtype=torch.float32), None, quantize=False)
    hidden = torch.ones(1, 2, 1, requires_grad=True)
    loss = head.loss(hidden, torch.tensor([[0, 2]]), torch.tensor([[3.0, 1.0]]))
    assert float(loss) == pytest.approx((3 * np.log(2) + np.log(4)) / 4)
    (slope,) = torch.autograd.grad(loss.sum(), hidden)
    # d/dh = weight share * sum_v (p_v - onehot_v) w_v, and only row 0 is not 0: (1/2 - 1) ln 2 and 1/2 ln 2
    assert slope.reshape(-1).tolist() == pytest.approx([-3 / 8 * np.log(2), 1 / 8 * np.log(2)])


def test_slices_of_the_vocabulary_change_neither_loss_nor_gradient_nor_probabilities() -> None:
    """13 words in slices of 5, 4 and 4: the cross-entropy, its gradient and the softmax of all words, in float64."""
    generator = torch.Generator().manual_seed(0)
    weight, states = torch.randn(13, 8, generator=generator), 3 * torch.randn(2, 4, 8, generator=generator)
    targets, weights = torch.randint(13, (2, 4), generator=generator), torch.rand(2, 4, generator=generator)
    head = LanguageHead(weight, None, quantize=False, words=5)
    assert head.sizes == [5, 4, 4]
    hidden, exact = states.clone().requires_grad_(), states.double().requires_grad_()
    loss = head.loss(hidden, targets, weights)
    logits = (exact @ weight.double().T).reshape(-1, 13)
    costs = torch.nn.functional.cross_entropy(logits, targets.reshape(-1), reduction="none")
    wanted = (costs * weights.reshape(-1)).sum() / weights.sum()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    (slope,), (exact_slope,) = torch.autograd.grad(loss.sum(), hidden), torch.autograd.grad(wanted, exact)
    torch.testing.assert_close(slope.double(), exact_slope, rtol=1e-5, atol=1e-7)
    shares = torch.softmax(logits.detach(), -1)
    torch.testing.assert_close(head.probabilities(states.reshape(8, 8)).double(), shares, rtol=1e-5, atol=1e-7)


def test_a_sure_or_a_very_wrong_position_has_a_finite_loss_and_gradient() -> None:
    """Two words with logits +x and -x: the loss of the likely one is 0, that of the other 2 x, up to 80 above."""
    head = LanguageHead(torch.tensor([[1.0], [-1.0]]), None, quantize=False, words=1)
    hidden = torch.tensor([[[40.0], [70.0]]], requires_grad=True)
    for word, losses, gradient in ((0, (0.0, 0.0), 0.0), (1, (80.0, 140.0), 2.0)):
        for place, wanted in enumerate(losses):
            weights = torch.eye(2)[place : place + 1]
            loss = head.loss(hidden, torch.full((1, 2), word), weights)
            (slope,) = torch.autograd.grad(loss.sum(), hidden)
            assert float(loss.detach()) == pytest.approx(wanted, abs=1e-4)
            assert slope[0, place].item() == pytest.approx(gradient, abs=1e-5)


def test_no_tensor_of_all_words_is_made_in_a_training_step(folder: Folders) -> None:
    """With slices of 40 words, the largest last axis of a traced step of a vocabulary of 100 is a slice and its sum."""
    info = backbone.find(str(folder("llama")))
    graft = Graft(backbone.load(info, "causal-lm"), info.family, ADAPTED, quantize_embedding=False)
    weight = torch.randn(100, 32, generator=torch.Generator().manual_seed(0))
    graft.head = LanguageHead(weight, graft.head.table, quantize=False, words=40)
    module = trace(build_step(graft, MODEL, TRAIN), sample_inputs(input_ports(MODEL, TRAIN)))
    rows = TRAIN.sequence * TRAIN.rows
    results = [node.meta["val"] for node in module.graph.nodes if node.op == "call_function"]
    widths = {one.shape[-1] for one in results if isinstance(one, Tensor) and one.dim() > 1 and one.shape[-2] == rows}
    assert 35 in widths  # 100 words are slices of 34, 33 and 33
    assert 100 not in widths


def test_centring_saves_what_rounding_takes_from_small_probabilities() -> None:
    """0.9 on one token and 0.1 on 1,999: in 255 steps the small ones are 0, and what their rows share is lost."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2000, 64, generator=generator) + 0.5 * torch.randn(64, generator=generator)
    p = torch.full((2000,), 0.1 / 1999)
    p[7] = 0.9
    step = p.max() / 255
    rounded = (p / step).round() * step
    assert int((rounded > 0).sum()) == 1
    centred = LanguageHead(weight, None, quantize=False).get_buffer("weight_0")[:-1]
    exact = p @ weight - weight[7]  # the gradient where token 7 is the target
    plain = (rounded @ weight - weight[7] - exact).norm() / exact.norm()
    ours = (rounded @ centred - centred[7] - exact).norm() / exact.norm()
    assert plain > 0.3
    assert ours < 0.1 * plain


def _arguments(kind: str, model: Path, out: Path, programs: Path) -> list[str]:
    task = ["--task", "causal-lm"] if ROWS[kind].causal else ["--task", "classification", "--labels", "red,green"]
    layers = "last:1" if kind == "qwen3" else "last:2"  # of two: a prefix below the lowest experts, and none
    sizes = ["--experts", "3", "--train-slots", "2", "--rank", "4", "--shared-rank", "3", "--layers", layers]
    return [
        *("--device", "raspberrypi5", "-m", str(model), "-o", str(out), "--cache-dir", str(programs)),
        *(*task, *sizes, "--max_seq_len", "12", "--batch-size", "4", "--qlinear", "8da8w", "--json"),
    ]


@pytest.fixture(scope="module")
def packages(folder: Folders, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return a function that gives the package of a family for the Raspberry Pi 5, made once."""
    root = tmp_path_factory.mktemp("packages")
    folders: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in folders:
            assert main(_arguments(kind, folder(kind), root / kind, programs)) == 0
            folders[kind] = root / kind
        return folders[kind]

    return of


@pytest.mark.parametrize("kind", sorted(set(FAMILIES) - {"bert"}))  # test_minilm.py has the one of BERT
def test_a_package_of_every_family_for_a_board(packages: Folders, kind: str) -> None:
    """Exported by optimum-executorch's option names, proven against eager PyTorch and ONNX, nothing slow outside."""
    manifest = Package.open(packages(kind)).manifest
    assert manifest.device == "raspberrypi5"
    assert manifest.architecture.backbone.family == kind
    assert manifest.architecture.task == ("causal-lm" if ROWS[kind].causal else "classification")
    assert manifest.architecture.end_token == (3 if ROWS[kind].causal else -1)
    assert manifest.tiers[0].proof["gradient_error"] < 0.15
    assert manifest.proof["onnx_probability_difference"] < 0.15


def test_a_program_learns_a_text(packages: Folders) -> None:
    """Fed with its own outputs for 60 steps, the loss of a batch falls below a third."""
    from executorch.runtime import Runtime

    package = Package.open(packages("llama"))
    method = package.manifest.tiers[0].method
    spec = package.manifest.methods[method]
    inputs = proof_inputs(MODEL, TRAIN, 100)
    runner = Runtime.get().load_program(str(package.path("program.pte"))).load_method(method)
    assert runner is not None
    losses = []
    for number in range(1, 61):
        corrections = [1 / (1 - 0.9**number), 1 / (1 - 0.999**number)]
        inputs["hyper"] = torch.tensor([2e-2, 0, 0, *corrections, 2e-2, 0, 0])
        outputs = [tensor.clone() for tensor in runner.execute([inputs[tensor.name] for tensor in spec.inputs])]
        results = {tensor.name: output for tensor, output in zip(spec.outputs, outputs, strict=True)}
        losses.append(float(results["loss"][0]))
        inputs.update({name: value for name, value in results.items() if name in inputs})
    assert losses[-1] < losses[0] / 3


def test_the_gateways_losses_are_the_programs(packages: Folders, tmp_path: Path) -> None:
    """ONNX says for each token what the program's predict says for its prefix: -log p, within int8's rounding."""
    import onnxruntime

    package = Package.open(packages("llama"), part="gateway")
    shape = package.manifest.architecture.bank_shape
    assert shape.labels == 0
    draw = np.random.default_rng(3)
    zeros = Bank.zeros(shape)
    experts, shared = (
        (0.05 * draw.standard_normal(tensor.shape)).astype(np.float32) for tensor in (zeros.experts, zeros.shared)
    )
    ids = draw.integers(1, 100, (1, 6))
    session = onnxruntime.InferenceSession(str(package.path("gateway/model.onnx")))
    feeds = {"experts": experts, "shared": shared, "ids": ids, "mask": np.ones((1, 6), np.float32)}
    (losses,) = session.run(["losses"], feeds)
    runs = []
    for length in range(1, 6):
        padded = torch.zeros(1, 12, dtype=torch.int64)
        padded[0, :length] = torch.from_numpy(ids[0, :length])
        told = text_inputs([Place(0, 0, 0, length)], PREDICT, last=True)
        bank = torch.from_numpy(experts), torch.from_numpy(shared), torch.ones(2, 3)
        runs.append(Run(PREDICT.name, (*bank, padded, told["positions"], told["attend"], told["readout"]), 0))
    results = run_methods(package.folder / "program.pte", runs, tmp_path)
    mine = [-float(torch.log(one.outputs[0][0, ids[0, place + 1]])) for place, one in enumerate(results)]
    np.testing.assert_allclose(mine, losses[0], atol=0.15)


def test_labels_and_encoders_do_not_go_with_the_task(
    folder: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that continues texts has no labels; one that reads both ways cannot continue any."""
    wrong = [*_arguments("llama", folder("llama"), tmp_path / "p", tmp_path / "c"), "--labels", "a,b"]
    assert main(wrong) == 2
    assert "such a model has no labels" in capsys.readouterr().err
    arguments = [
        "--device",
        "raspberrypi5",
        "--task",
        "causal-lm",
        "-m",
        str(folder("bert")),
        "-o",
        str(tmp_path / "p"),
    ]
    assert main(arguments) == 1
    assert "cannot continue one; causal-lm works with llama, qwen2, qwen3 (--task, --model)" in capsys.readouterr().err


def test_json_names_the_task(
    packages: Folders, folder: Folders, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Machines see what a package does; the second build comes from the cache."""
    out = packages("qwen3")
    assert main(_arguments("qwen3", folder("qwen3"), out, programs)) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["task"], figures["labels"], figures["from_cache"]) == ("causal-lm", 0, True)
