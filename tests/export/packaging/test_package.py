"""Packages made from a tiny backbone: what is in them, that they compute right, that they are whole or not there."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
import torch
from shipped import outside_and_delegates
from tiny_backbone import save_tiny
from torch import Tensor

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.packing import Capacity, pack
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export import cache
from export.errors import ExportError, LoweringError, ProofError
from export.packaging.package_folder import check_target
from export.planning.inference_sizes import predict_methods, trunk_methods
from export.proving.measure import Run, run_methods
from export.proving.onnx_program import probabilities
from export.proving.packed_texts import Place, joined_prefixes, places_of, text_inputs, trunk_inputs
from export.proving.proof import gradient_errors, proof_inputs, reference_gradients
from export.proving.reference import Reference
from export.shapes import uncut
from export.source import backbone

if TYPE_CHECKING:
    from export.packaging.pipeline import Built

Build = Callable[..., "Built"]
PREDICTIONS = ("predict_s12_r21_b31", "predict_s12_r1_b1", "predict_s8_r1_b1")
VARIANTS: dict[str, dict[str, object]] = {
    "soft": {},
    "int8": {"quantize": "int8"},
    "topk": {"gate": "topk", "top_k": 2, "shared_rank": 0},
    "slots": {"held": "slots", "layers": "last:1", "trunk": False},
    "trunk": {"layers": "last:2"},
    "depth": {"train_slots": None, "seq_len": None, "tiers": ((2, 12, 0), (2, 12, 1))},
    "depth-topk": {
        "train_slots": None,
        "seq_len": None,
        "tiers": ((2, 12, 1),),
        "micro_batches": 2,
        "gate": "topk",
        "top_k": 2,
        "shared_rank": 0,
    },
}


def _shapes(built: Built) -> tuple[ModelShape, MethodShape]:
    """Return the sizes of the last tier's step."""
    manifest = built.package.manifest
    arch, tier = manifest.architecture, manifest.tiers[-1]
    model = ModelShape(arch.bank_shape, arch.top_k or None)
    cut, layers = bool(tier.trunk_methods), tier.layers if tier.layers < len(arch.adapted_layers) else 0
    slots, sizes = (tier.trained_slots, tier.frozen_slots), (tier.seq_len, tier.rows, tier.batch_size)
    return model, MethodShape(MethodKind.TRAIN, *slots, *sizes, cut=cut, layers=layers)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "depth-topk"])
def test_lowered_step_has_eager_gradients(build: Build, tiny: Path, tmp_path: Path, name: str) -> None:
    """Every gradient tensor of every layer: within 1e-4 of eager PyTorch, or 0.15 with int8 frozen linears."""
    built = build(name, **VARIANTS[name])
    model, method = _shapes(built)
    info = backbone.find(str(tiny))
    step_inputs = proof_inputs(model, uncut(method, model), info.sizes.vocabulary, seed=5)
    program = built.package.path("program.pte")
    if method.cut:
        (trunk,) = trunk_methods(12, method.layers)
        texts = places_of(step_inputs)
        (below,) = run_methods(program, [Run(trunk.name, trunk_inputs(trunk, step_inputs, texts), 0)], tmp_path)
        step_inputs |= joined_prefixes(step_inputs, [(texts, below.outputs)])
    inputs = tuple(step_inputs[port.name] for port in input_ports(model, method))
    (ran,) = run_methods(program, [Run(method.name, inputs, 0)], tmp_path)
    step_outputs = dict(zip([port.name for port in output_ports(model, method)], ran.outputs, strict=True))
    adapted = built.package.manifest.architecture.adapted_layers
    _, wanted = reference_gradients(Reference(backbone.load(info), info.family, adapted, model), step_inputs)
    gradients = {block: step_outputs[f"{block}_m1"] / 0.1 for block in wanted}
    errors = gradient_errors(gradients, wanted, model, by_layer=True)
    if name == "topk":  # the z-loss reaches the router rows as well
        errors = {key: error for key, error in errors.items() if "router" not in key}
    assert len(errors) >= 5
    assert max(errors.values()) <= (0.15 if name == "int8" else 1e-4), errors


