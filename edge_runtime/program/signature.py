"""What a method takes and gives: arrays and files held against it. Everything here raises ProgramError, in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_runtime.errors import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

    Array = npt.NDArray[Any]


class Executor(Protocol):
    """What runs a method; `edge_runtime.program.program.Program` is one."""

    def execute(self, method: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run ``method`` on named arrays and return its outputs by name."""
        ...

    def unload(self, method: str) -> None:
        """Free what executing ``method`` has prepared."""
        ...


class Described(Protocol):
    """A program that tells what its file says."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods."""

    def spec(self, method: str) -> MethodSpec:
        """Return dtypes and shapes, with names made from positions."""


def by_name(method: str, spec: MethodSpec, inputs: Mapping[str, Array] | Sequence[Array]) -> Mapping[str, Array]:
    """Return the inputs by name, whether they came by name or in order."""
    names = [tensor.name for tensor in spec.inputs]
    if not isinstance(inputs, Mapping):
        if len(inputs) != len(names):
            raise ProgramError(f"method {method}: got {len(inputs)} inputs, expected {len(names)}: {', '.join(names)}")
        return dict(zip(names, inputs, strict=True))
    missing, unknown = sorted(set(names) - set(inputs)), sorted(set(inputs) - set(names))
    if missing or unknown:
        raise ProgramError(
            f"method {method}: missing inputs {missing}, unknown inputs {unknown}; expected {', '.join(names)}"
        )
    return inputs


def checked(method: str, kind: str, tensor: TensorSpec, array: Array) -> Array:
    """Return ``array`` when it is what ``tensor`` says; dtype and shape are never adapted."""
    what = f"method {method}, {kind} {tensor.name}"
    if not isinstance(array, np.ndarray):
        raise ProgramError(f"{what}: got {type(array).__name__}, expected a numpy array")
    if array.dtype != dtype_of(method, tensor):
        raise ProgramError(f"{what}: got {array.dtype}, expected {tensor.dtype}")
    if array.shape != tensor.shape:
        raise ProgramError(f"{what}: got shape {list(array.shape)}, expected {list(tensor.shape)}")
    return array


def dtype_of(method: str, tensor: TensorSpec) -> np.dtype[Any]:
    """Return numpy's type of a tensor."""
    try:
        return np.dtype(tensor.dtype)
    except TypeError as error:
        raise ProgramError(f"method {method}: {tensor.name} is {tensor.dtype}, which numpy does not have") from error


def check_method(path: Path, name: str, spec: MethodSpec, opened: Described) -> None:
    """Hold what the manifest says of a method against the file."""
    if name not in opened.methods:
        raise ProgramError(
            f"{path} has no method {name} although the manifest names it; it has {', '.join(opened.methods)}: "
            "export the package again"
        )
    real = opened.spec(name)
    for kind, wanted, actual in (("input", spec.inputs, real.inputs), ("output", spec.outputs, real.outputs)):
        names = [tensor.name for tensor in wanted]
        if len(set(names)) != len(names):
            raise ProgramError(f"{path}, method {name}: two {kind}s have one name: {', '.join(names)}")
        if len(wanted) != len(actual):
            raise ProgramError(
                f"{path}, method {name}: the file has {len(actual)} {kind}s, the manifest names {len(wanted)}: "
                "export the package again"
            )
        for want, have in zip(wanted, actual, strict=True):
            if (want.dtype, want.shape) != (have.dtype, have.shape):
                raise ProgramError(
                    f"{path}, method {name}, {kind} {want.name}: the file has {have.dtype} {list(have.shape)}, "
                    f"the manifest says {want.dtype} {list(want.shape)}: export the package again"
                )
