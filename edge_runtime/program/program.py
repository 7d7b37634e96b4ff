"""Programs: open a .pte file, ask what its methods take and give, execute them.

The file itself does not name its tensors: the manifest does, and a program is checked against it when it is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from edge_runtime.errors import ConfigError, ProgramError
from edge_runtime.program.drivers import Opened, choose_driver
from edge_runtime.program.signature import by_name, check_method, checked, dtype_of
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


class Program:
    """An opened program. One thread at a time executes; others wait their turn.

    Args:
        opened: by a driver.
        path: of the file, for messages.
        methods: by name; the tensors' names, dtypes and shapes from the manifest. None takes all methods of the file,
            with tensors named ``input_0``, ``output_0``, ...

    Raises:
        ProgramError: when the file is not what ``methods`` says.
    """

    def __init__(self, opened: Opened, path: Path, methods: Mapping[str, MethodSpec] | None = None) -> None:
        self._opened: Opened | None = opened
        self.path: Final = path
        if methods is None:
            methods = {name: opened.spec(name) for name in opened.methods}
        self._methods: Final = dict(methods)
        for name, spec in self._methods.items():
            check_method(path, name, spec, opened)

    @classmethod
    def open(
        cls,
        path: Path,
        methods: Mapping[str, MethodSpec] | None = None,
        *,
        driver: str | None = None,
        threads: int | None = None,
        mmap: bool = True,
    ) -> Self:
        """Open a program.

        Args:
            path: the .pte file.
            methods: `Manifest.methods`; None trusts the file.
            driver: see `choose_driver`.
            threads: for kernels and XNNPACK, over the whole process; None leaves them (all fast cores).
            mmap: map the file; False reads it, for a file that may change while it is open.

        Raises:
            ConfigError: for an unknown driver.
            ProgramError: when the file is missing, damaged, or not what ``methods`` says.
        """
        chosen, _ = choose_driver(driver)
        if threads is not None and threads < 1:
            raise ConfigError(f"got {threads} threads, expected at least 1")
        if threads is not None:
            chosen.set_threads(threads)
        opened = chosen.open(path, mmap=mmap)
        try:
            return cls(opened, path, methods)
        except ProgramError:
            opened.close()
            raise

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that can be executed."""
        return tuple(self._methods)

    def spec(self, method: str) -> MethodSpec:
        """Return what a method takes and gives.

        Raises:
            ProgramError: when there is no such method.
        """
        try:
            return self._methods[method]
        except KeyError:
            raise ProgramError(f"{self.path} has no method {method}; it has {', '.join(self._methods)}") from None

    def execute(
        self, method: str, inputs: Mapping[str, Array] | Sequence[Array], out: Mapping[str, Array] | None = None
    ) -> dict[str, Array]:
        """Run a method.

        Args:
            method: its name.
            inputs: every input, by name or in order; dtype and shape exactly as in `spec`.
            out: arrays to write some outputs into (contiguous, writable, not among the inputs); the others are new.

        Returns:
            Every output by name.

        Raises:
            ProgramError: naming the tensor, what came and what was expected; or why the method failed.
        """
        spec = self.spec(method)
        named = by_name(method, spec, inputs)
        arrays = [np.ascontiguousarray(checked(method, "input", t, named[t.name])) for t in spec.inputs]
        results = {t.name: self._output(method, t, out) for t in spec.outputs}
        unknown = sorted(set(out or ()) - set(results))
        if unknown:
            raise ProgramError(f"method {method} has no output {', '.join(unknown)}; it has {', '.join(results)}")
        self._live().execute(method, arrays, list(results.values()))
        return results

    def load(self, method: str) -> None:
        """Prepare a method now instead of at its first execution."""
        self.spec(method)
        self._live().load(method)

    def unload(self, method: str) -> None:
        """Free a method's packed weights; it is prepared again when it is next executed."""
        self.spec(method)
        self._live().unload(method)

    def close(self) -> None:
        """Free everything; closing twice does nothing."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _live(self) -> Opened:
        if self._opened is None:
            raise ProgramError(f"{self.path} is closed; open it again")
        return self._opened

    def _output(self, method: str, tensor: TensorSpec, out: Mapping[str, Array] | None) -> Array:
        if out is None or tensor.name not in out:
            return np.empty(tensor.shape, dtype_of(method, tensor))
        array = checked(method, "output", tensor, out[tensor.name])
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise ProgramError(f"method {method}, output {tensor.name}: the array must be contiguous and writable")
        return array