def test_package_opens_and_says_what_it_is(build: Build) -> None:
    """The manifest names tier, methods, versions, threads, budgets and every file; the bank is the initial one."""
    built = build("soft")
    package = Package.open(built.package.folder)
    manifest = package.manifest
    assert set(manifest.files) == {"program.pte", "tokenizer.json", "bank.safetensors", "gateway/model.onnx"}
    tier = manifest.tiers[0]
    assert (tier.method, tier.trained_slots, tier.frozen_slots) == ("train_m2_f1_s12_r2_b4", 2, 1)
    assert (tier.seq_len, tier.rows, tier.batch_size) == (12, 2, 4)
    assert manifest.predict_methods == PREDICTIONS
    assert set(manifest.methods) == {"train_m2_f1_s12_r2_b4", *manifest.predict_methods}
    assert manifest.methods["predict_s8_r1_b1"].inputs[0].shape == (3, 3, 2 * 5 * 32 + 4)
    assert tier.timing["least_ms"] - 0.1 <= tier.measured.step_ms <= tier.timing["most_ms"] + 0.1
    assert tier.timing["threads"] >= 1
    assert tier.predicted.memory_mib > 0
    assert set(manifest.versions) >= {"torch", "executorch"}
    assert 0 < tier.proof["gradient_error"] < 1e-4
    bank = package.bank()
    assert bank.digest().hex() == manifest.architecture.bank_digest


def test_a_package_of_the_last_layers_has_its_prefix_as_a_method(build: Build) -> None:
    """The tier names it; its tensors are those of SPEC.md, it was measured and proven; --no-trunk makes none."""
    built = build("trunk", **VARIANTS["trunk"])
    manifest = built.package.manifest
    tier = manifest.tiers[0]
    assert tier.trunk_methods == ("trunk_s12_r8",)
    trunk, train = manifest.methods["trunk_s12_r8"], manifest.methods[tier.method]
    taken = [("ids", (8, 12)), ("positions", (8, 12)), ("attend", (8, 12, 12))]
    assert [(t.name, t.shape) for t in trunk.inputs] == taken
    assert [(t.name, t.shape) for t in trunk.outputs] == [("prefix", (8, 12, 32)), ("residual", (8, 12, 32))]
    assert "ids" not in [t.name for t in train.inputs]
    assert {t.name: t.shape for t in train.inputs}["prefix"] == (2, 12, 32)
    assert tier.measured.trunk_ms > 0
    assert 0 < tier.proof["gradient_error"] < 1e-4
    assert not build("slots", **VARIANTS["slots"]).package.manifest.tiers[0].trunk_methods


def test_a_tier_of_the_upper_layer_stands_beside_one_of_all_over_one_set_of_weights(build: Build) -> None:
    """Its trunk takes every expert of the two layers below; the file grows by graphs, not by weights."""
    built = build("depth", **VARIANTS["depth"])
    whole, upper = built.package.manifest.tiers
    assert [(tier.method, tier.layers, tier.trunk_methods) for tier in (whole, upper)] == [
        ("train_m2_f1_s12_r2_b4", 3, ()),
        ("train_l1_m2_f1_s12_r2_b4", 1, ("trunk_l1_s12_r8",)),
    ]
    methods = built.package.manifest.methods
    taken = {tensor.name: tensor.shape for tensor in methods["trunk_l1_s12_r8"].inputs}
    assert taken["lower_experts"] == (2, 3, 2 * 5 * 32 + 4)
    assert taken["lower_shared"] == (2, 7 * 32 + 3)
    assert {tensor.name: tensor.shape for tensor in methods[upper.method].inputs}["trained"] == (1, 2, 2 * 5 * 32 + 4)
    assert upper.measured.trunk_ms > 0
    assert 0 < upper.proof["gradient_error"] < 1e-4
    whole_alone = build("soft").package.manifest.files["program.pte"].bytes
    assert built.package.manifest.files["program.pte"].bytes - whole_alone < 80_000


