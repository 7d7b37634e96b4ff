"""Join programs of one method each into one program of several methods over one set of weights.

A compiled method refers to what lies outside it by three kinds of number or name: its constants, its delegates' bytes,
and the weights that delegates share by a name made from their content. The first two are renumbered, the third is
united; equal bytes are kept once. So a method is compiled once, whatever program it becomes part of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from executorch.exir import schema
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir._serialize._program import PTEFile, deserialize_pte_binary, serialize_pte_binary
from executorch.exir.capture import ExecutorchBackendConfig
from executorch.exir.scalar_type import ScalarType

from export.errors import LoweringError

SHARED_ALIGNMENT: Final = 16
"""Bytes; XNNPACK asks for it, and a file does not say what its shared weights were aligned to."""
_SIZES: Final = {
    ScalarType.BYTE: 1, ScalarType.CHAR: 1, ScalarType.BOOL: 1, ScalarType.SHORT: 2, ScalarType.HALF: 2,
    ScalarType.INT: 4, ScalarType.FLOAT: 4, ScalarType.LONG: 8, ScalarType.DOUBLE: 8,
}  # fmt: skip


@dataclass
class _Pool:
    """Byte strings, each kept once. Args: items: in order; places: number of each."""

    items: list[bytes] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)

    def add(self, data: bytes) -> int:
        """Return the number of ``data``."""
        place = self.places.setdefault(data, len(self.items))
        if place == len(self.items):
            self.items.append(data)
        return place


def link(parts: Sequence[bytes]) -> bytes:
    """Return the program that has the methods of all ``parts``, each the bytes of a program file.

    Raises:
        LoweringError: when two parts have a method of the same name, or one keeps state between calls.
    """
    constants, delegates, shared = _Pool([b""], {b"": 0}), _Pool(), NamedDataStore()
    plans: list[Any] = []
    version = 0
    for data in parts:
        part = deserialize_pte_binary(data)
        if part.mutable_data is not None:
            raise LoweringError("a method keeps state between calls; methods that are joined may not")
        version = part.program.version
        for plan in part.program.execution_plan:
            _renumber_constants(plan, part.program.constant_buffer, constants)
            for delegate in plan.delegates:
                place = delegates.add(bytes(part.program.backend_delegate_data[delegate.processed.index].data))
                delegate.processed = schema.BackendDelegateDataReference(schema.DataLocation.INLINE, place)
            plans.append(plan)
        if part.named_data is not None:
            for name, entry in part.named_data.pte_data.items():
                shared.add_named_data(name, part.named_data.buffers[entry.buffer_index], alignment=SHARED_ALIGNMENT)
    names = [plan.name for plan in plans]
    if len(set(names)) < len(names):
        raise LoweringError(f"parts have a method of the same name: {', '.join(sorted(names))}")
    return _written(version, sorted(plans, key=lambda plan: str(plan.name)), constants, delegates, shared)


def _renumber_constants(plan: Any, buffers: Sequence[Any], pool: _Pool) -> None:  # noqa: ANN401 - untyped library
    """Give every constant of a method its number in the pool; 0 means no constant."""
    for value in plan.values:
        tensor = value.val
        if isinstance(tensor, schema.Tensor) and tensor.data_buffer_idx:
            # What was read back has padding behind it, more or less of it by what came next in that file.
            size = math.prod(tensor.sizes) * _SIZES[tensor.scalar_type]
            tensor.data_buffer_idx = pool.add(bytes(buffers[tensor.data_buffer_idx].storage[:size]))


def _written(version: int, plans: list[Any], constants: _Pool, delegates: _Pool, shared: NamedDataStore) -> bytes:
    program = schema.Program(
        version=version,
        execution_plan=plans,
        constant_buffer=[schema.Buffer(storage=data) for data in constants.items],
        backend_delegate_data=[schema.BackendDelegateInlineData(data=data) for data in delegates.items],
        segments=[],
        constant_segment=schema.SubsegmentOffsets(segment_index=0, offsets=[]),
    )
    usual = ExecutorchBackendConfig()
    return bytes(
        serialize_pte_binary(
            PTEFile(program, None, shared.get_named_data_store_output()),
            extract_delegate_segments=usual.extract_delegate_segments,
            segment_alignment=usual.segment_alignment,
            constant_tensor_alignment=usual.constant_tensor_alignment,
            delegate_alignment=usual.delegate_alignment,
        )
    )
