"""Lowers the little programs that test_program.py runs: `python little_programs.py FOLDER`.

A process of its own, because it loads torch and the tests' process must not need it. Each program has two methods:
``score(x f32[3,8], k i64[5]) -> (gelu(x W^T + b), k, k + 1)`` with W[i,j] = (8i + j) / 32 - 0.5, b = [0, 1, 2, 3] / 4
(a GEMM in XNNPACK, an input passed through, a portable kernel), and
``step(w f32[4,6], g f32[4,6]) -> (sum((w - g/2)^2) [1], w - g/2)`` (all elementwise). Files:

    planned.pte     inputs and outputs live in the arenas (ExecuTorch's default)
    direct.pte      inputs and outputs are the caller's buffers
    odd.pte         ``whole(x f32[2], 3)`` takes a number; ``wide(x f32[1,2,3,4] channels last)`` is not row-major
    fatal.pte       ``score`` hands a number to a kernel as a tensor: ExecuTorch's fatal check
    kernel.pte      ``score`` names a kernel that nobody has
    huge.pte        ``score`` wants an arena of 2^60 bytes
    twins.pte       both methods are called ``step``
    heavy.pte       ``turn(x f32[1,1024])`` moves x by 136 places, in 16 GEMMs of 4 MiB each (the i-th by i places)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary
from executorch.exir.passes import MemoryPlanningPass


class Score(torch.nn.Module):
    """A linear layer, a copy and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 4)
        with torch.no_grad():
            self.linear.weight.copy_(torch.arange(32.0).reshape(4, 8) / 32 - 0.5)
            self.linear.bias.copy_(torch.arange(4.0) / 4)

    def forward(self, x: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the module's docstring."""
        return torch.nn.functional.gelu(self.linear(x)), k, k + 1


class Step(torch.nn.Module):
    """A step of gradient descent."""

    def forward(self, w: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the module's docstring."""
        new = w - 0.5 * g
        return (new * new).sum().reshape(1), new


class Whole(torch.nn.Module):
    """Takes a number beside a tensor."""

    def forward(self, x: torch.Tensor, n: int) -> torch.Tensor:
        """See the module's docstring."""
        return x * n


class Wide(torch.nn.Module):
    """Takes a tensor in another order of axes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the module's docstring."""
        return x + 1


class Turn(torch.nn.Module):
    """Products with permutations: exact, and no two of the same bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = torch.nn.ModuleList(torch.nn.Linear(1024, 1024, bias=False) for _ in range(16))
        with torch.no_grad():
            for places, turn in enumerate(self.turns, 1):
                turn.weight.copy_(torch.eye(1024).roll(places, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the module's docstring."""
        for turn in self.turns:
            x = turn(x)
        return x


def lower(methods: dict[str, tuple[torch.nn.Module, tuple[Any, ...]]], *, planned: bool) -> bytes:
    """Return the .pte of the methods."""
    programs = {name: torch.export.export(module.eval(), args) for name, (module, args) in methods.items()}
    edge = to_edge_transform_and_lower(
        programs,
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    planning = MemoryPlanningPass(alloc_graph_input=planned, alloc_graph_output=planned)
    return bytes(edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=planning)).buffer)


def broken(
    data: bytes,
    *,
    args: list[int] | None = None,
    kernel: str | None = None,
    arena: int | None = None,
    name: str | None = None,
) -> bytes:
    """Return a program whose method ``score`` has another call, kernel, arena or name."""
    file = deserialize_pte_binary(data)
    plan = next(plan for plan in file.program.execution_plan if plan.name == "score")
    if args is not None:
        plan.chains[0].instructions[1].instr_args.args = args
    if kernel is not None:
        plan.operators[0].name = kernel
    if arena is not None:
        plan.non_const_buffer_sizes[-1] = arena
    if name is not None:
        plan.name = name
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


def main(folder: Path) -> None:
    """Write all files."""
    both: dict[str, tuple[torch.nn.Module, tuple[Any, ...]]] = {
        "score": (Score(), (torch.zeros(3, 8), torch.zeros(5, dtype=torch.int64))),
        "step": (Step(), (torch.zeros(4, 6), torch.zeros(4, 6))),
    }
    planned, direct = lower(both, planned=True), lower(both, planned=False)
    wide = torch.zeros(1, 2, 3, 4).to(memory_format=torch.channels_last)
    odd = lower({"whole": (Whole(), (torch.zeros(2), 3)), "wide": (Wide(), (wide,))}, planned=True)
    files = {
        "planned": planned,
        "direct": direct,
        "odd": odd,
        "fatal": broken(direct, args=[5, 0, 5, 4, 4]),
        "kernel": broken(direct, kernel="aten::no_such_kernel"),
        "huge": broken(planned, arena=2**60),
        "twins": broken(direct, name="step"),
        "heavy": lower({"turn": (Turn(), (torch.zeros(1, 1024),))}, planned=True),
    }
    for name, data in files.items():
        (folder / f"{name}.pte").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