def test_a_tier_of_the_upper_layer_is_proved_with_top_k_gates_and_micro_batches(build: Build) -> None:
    """Alone in its package, without shared experts: the routed experts below take part in the trunk."""
    tier = build("depth-topk", **VARIANTS["depth-topk"]).package.manifest.tiers[0]
    assert (tier.method, tier.apply_method) == ("accumulate_l1_m2_f1_s12_r1_b4", "apply_l1_m2")
    assert 0 < tier.proof["gradient_error"] < 1e-4
    assert tier.proof["optimizer_error"] < 1e-5


def test_initial_bank_is_the_same_for_every_profile_and_gives_every_expert_its_own_start(build: Build) -> None:
    """Profiles of one federation share the bank's bytes and the federation's digest, whatever their slots."""
    one = build("soft").package
    other = build("board", device="raspberrypi5", train_slots=1, batch_size=2).package
    assert one.manifest.architecture.digest() == other.manifest.architecture.digest()
    assert one.path("bank.safetensors").read_bytes() == other.path("bank.safetensors").read_bytes()
    bank = one.bank()
    starts = {bank.experts[layer, index].tobytes() for layer in range(3) for index in range(3)}
    assert len(starts) == 9
    assert not bank.experts[:, :, -5 * 32 :].any()
    assert not bank.learned
    assert not bank.head.any()


@pytest.mark.parametrize("name", ["soft", "int8", "topk"])
def test_onnx_and_program_predict_alike_for_any_length(build: Build, tmp_path: Path, name: str) -> None:
    """The gateway's program, on unpadded batches, gives the probabilities of the device's, packed or one at a time."""
    built = build(name, **VARIANTS[name])
    arch = built.package.manifest.architecture
    draw = np.random.default_rng(2)
    blank = Bank.zeros(arch.bank_shape)
    bank = Bank(
        arch.bank_shape,
        *(
            (0.1 * draw.standard_normal(array.shape)).astype(np.float32)
            for array in (blank.experts, blank.shared, blank.head, blank.mean)
        ),
    )
    lengths = (1, 3, 12)
    texts = [draw.integers(1, 100, length) for length in lengths]
    tensors = [torch.from_numpy(array) for array in (bank.experts, bank.shared, bank.head, bank.mean) if array.size]
    runs = [
        Run(method.name, (*tensors, torch.ones(3, 3), *_packed(method, texts)), 0)
        for method in predict_methods(3, 12, packed=True)
        if method.batch > 1
    ]
    runs += [
        Run(f"predict_s{sequence}_r1_b1", (*tensors, torch.ones(3, 3), *_packed(_single(sequence), [text])), 0)
        for text, sequence in zip(texts, (8, 8, 12), strict=True)
    ]
    many, *single = run_methods(built.package.path("program.pte"), runs, tmp_path)
    for number, text in enumerate(texts):
        pair = torch.from_numpy(np.stack([text, text]))
        onnx = built.package.path("gateway/model.onnx")
        expected = probabilities(onnx, bank, pair, torch.ones(2, len(text)))[0]
        for probability, feature in (
            (many.outputs[0][number], many.outputs[1][number]),
            (single[number].outputs[0][0], single[number].outputs[1][0]),
        ):
            assert np.abs(probability.numpy() - expected).max() <= (0.1 if name == "int8" else 1e-4)
            assert float(feature.norm()) == pytest.approx(1, abs=1e-4)


def _single(sequence: int) -> MethodShape:
    return MethodShape(MethodKind.PREDICT, 3, 0, sequence, 1, 1)


