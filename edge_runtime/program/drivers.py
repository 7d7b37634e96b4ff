"""Drivers: the two ways to execute a .pte file, and which of them works here. The only file that drives ExecuTorch.

``native`` is our C library through ctypes (`edge_runtime.native`): numpy in, numpy out, no torch, built on first use.
``python`` is `executorch.runtime`, which loads torch (hundreds of megabytes), for machines without a compiler.
``EDGE_RUNTIME_DRIVER`` or an argument forces one; otherwise native is tried first.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from edge_runtime.errors import ConfigError, ProgramError
from edge_runtime.native import build
from edge_runtime.native.binding import DTYPES, Library, NativeError, NativeProgram
from edge_runtime.native.sdk import NativeBuildError, installed_version
from edge_runtime.program.signature import Described
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

if TYPE_CHECKING:
    import types

    import numpy.typing as npt

    Array = npt.NDArray[Any]

DRIVER_VARIABLE: Final = "EDGE_RUNTIME_DRIVER"
DRIVERS: Final = ("native", "python")
XNNPACK: Final = "XnnpackBackend"
Say = Callable[[str], None]


class Opened(Described, Protocol):
    """A program as a driver opens it: tensors by position, arrays contiguous and already checked."""

    def load(self, method: str) -> None:
        """Prepare a method."""

    def unload(self, method: str) -> None:
        """Free what `load` prepared, where the driver can."""

    def execute(self, method: str, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Fill ``outputs``."""

    def close(self) -> None:
        """Free everything."""


@dataclass(frozen=True)
class Runtime:
    """What executes programs here, for `doctor`.

    Args:
        driver: "native" or "python".
        executorch: version that the driver was built with.
        library: the native library; None for the python driver.
        backends: registered delegates.
        kernels: number of registered kernels.
        threads: that kernels and XNNPACK use.
        origin: where the library came from, in words; empty for the python driver.
        notice: why the driver is not the native one; empty when it is, or was asked for.
    """

    driver: str
    executorch: str
    library: Path | None
    backends: tuple[str, ...]
    kernels: int
    threads: int
    origin: str
    notice: str

    @property
    def has_xnnpack(self) -> bool:
        """Tell whether the delegate is here that every package needs."""
        return XNNPACK in self.backends


class Driver(Protocol):
    """Opens programs in one way."""

    def open(self, path: Path, *, mmap: bool) -> Opened:
        """Open a file."""

    def set_threads(self, count: int) -> None:
        """Set the threads of the whole process; do so before anything is executed."""

    def runtime(self, notice: str = "") -> Runtime:
        """Say what this driver has."""


class NativeDriver:
    """Our C library.

    Raises:
        ProgramError: when it cannot be built or loaded.
    """

    def __init__(self, say: Say) -> None:
        library = build.ensure(say=say)
        self._origin: Final = build.origin(library)
        self._library: Final = Library(library)

    def open(self, path: Path, *, mmap: bool) -> NativeProgram:
        """Open a file."""
        return NativeProgram(self._library, path, mmap=mmap)

    def set_threads(self, count: int) -> None:
        """Set the threads of the whole process."""
        self._library.call("fl_set_threads", count)

    def runtime(self, notice: str = "") -> Runtime:
        """Say what this driver has."""
        library = self._library
        kernels = len(library.lines("fl_kernels"))
        backends = library.lines("fl_backends")
        threads = library.number("fl_threads")
        version = library.executorch_version
        return Runtime("native", version, library.path, backends, kernels, threads, self._origin, notice)


class PythonDriver:
    """`executorch.runtime`.

    Raises:
        ProgramError: when it or torch is not installed.
    """

    def __init__(self) -> None:
        try:
            import torch  # noqa: PLC0415 - hundreds of megabytes: only when this driver is used
            from executorch.extension.pybindings import portable_lib  # noqa: PLC0415
            from executorch.runtime import Runtime as ExecuTorch  # noqa: PLC0415
        except ImportError as error:
            raise ProgramError(
                f"executorch.runtime cannot be imported ({error}); run: pip install executorch"
            ) from error
        self._torch: Final = torch
        self._library: Final = portable_lib
        self._runtime: Final = ExecuTorch.get()

    def open(self, path: Path, *, mmap: bool) -> Opened:
        """Open a file; ``mmap`` is this runtime's own business."""
        del mmap
        if not path.is_file():
            raise ProgramError(f"{path}: no such file")
        try:
            return _PythonProgram(self._torch, self._runtime.load_program(path))
        except RuntimeError as error:
            raise ProgramError(f"{path}: not a usable ExecuTorch program ({_one_line(error)})") from error

    def set_threads(self, count: int) -> None:
        """Set the threads of the whole process."""
        self._library._unsafe_reset_threadpool(count)  # noqa: SLF001 - the runtime's only way

    def runtime(self, notice: str = "") -> Runtime:
        """Say what this driver has."""
        backends = tuple(self._runtime.backend_registry.registered_backend_names)
        kernels = len(self._runtime.operator_registry.operator_names)
        threads = int(self._library._threadpool_get_thread_count())  # noqa: SLF001
        return Runtime("python", installed_version() or "?", None, backends, kernels, threads, "", notice)


