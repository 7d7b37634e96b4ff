"""The inference methods of a program: which of them a text takes, and a call of one.

Axes: H experts that a program holds, B texts of a call at most, R rows of S places. A method is loaded when it is first
called, 20 MiB of packed weights for a small encoder; when memory is short, the others go before another is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.data.packed import Packed, method_capacity
from edge_runtime.program.signature import Executor
from edge_runtime.program.slots import predict_inputs
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.manifest_checks import CAUSAL_LM
from edge_runtime.wire.packing import Capacity
from edge_runtime.wire.tensors import Array


@dataclass(frozen=True)
class Method:
    """An inference method. Args: held: H; capacity: of a call."""

    name: str
    held: int
    capacity: Capacity

    @property
    def places(self) -> int:
        """R*S."""
        return self.capacity.rows * self.capacity.sequence


def methods_of(manifest: Manifest) -> tuple[Method, ...]:
    """Return the inference methods of a package, in the manifest's order."""
    methods = []
    for name in manifest.predict_methods:
        spec = manifest.methods[name]
        experts = next(tensor for tensor in spec.inputs if tensor.name == ports.EXPERTS)
        methods.append(Method(name, experts.shape[1], method_capacity(spec)))
    return tuple(methods)


def longest(methods: Sequence[Method]) -> int:
    """Return the most tokens of a text that any of these methods holds."""
    return max(method.capacity.sequence for method in methods)


def for_one(methods: Sequence[Method], count: int) -> Method:
    """Return the method for one text of ``count`` tokens: the fewest places that hold it, then the smallest B.

    A text longer than all takes the longest, and is cut.
    """
    holding = [method for method in methods if method.capacity.sequence >= min(count, longest(methods))]
    return min(holding, key=lambda method: (method.places, method.capacity.batch))


def for_many(methods: Sequence[Method]) -> Method:
    """Return the method for many texts: the one that takes most of them in a call."""
    return max(methods, key=lambda method: (method.capacity.batch, method.capacity.sequence))


class Inference:
    """Calls of inference methods with one bank.

    Args:
        program: of the package.
        manifest: of the package.
        bank: whose experts run; the first H of them where the program holds fewer than M.
        short: whether memory is short; asked before a method is loaded.
    """

    def __init__(
        self, program: Executor, manifest: Manifest, bank: Bank, short: Callable[[], bool] = lambda: False
    ) -> None:
        self.methods = methods_of(manifest)
        self._program, self._short = program, short
        architecture = manifest.architecture
        self._by_last = architecture.task == CAUSAL_LM
        held = {method.held for method in self.methods}
        self._adapters = {count: predict_inputs(bank, architecture, count) for count in held}
        self._loaded: list[str] = []

    def run(self, method: Method, tokens: Sequence[Sequence[int]], packed: Packed) -> dict[str, Array]:
        """Return the outputs of a call by name, [B, ..]; those of text t stand in row t."""
        self._make_room(method.name)
        inputs = {
            **self._adapters[method.held],
            ports.IDS: packed.spread(tokens, np.int64),
            **packed.frame(),
            ports.READOUT: packed.lasts() if self._by_last else packed.means(),
        }
        return self._program.execute(method.name, inputs)

    def one(self, tokens: Sequence[int]) -> dict[str, Array]:
        """Return the outputs for one text, [..] each."""
        method = for_one(self.methods, len(tokens))
        packed = Packed.next([len(tokens)], method.capacity)
        return {name: output[0] for name, output in self.run(method, [tokens], packed).items()}

    def release(self) -> None:
        """Free what the methods that were called have prepared."""
        while self._loaded:
            self._program.unload(self._loaded.pop())

    def _make_room(self, name: str) -> None:
        if name in self._loaded:
            return
        if self._loaded and self._short():
            self.release()
        self._loaded.append(name)
