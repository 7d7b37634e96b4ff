"""Exported programs on Android's own runtime, of ExecuTorch 1.3, as an app loads it: every output as on a desktop.

Skipped where Maven, npm, a JDK or a C compiler is missing; `make android-runtime-test` says what is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from matrix import cells
from torch.fx import Graph, GraphModule

from android_demo.errors import BuildError
from android_demo.runtime_on_jvm import build as layout
from android_demo.runtime_on_jvm.build import Runtime
from android_demo.runtime_on_jvm.compare import compare, inputs
from android_demo.runtime_on_jvm.run import Call, execute, facts
from edge_runtime.program.program import Program
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec
from export import cache
from export.compiling import lowering
from export.packaging.manifest import OLDEST_RUNTIME
from export.packaging.pipeline import make_package
from export.planning.config import ExportConfig, read_labels

if TYPE_CHECKING:
    from conftest import Build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KINDS: dict[str, dict[str, object]] = {
    "float32": {},
    "int8": {"quantize": "int8"},
    "int4": {"quantize": "int4", "most_tiers": 1},
    "float32 top-k": {"gate": "topk", "top_k": 2, "shared_rank": 0},
    "int4 in micro-batches above a trunk": {
        "quantize": "int4", "most_tiers": 1, "layers": "last:2", "micro_batches": 2, "recompute": "layers",
    },
    "top-k": {"quantize": "int8", "gate": "topk", "top_k": 2},
    "micro-batches": {"quantize": "int8", "micro_batches": 2},
    "last-layer": {"layers": "last:1", "recompute": "light"},
    "top-k in the upper layer": {
        "quantize": "int8", "gate": "topk", "top_k": 2, "train_slots": None, "seq_len": None, "tiers": ((2, 12, 1),),
    },
}  # fmt: skip
FIRST = tuple(KINDS)[:5]
"""Packages that other tests have, too, so that they are compiled once; what the others are made of is in them."""


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    """Return Android's runtime, laid out for this machine's Java."""
    lacking = layout.missing()
    if lacking:
        pytest.skip("Android's runtime needs " + "; ".join(lacking))
    return layout.prepare()


def test_the_runtime_is_the_one_that_manifests_name(runtime: Runtime) -> None:
    """261 operators and two backends are what that build of 1.3 registers; 1.5.1's wheel has others."""
    assert facts(runtime) == {"operators": "261", "backends": "XnnpackBackend VulkanBackend"}
    assert OLDEST_RUNTIME == "1.3.0"


@pytest.mark.parametrize("kind", cells(KINDS, FIRST))
def test_every_output_is_bit_identical(runtime: Runtime, build: Build, kind: str) -> None:
    """Four steps of every method, the file read and mapped: loss, values, moments, statistics, probabilities."""
    package = build(f"android-{kind}", **KINDS[kind]).package
    assert package.manifest.oldest_runtime == OLDEST_RUNTIME
    comparison = compare(package, runtime)
    assert len(comparison) == 2 * len(package.manifest.methods)
    assert {(one.method, one.mode): one.different for one in comparison if one.different} == {}


def test_int8_minilm_is_bit_identical(runtime: Runtime, tmp_path: Path) -> None:
    """What `python -m export.build --device pixel8` makes."""
    config = ExportConfig(
        "pixel8", None, read_labels(None, None), tmp_path / "pixel8", cache_dir=cache.default_folder()
    )
    comparison = compare(make_package(config, lambda _: None).package, runtime, steps=2)
    assert {(one.method, one.mode): one.different for one in comparison if one.different} == {}


def test_that_runtime_takes_equal_bytes_for_one_weight(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault that export keeps clear of: a row of ones and its transpose in one program; here told by the values."""
    monkeypatch.setattr(lowering, "check_delegates", lambda _: None)
    x = torch.arange(1.0, 65.0).reshape(2, 32)
    module = _sum_and_spread(x)
    path = tmp_path / "program.pte"
    path.write_bytes(lowering.lower({"f": (module, (x,))}, lambda _: None).data)
    spec = MethodSpec((TensorSpec("x", "float32", (2, 32)),), (TensorSpec("y", "float32", (2, 32)),))
    right = np.repeat(np.array([[528.0], [1552.0]], np.float32), 32, axis=1)  # 1 + .. + 32, 33 + .. + 64
    with Program.open(path, {"f": spec}) as here:
        assert np.array_equal(here.execute("f", {"x": x.numpy()})["y"], right)
    (outputs,) = execute(runtime, Call(path, "f", spec, {"x": x.numpy()})).outputs
    assert not np.array_equal(outputs["y"], right)


def _sum_and_spread(x: torch.Tensor) -> GraphModule:
    """Return a graph that sums rows [2, 32] by a row of ones, and spreads the sums by a column of ones."""
    graph, module, now = Graph(), torch.nn.Module(), x
    node = graph.placeholder("x")
    node.meta["val"] = x
    for name, shape in (("row", (1, 32)), ("column", (32, 1))):
        module.register_buffer(name, torch.ones(shape))
        weight = graph.get_attr(name)
        weight.meta["val"] = torch.ones(shape)
        now = torch.nn.functional.linear(now, torch.ones(shape))
        node = graph.call_function(torch.ops.aten.linear.default, (node, weight))
        node.meta["val"] = now
    graph.output((node,))
    return GraphModule(module, graph)


def test_what_that_runtime_refuses_is_told(runtime: Runtime, tmp_path: Path) -> None:
    """Its own words, in one line."""
    path = tmp_path / "program.pte"
    path.write_bytes(b"no program at all" * 1000)
    spec = MethodSpec((TensorSpec("x", "float32", (2,)),), ())
    with pytest.raises(BuildError, match=r"Android's runtime ended with 1: .*identifier.*ExecutorchRuntimeException"):
        execute(runtime, Call(path, "f", spec, inputs(spec)))