def _packed(method: MethodShape, texts: Sequence[npt.NDArray[np.int64]]) -> tuple[Tensor, ...]:
    """Return ``ids``, ``positions``, ``attend`` and ``readout`` of texts that fit into the first row, or two."""
    stands = pack([len(text) for text in texts], Capacity(method.rows, method.sequence, method.batch))
    places = [Place(slot, stand.row, stand.first, stand.count) for slot, stand in enumerate(stands)]
    told = text_inputs(places, method)
    ids = torch.zeros(method.rows, method.sequence, dtype=torch.int64)
    for place, text in zip(places, texts, strict=True):
        ids[place.places] = torch.from_numpy(text)
    return ids, told["positions"], told["attend"], told["readout"]


@pytest.mark.parametrize("name", ["soft", "int8", "topk"])
def test_only_lookups_stay_outside_of_one_delegate(build: Build, name: str) -> None:
    """Read from the file: no quantization, no product and no copy is left outside, and a method crosses once."""
    built = build(name, **VARIANTS[name])
    # A word's row and a position's; int8 rows of words have scales, and are cast.
    rounded = {"aten::embedding.out": 3, "aten::_to_copy.out": 1}
    for outside, delegates in outside_and_delegates(built.package.path("program.pte")).values():
        assert outside == (rounded if name == "int8" else {"aten::embedding.out": 2})
        assert delegates == 1


def test_second_build_takes_the_program_from_the_cache(build: Build, tmp_path: Path) -> None:
    """The same request compiles nothing, and makes the same files."""
    first = build("soft")
    again = build("soft-again", out=tmp_path / "again")
    assert again.from_cache
    assert again.package.manifest.files == first.package.manifest.files
    renamed = build("renamed", labels=("x", "y", "z"), out=tmp_path / "renamed")  # names are not in the program
    assert renamed.from_cache


