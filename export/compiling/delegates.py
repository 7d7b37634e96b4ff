"""What delegates may hold so that runtimes from 1.3 on compute right: constants of GEMMs only, no two packed as one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from torch import Tensor
from torch.export import ExportedProgram

from export.errors import LoweringError

_GEMM: Final = ("aten.linear", "quantized_decomposed.dequantize_per_channel")


def check_delegates(methods: Mapping[str, Sequence[ExportedProgram]]) -> None:
    """Check the delegates of each method of a program.

    Raises:
        LoweringError: saying what an old runtime would compute wrong, without an error.
    """
    for method, delegates in methods.items():
        for inside in delegates:
            check_constants(method, inside)
    check_packing(methods)


def check_constants(method: str, inside: ExportedProgram) -> None:
    """Refuse a delegate with constants that are no weight or bias of a GEMM.

    Runtimes before 1.4.1, the Android ones among them, free such constants and then compute wrong gradients silently.
    """
    held = _held(inside)
    for node in inside.graph.nodes:
        readers = {getattr(user.target, "__name__", "") for user in node.users} if node.name in held else set()
        foreign = [name for name in sorted(readers) if not name.startswith(_GEMM)]
        if foreign:
            raise LoweringError(f"method {method}: a delegate holds a constant operand of {', '.join(foreign)}")


def _held(inside: ExportedProgram) -> dict[str, str]:
    """Return the constants of a delegate: names in the graph, and in its state."""
    signature = inside.graph_signature
    return {
        **signature.inputs_to_buffers,
        **signature.inputs_to_parameters,
        **signature.inputs_to_lifted_tensor_constants,
    }


def check_packing(methods: Mapping[str, Sequence[ExportedProgram]]) -> None:
    """Refuse a program with two constant weights that a cache of packed weights would take for one.

    XNNPACK's backend finds packed weights by the bytes of weight and bias where it was built with that cache, as
    Android's are; shape and scales are not looked at. The second of such a pair computes with the first's packing:
    wrong numbers, no error. Methods that are lowered together are checked together; those that are
    joined later (``linking``) are not held against each other.

    Args:
        methods: the delegates of each.

    Raises:
        LoweringError: naming the shapes.
    """
    seen: dict[tuple[bytes, bytes], tuple[object, ...]] = {}
    for method, delegates in methods.items():
        for inside in delegates:
            for weight, bias, scales in _weights(inside):
                packing = tuple(weight.shape), weight.dtype, _digest(scales)
                before = seen.setdefault((_digest(weight), _digest(bias)), packing)
                if before != packing:
                    raise LoweringError(
                        f"method {method}: constant weights of shape {list(packing[0])} and {list(before[0])} with the"  # type: ignore[call-overload]
                        " same bytes and bias; runtimes that cache packed weights would take one for the other:"
                        " give one of them a bias of zeros"
                    )


def _weights(inside: ExportedProgram) -> Iterator[tuple[Tensor, Tensor | None, Tensor | None]]:
    """Yield weight, bias and scales of each GEMM with a constant weight; int8 weights are their levels."""
    held, tensors = _held(inside), {**inside.state_dict, **inside.constants}

    def constant(node: object) -> Tensor | None:
        tensor = tensors.get(held.get(getattr(node, "name", ""), ""))
        return tensor if isinstance(tensor, Tensor) else None

    for node in inside.graph.nodes:
        if not getattr(node.target, "__name__", "").removeprefix("aten.").startswith("linear"):
            continue
        weight, bias, scales = node.args[1], (*node.args, None)[2], None
        if constant(weight) is None and weight.args:
            weight, scales = weight.args[:2]
        levels = constant(weight)
        if levels is not None:
            yield levels, constant(bias), constant(scales)


def _digest(tensor: Tensor | None) -> bytes:
    data = b"" if tensor is None else tensor.contiguous().numpy().tobytes()
    return hashlib.sha256(data).digest()