class _PythonProgram:
    """The `Opened` of the python driver."""

    def __init__(self, torch: types.ModuleType, program: Any) -> None:  # noqa: ANN401 - untyped library
        self._torch: Final = torch
        self._program: Final = program
        self._lock: Final = threading.Lock()
        self.methods: Final[tuple[str, ...]] = tuple(sorted(program.method_names))

    def spec(self, method: str) -> MethodSpec:
        meta = self._program.metadata(method)
        inputs = (_described("input", i, meta.input_tensor_meta(i)) for i in range(meta.num_inputs()))
        outputs = (_described("output", i, meta.output_tensor_meta(i)) for i in range(meta.num_outputs()))
        return MethodSpec(tuple(inputs), tuple(outputs))

    def load(self, method: str) -> None:
        with self._lock:
            self._loaded(method)

    def unload(self, method: str) -> None:
        """Do nothing: this runtime keeps every method that it loaded until the program is closed."""

    def execute(self, method: str, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        tensors = [self._torch.from_numpy(array if array.flags.writeable else array.copy()) for array in inputs]
        with self._lock:
            try:
                results = self._loaded(method).execute(tensors)
            except RuntimeError as error:
                raise ProgramError(f"method {method} failed: {_one_line(error)}") from error
        for result, output in zip(results, outputs, strict=True):
            np.copyto(output, result.numpy())

    def close(self) -> None:
        """Do nothing: the program is freed with its last reference."""

    def _loaded(self, method: str) -> Any:  # noqa: ANN401 - untyped library
        try:
            return self._program.load_method(method)
        except RuntimeError as error:
            raise ProgramError(f"method {method} cannot be loaded: {_one_line(error)}") from error


def _described(kind: str, index: int, meta: Any) -> TensorSpec:  # noqa: ANN401 - untyped library
    return TensorSpec(f"{kind}_{index}", DTYPES.get(int(meta.dtype()), f"dtype {meta.dtype()}"), tuple(meta.sizes()))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@functools.cache
def _native() -> NativeDriver:
    return NativeDriver(_to_stderr)


@functools.cache
def _python() -> PythonDriver:
    return PythonDriver()


@functools.cache
def _automatic() -> tuple[Driver, str]:
    """Return the native driver, or the other one and why."""
    try:
        return _native(), ""
    except (NativeBuildError, NativeError) as error:
        reason = str(error)
    try:
        driver = _python()
    except ProgramError as error:
        raise ProgramError(f"no way to execute programs: {reason}; and {error}") from error
    notice = f"using executorch.runtime, which loads torch and needs far more memory, because {reason}"
    _to_stderr(f"notice: {notice}")
    return driver, notice


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def choose_driver(name: str | None = None) -> tuple[Driver, str]:
    """Return the driver to use and, when it is a fallback, why.

    Args:
        name: "native" or "python"; None reads EDGE_RUNTIME_DRIVER, and without it tries native first.

    Raises:
        ConfigError: for another name.
        ProgramError: when the driver does not work here.
    """
    wanted = name or os.environ.get(DRIVER_VARIABLE) or "auto"
    if wanted == "auto":
        return _automatic()
    if wanted not in DRIVERS:
        raise ConfigError(f"got driver {wanted!r}, expected one of {', '.join(DRIVERS)} (or unset {DRIVER_VARIABLE})")
    return (_native() if wanted == "native" else _python()), ""


def inspect(driver: str | None = None) -> Runtime:
    """Say what executes programs here; arguments and errors as `choose_driver`."""
    chosen, notice = choose_driver(driver)
    return chosen.runtime(notice)