def test_cache_key_depends_on_everything_that_shapes_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another request, another compiler or other code of ours means another key."""
    key = cache.cache_key({"a": 1})
    assert key == cache.cache_key({"a": 1})
    assert key != cache.cache_key({"a": 2})
    monkeypatch.setattr(cache, "versions", lambda: {"torch": "other"})
    assert key != cache.cache_key({"a": 1})
    monkeypatch.undo()
    monkeypatch.setattr(cache, "code_digest", lambda: "other")
    assert key != cache.cache_key({"a": 1})


DECIDING = ("cache.py", "errors.py", "packaging/artifacts.py", "planning/")
"""Files and a room that decide what to make, all of which a request says, or only tell of it."""


def test_cache_key_covers_every_module_that_makes_a_program() -> None:
    """All that the tasks of a build load, directly or not, but for the modules that decide."""
    folder, reached, waiting = Path(cache.__file__).parent, set[str](), ["packaging/tasks.py"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            for node in ast.walk(ast.parse((folder / name).read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "export":
                    module = "/".join(str(node.module).split(".")[1:])
                    names = [f"{module}/{alias.name}".lstrip("/") for alias in node.names]
                    modules = [f"{name}.py" for name in names if (folder / f"{name}.py").is_file()]
                    waiting += modules or [f"{module}.py"]
    covered = {path.relative_to(folder).as_posix() for path in cache.code()}
    assert len(reached) > 30
    assert {name for name in reached if not name.startswith(DECIDING)} <= covered
    assert not [name for name in covered if name.startswith(DECIDING)]


def test_damaged_cache_entry_is_not_used(tmp_path: Path) -> None:
    """An entry whose file was changed, or whose record is gone, counts as absent; storing replaces it."""
    source = tmp_path / "file"
    source.write_bytes(b"program")
    entry, record = cache.store(tmp_path / "cache", "key", {"program.pte": source}, {"x": 1})
    assert cache.lookup(tmp_path / "cache", "key") == (entry, record)
    (entry / "program.pte").write_bytes(b"other")
    assert cache.lookup(tmp_path / "cache", "key") is None
    source.write_bytes(b"program")
    cache.store(tmp_path / "cache", "key", {"program.pte": source}, {"x": 2})
    assert cache.lookup(tmp_path / "cache", "key") is not None
    (entry / "record.json").unlink()
    assert cache.lookup(tmp_path / "cache", "key") is None


def test_an_entry_that_another_build_made_meanwhile_stays(tmp_path: Path) -> None:
    """Two builds of one program may end at once: the first entry is kept, with the file that the other one opened."""
    for name in ("first", "second"):
        (tmp_path / name).write_text("program")
    entry, record = cache.store(tmp_path / "cache", "key", {"program.pte": tmp_path / "first"}, {"x": 1})
    with (entry / "program.pte").open() as opened:
        assert cache.store(tmp_path / "cache", "key", {"program.pte": tmp_path / "second"}, {"x": 2}) == (entry, record)
        assert opened.read() == "program"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["key"]


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME is honoured when absolute, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.default_folder() == Path("/somewhere/edge-experts/programs")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.default_folder() == Path.home() / ".cache/edge-experts/programs"


def test_a_failed_build_leaves_the_old_package_and_no_rubbish(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last step fails, the folder still holds the package that was there, and nothing else."""
    out = tmp_path / "target"
    build("soft-old", out=out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

    def fail(*_: object) -> None:
        raise ExportError("disk full")

    monkeypatch.setattr("export.packaging.package_folder._sync", fail)
    with pytest.raises(ExportError, match="disk full"):
        build("soft-new", out=out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_second_build_replaces_the_package(build: Build, tmp_path: Path) -> None:
    """The new package stands in the place of the old one, and nothing beside it."""
    out = tmp_path / "target"
    build("soft-old", out=out)
    build("soft-new", out=out, labels=("p", "q", "r"))
    assert Package.open(out).manifest.architecture.labels == ("p", "q", "r")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_folder_that_is_no_package_is_not_replaced(tmp_path: Path) -> None:
    """Somebody's folder or file is refused; an empty folder is taken."""
    (tmp_path / "mine").mkdir()
    check_target(tmp_path / "mine")
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ExportError, match="other things in it"):
        check_target(tmp_path / "mine")
    with pytest.raises(ExportError, match="is no folder"):
        check_target(tmp_path / "mine" / "thesis.txt")


@pytest.mark.matrix  # test_causal_lm.py has the int8 package
def test_roberta_comes_in_by_the_table(build: Build, tmp_path: Path) -> None:
    """Another family with other position numbers is exported and proved by the same mechanism."""
    built = build("roberta", model=str(save_tiny(tmp_path / "tiny-roberta", "roberta")))
    assert built.package.manifest.architecture.backbone.family == "roberta"
    assert built.package.manifest.tiers[0].proof["gradient_error"] < 1e-4


def test_a_decoder_can_name_labels(build: Build, tmp_path: Path) -> None:
    """Its norms make a value "mean" in ONNX, as the bank's input is called: each has a name of its own."""
    built = build("llama", model=str(save_tiny(tmp_path / "llama", "llama")))
    assert 0 < built.package.manifest.tiers[0].proof["gradient_error"] < 1e-4
    assert built.package.manifest.proof["onnx_probability_difference"] < 1e-3


def test_a_wrong_program_is_not_proved(build: Build, tiny: Path, tmp_path: Path) -> None:
    """A program whose gradients differ from eager PyTorch's is refused with the numbers."""
    from export.proving.proof import judge

    built = build("soft")
    model, method = _shapes(built)
    info = backbone.find(str(tiny))
    inputs = proof_inputs(model, method, info.sizes.vocabulary)
    (ran,) = run_methods(built.package.path("program.pte"), [Run(method.name, tuple(inputs.values()), 0)], tmp_path)
    adapted = built.package.manifest.architecture.adapted_layers
    reference = Reference(backbone.load(info), info.family, adapted, model)
    judge(inputs, ran, reference, model, method, quantize=Quantization.NONE)
    other = {**inputs, "labels": inputs["labels"].roll(1, 0)}
    with pytest.raises(ProofError, match=r"differ from eager PyTorch's by .* \(limit 1e-04\)"):
        judge(other, ran, reference, model, method, quantize=Quantization.NONE)


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    """The runtime's refusal becomes one line."""
    path = tmp_path / "program.pte"
    path.write_bytes(b"no program at all, but long enough to be read as a header")
    with pytest.raises(ProofError, match=r"the runtime cannot execute program\.pte"):
        run_methods(path, [Run("forward", (torch.zeros(1),), 0)], tmp_path)


def test_quantization_left_outside_is_refused() -> None:
    """A graph in which a delegate did not take a product or a quantization never becomes a program."""
    from export.compiling.lowering import _check

    _check({"train": {"aten.embedding.default": 1}})
    with pytest.raises(LoweringError, match=r"method train: aten\.mm\.default, quantized_decomposed"):
        _check({"train": {"aten.mm.default": 2, "quantized_decomposed.choose_qparams.tensor": 1}})


def test_loss_curve_over_50_steps_follows_eager(build: Build, tiny: Path) -> None:
    """Fed with its own outputs, the program's loss falls as eager PyTorch's with torch.optim.AdamW, for 50 steps."""
    from executorch.runtime import Runtime

    built = build("soft")
    model, method = _shapes(built)
    info = backbone.find(str(tiny))
    inputs = proof_inputs(model, method, info.sizes.vocabulary, seed=1)
    eager = _eager_curve(Reference(backbone.load(info), info.family, (0, 1, 2), model), dict(inputs), 50)
    runner = Runtime.get().load_program(str(built.package.path("program.pte"))).load_method(method.name)
    assert runner is not None
    names = [port.name for port in output_ports(model, method)]
    state, curve = dict(inputs), []
    for number in range(1, 51):
        state["hyper"] = _hyper(number)
        outputs = dict(zip(names, (tensor.clone() for tensor in runner.execute(list(state.values()))), strict=True))
        curve.append(float(outputs["loss"][0]))
        state.update({name: tensor for name, tensor in outputs.items() if name in state})
    assert curve[-1] < 0.5 * curve[0]
    np.testing.assert_allclose(curve, eager, rtol=2e-3, atol=1e-4)


def _hyper(number: int) -> Tensor:
    corrections = [1 / (1 - 0.9**number), 1 / (1 - 0.999**number)]
    return torch.tensor([2e-3, 1e-3, 0.01, *corrections, 2e-3, 0.0, 0.0])


def _eager_curve(reference: Reference, inputs: dict[str, Tensor], steps: int) -> list[float]:
    parameters = {name: torch.nn.Parameter(inputs[name].clone()) for name in ("trained", "shared", "head")}
    rates = {"trained": 2e-3, "shared": 2e-3, "head": 1e-3}
    groups = [{"params": [parameters[name]], "lr": rate} for name, rate in rates.items()]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    curve = []
    for _ in range(steps):
        loss, gradients = reference_gradients(reference, {**inputs, **{n: p.data for n, p in parameters.items()}})
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        optimizer.step()
        curve.append(float(loss))
    return curve


def test_manifest_is_plain_json(build: Build) -> None:
    """Another language reads the manifest with its own JSON parser."""
    text = (build("soft").package.folder / "manifest.json").read_text()
    assert json.loads(text)["tiers"][0]["method"] == "train_m2_f1_s12_r2_b4"


def test_a_further_tier_compiles_only_itself(build: Build, tmp_path: Path) -> None:
    """Methods that were compiled for another package are joined with the new one, over the same weights."""
    one, stages = build("soft"), list[str]()
    both = build("two-tiers", train_slots=(2, 1), out=tmp_path / "both", progress=stages.append)
    assert [stage.removeprefix("trace ") for stage in stages if stage.startswith("trace")] == ["train_m1_f2_s12_r2_b4"]
    assert [tier.method for tier in both.package.manifest.tiers] == ["train_m2_f1_s12_r2_b4", "train_m1_f2_s12_r2_b4"]
    assert set(both.outside) == {"train_m2_f1_s12_r2_b4", "train_m1_f2_s12_r2_b4", *PREDICTIONS}
    assert all(0 < tier.proof["gradient_error"] < 1e-4 for tier in both.package.manifest.tiers)
    sizes = [built.package.manifest.files["program.pte"].bytes for built in (one, both)]
    assert sizes[0] < sizes[1] < sizes[0] + backbone_bytes()  # its graph, and no second copy of the weights


def backbone_bytes() -> int:
    """Return the bytes of the tiny backbone's frozen linears in float32: 3 layers, each way once."""
    return 2 * 3 * 4 * (4 * 32 * 32 + 2 * 32 * 48)


def test_an_interrupted_build_goes_on_where_it_was(build: Build, tmp_path: Path) -> None:
    """Ctrl-C when the methods are finished and not yet joined: the next build joins them and compiles nothing."""
    settings: dict[str, object] = {"cache_dir": tmp_path / "cache", "out": tmp_path / "out", "layers": "last:1"}

    def interrupt(stage: str) -> None:
        if stage == "join the methods":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build("interrupted", progress=interrupt, **settings)
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]
    stages, totals = list[str](), list[int]()
    build("again", progress=stages.append, expect=totals.append, **settings)
    joining = [
        "join the methods",
        "prove the inference against ONNX",
        "prove train_m2_f1_s12_r2_b4 against eager PyTorch",
    ]
    assert sorted(stages[:-2]) == joining
    assert (stages[-2:], totals) == (["measure train_m2_f1_s12_r2_b4", "write the package"], [5])


