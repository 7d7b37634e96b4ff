"""The training step's benchmark: comparing, the floor's products, what the runner is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.train_step import compare, native
from benchmarks.train_step.compare import Arm, ArmError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

ROOT = Path(__file__).parents[2]


def arm(script: str) -> Arm:
    """Return an arm whose process runs a line of Python."""
    return Arm((sys.executable, "-c", script), steps=2, warm_up=1, file_mb=1.5, about="a line")


def saying(**figures: Any) -> str:
    """Return a line that prints figures as an arm does."""
    whole = {"ms": [1.0], "cpu_ms": [2.0], "peak_rss_mib": 3.0, "first": [0.5], **figures}
    return f"print('noise'); print({json.dumps(whole)!r})"


def test_ratios_are_the_other_arm_over_ours_and_ours_over_the_floor() -> None:
    """Medians over all runs: ours 20 of {10, 20, 30}, eager 100, floor 16."""
    arms = {name: arm("") for name in ("ours", "eager", "floor")}
    one = {"cpu_ms": [1.0], "peak_rss_mib": 5.0}
    runs = {
        "ours": [{"ms": [10.0, 30.0], **one}, {"ms": [20.0], **one}],
        "eager": [{"ms": [100.0], **one}],
        "floor": [{"ms": [16.0], **one}],
    }
    told = compare.summary(arms, runs)
    assert told["ratios"] == {"eager": 5.0, "floor": 1.25}
    assert told["arms"]["ours"] == {
        "ms_median": 20.0, "ms_min": 10.0, "cpu_ms_median": 1.0, "peak_rss_mib": 5.0, "file_mb": 1.5,
    }  # fmt: skip


def test_arms_run_in_turns() -> None:
    """Two repeats of two arms: each runs twice, and what is said follows the order."""
    said: list[str] = []
    arms = {"a": arm(saying()), "b": arm(saying(ms=[4.0, 6.0]))}
    runs, failed = compare.interleaved(arms, 2, 1, said.append)
    assert not failed
    assert [line.split(": ")[1] for line in said] == ["a 1.0 ms", "b 5.0 ms"] * 2
    assert [len(of_arm) for of_arm in runs.values()] == [2, 2]


def test_an_arm_is_told_steps_warm_up_and_threads() -> None:
    """Its process gets them as options."""
    script = "import json, sys; print(json.dumps({'argv': sys.argv[1:], 'first': []}))"
    assert compare.run("a", arm(script), 2)["argv"] == ["--steps", "2", "--warm-up", "1", "--threads", "2"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("raise SystemExit('no such program')", "slow ended with status 1: no such program"),
        ("", "slow ended with status 0: no message"),
        (saying(first=[None]), "must give a finite loss"),
    ],
)
def test_an_arm_that_fails_is_named(script: str, words: str) -> None:
    """Its last words come with it; a loss that is no number is a failure, too."""
    with pytest.raises(ArmError, match=words):
        compare.run("slow", arm(script), 1)


def test_an_arm_that_failed_is_left_out_and_not_tried_again() -> None:
    """The other one is measured all the same."""
    said: list[str] = []
    runs, failed = compare.interleaved(
        {"a": arm("raise SystemExit('no compiler')"), "b": arm(saying())}, 2, 1, said.append
    )
    assert (list(runs), len(runs["b"])) == (["b"], 2)
    assert failed == {"a": "a ended with status 1: no compiler"}
    assert said == ["failed: a ended with status 1: no compiler", "run 1 of 2: b 1.0 ms", "run 2 of 2: b 1.0 ms"]


def test_a_bundle_runs_with_nothing_but_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that it carries are enough, and its commands find the folder and the Python they run in.

    Its archive is in pieces, here of 1 kB.
    """
    from benchmarks.train_step import bundle

    monkeypatch.setattr(bundle, "PIECE", 1000)

    payload = tmp_path / "payload"
    bundle.copy_code(payload)
    (payload / "lib").mkdir()
    line = saying() + "; import sys; assert sys.argv[1].endswith('/payload/work.json'), sys.argv"
    one = {"command": ["{python}", "-c", line, "{here}/work.json"], "steps": 1, "warm_up": 0, "file_mb": 2.0}
    about = {"work": "little", "commit": "abc", "arms": {"ours": {**one, "about": "x"}}}
    (payload / "arms.json").write_text(json.dumps(about))
    target = tmp_path / "there"
    target.mkdir()
    run = bundle.pack(payload, target)
    done = subprocess.run(
        [sys.executable, "-I", run, "--repeats", "2"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["arms"]["ours"]["file_mb"] == 2.0
    assert (told["work"], told["commit"], told["failed"]) == ("little", "abc", {})
    pieces = sorted(target.glob("payload.tar.xz.*"))
    assert len(pieces) > 1
    assert {piece.stat().st_size for piece in pieces[:-1]} == {1000}
    assert {path.name for path in target.iterdir()} - {piece.name for piece in pieces} == {"payload", "run.py"}


def test_what_a_bundle_printed_is_kept_with_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machine and commit are those of the run, not of this checkout."""
    from benchmarks import record
    from benchmarks.train_step.__main__ import main

    monkeypatch.setattr(record, "RESULTS", tmp_path)
    (tmp_path / "said").write_text('noise\n{"arms": {}, "machine": "a board", "commit": "abc1234"}\n')
    assert main(["--keep", str(tmp_path / "said")]) == 0
    (line,) = record.read("train_step")
    assert (line["machine"], line["commit"], line["arms"]) == ("a board", "abc1234", {})
    assert line["command"].startswith("python run.py")


def test_outputs_named_like_inputs_are_fed_back() -> None:
    """Output 2 is w, the first input; output 0 and 1 are nobody's."""
    tensor = TensorSpec("w", "float32", (2,))
    spec = MethodSpec((tensor, TensorSpec("ids", "int64", (1, 3))), (TensorSpec("loss", "float32", (1,)), tensor))
    assert native.feeds_of(spec) == [(1, 0)]
    inputs = native.inputs_of(spec)
    assert [(array.dtype.name, array.shape) for array in inputs] == [("float32", (2,)), ("int64", (1, 3))]
    command = native.command(Path("fl_run"), Path("p.pte"), "train", Path("in"), native.feeds_of(spec))
    assert command == ("fl_run", "p.pte", "train", "--inputs", "in", "--carry", "1:0")


def test_the_floor_has_the_frozen_products_of_a_step_and_no_dead_ones(tmp_path: Path) -> None:
    """Two layers with experts beside both feed-forwards, 8 tokens, width 8, inner 16.

    Forward: q, k, v, out, up, down in both layers, 12. Backward stops below the lowest expert: the whole second layer
    (6) and nothing of the first one, whose experts read and write beside its feed-forward. q, k and v share an input.
    """
    torch = pytest.importorskip("torch")
    from transformers import BertConfig, BertModel

    from benchmarks.train_step import floor
    from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports
    from export.compiling.trace import sample_inputs, trace
    from export.model.graft import Graft
    from export.model.step import build_step
    from export.source.families import FAMILIES

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, attn_implementation="eager",
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False).eval()
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    model, method = (
        ModelShape(BankShape((0, 1), 2, 2, 0, 8, 3)),
        MethodShape(MethodKind.TRAIN, 1, 1, sequence=4, rows=2, batch=2),
    )
    graft = Graft(backbone, FAMILIES["bert"], (0, 1), quantize_embedding=True)
    graph = trace(build_step(graft, model, method), sample_inputs(input_ports(model, method)))
    products = floor.products(graph)
    shapes = [tuple(product.weight.shape) for product in products]
    layer = [(8, 8)] * 4 + [(16, 8), (8, 16)]
    assert shapes[:12] == layer * 2
    assert sorted(shapes[12:]) == sorted([(8, 8)] * 4 + [(16, 8), (8, 16)])
    assert {product.rows for product in products} == {8}
    assert len({product.source for product in products[:3]}) == 1

    data, inputs = floor.lowered(products, lambda _stage: None)
    assert [tuple(tensor.shape) for tensor in inputs] == [(8, 8)]
    (tmp_path / "floor.pte").write_bytes(data)
    from edge_runtime.program.program import Program

    with Program.open(tmp_path / "floor.pte") as program:
        out = program.execute(floor.METHOD, [inputs[0].numpy()])
    # Only k and v of both layers and of the backward share their input and are read by nobody, and the last product.
    assert all(np.isfinite(array).all() for array in out.values())
    newest = torch.nn.functional.linear
    q = newest(inputs[0], products[0].weight, products[0].bias)
    assert float((torch.from_numpy(out["output_0"]) - q).norm() / q.norm()) < 0.02


def test_help_names_every_arm() -> None:
    """And an unknown one is bad usage."""
    command = [sys.executable, "-m", "benchmarks.train_step"]
    told = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in ("ours", "ours_python", "eager", "compile", "documented", "stock_xnnpack", "onnx_inference", "floor"):
        assert f"  {name} " in told
    done = subprocess.run([*command, "--arms", "ours,x"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "got x, expected some of ours" in done.stderr) == (2, True)
