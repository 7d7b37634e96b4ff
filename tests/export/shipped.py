"""What a program file runs, read from the file itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


def outside_and_delegates(program: Path) -> dict[str, tuple[Counter[str], int]]:
    """Return for each method the kernels that it calls outside of delegates, and how often it calls a delegate."""
    from executorch.exir._serialize._program import deserialize_pte_binary
    from executorch.exir.schema import DelegateCall, KernelCall

    counts = {}
    for plan in deserialize_pte_binary(program.read_bytes()).program.execution_plan:
        calls = [order.instr_args for chain in plan.chains for order in chain.instructions]
        kernels = [plan.operators[call.op_index] for call in calls if isinstance(call, KernelCall)]
        names = Counter(f"{kernel.name}.{kernel.overload}" for kernel in kernels)
        counts[plan.name] = names, sum(isinstance(call, DelegateCall) for call in calls)
        assert len(calls) == names.total() + counts[plan.name][1], f"{plan.name}: an instruction of another kind"
    return counts