def test_a_proof_with_another_digest_is_compared_by_running_both(build: Build, programs: Path, tmp_path: Path) -> None:
    """Such a proof came from another machine: the joined program and the method by itself run here, and agree."""
    kept, first = tmp_path / "cache", build("soft")
    for entry in [Path(shutil.copytree(entry, kept / entry.name)) for entry in programs.glob("[!.]*")]:
        record = json.loads((entry / "record.json").read_text())
        if "program.pte" in record["files"]:
            shutil.rmtree(entry)  # so that the methods are joined again
            continue
        for proof in record.get("methods", {}).values():
            if "outputs" in proof:
                proof["outputs"] = "0" * 64
                (entry / "record.json").write_text(json.dumps(record))
    stages: list[str] = []
    again = build("soft", cache_dir=kept, out=tmp_path / "again", progress=stages.append)
    assert [stage for stage in stages if stage.startswith(("trace", "compare"))] == ["compare train_m2_f1_s12_r2_b4"]
    assert again.package.manifest.files == first.package.manifest.files


def test_a_method_that_computes_otherwise_in_company_is_refused(build: Build, tiny: Path, tmp_path: Path) -> None:
    """Held against the int8 program's method of the same name, float32's is not itself."""
    from export.packaging.tasks import compare_methods
    from export.planning.job import Job

    joined, other = build("soft"), build("int8", **VARIANTS["int8"])
    model, method = _shapes(joined)
    shutil.copy(joined.package.path("program.pte"), tmp_path / "program.pte")
    order = Job(backbone.find(str(tiny)), model, (method,), Quantization.NONE)
    compare_methods(order, [(method, [joined.package.path("program.pte")])], tmp_path, lambda _: None)
    with pytest.raises(ProofError, match=rf"{method.name} computes .*e.* apart from itself in the joined program"):
        compare_methods(order, [(method, [other.package.path("program.pte")])], tmp_path, lambda _: None)


def test_methods_of_one_name_are_not_joined(build: Build) -> None:
    """A program cannot have two methods of one name."""
    from export.compiling.linking import link

    data = build("soft").package.path("program.pte").read_bytes()
    with pytest.raises(LoweringError, match="a method of the same name: predict_s12_r1_b1, "):
        link([data, data])
