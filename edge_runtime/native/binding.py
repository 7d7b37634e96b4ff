"""`fl_runtime.h` in Python: the library through ctypes, its structures, and its failures as exceptions.

numpy in, numpy out: no torch, no copy on the way in. ctypes releases the GIL while the library works.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge_runtime import built_in
from edge_runtime.errors import ProgramError
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[Any]

ABI_VERSION: Final = 1
MAX_RANK: Final = 16
OK: Final = 0
OPEN_MMAP: Final = 0
OPEN_READ: Final = 1
# numpy names by fl_dtype. numpy has no bfloat16: such a tensor is described but cannot be executed.
DTYPES: Final = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
    15: "bfloat16",
}
_CODES: Final = {np.dtype(name): code for code, name in DTYPES.items() if name != "bfloat16"}


class NativeError(ProgramError):
    """The library refused a call. Args: status: an fl_status, or 0 when the library itself cannot be loaded."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status: Final = status


class MethodInfo(ctypes.Structure):
    """fl_method_info."""

    _fields_ = (
        ("inputs", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
        ("planned_bytes", ctypes.c_uint64),
        ("loaded", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class TensorInfo(ctypes.Structure):
    """fl_tensor_info."""

    _fields_ = (
        ("shape", ctypes.c_int64 * MAX_RANK),
        ("nbytes", ctypes.c_uint64),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("planned", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class Buffer(ctypes.Structure):
    """fl_buffer."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("nbytes", ctypes.c_uint64),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("rank", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


_HANDLE: Final = ctypes.c_int64
_TEXT: Final = (ctypes.c_char_p, ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64))
_SIGNATURES: Final[dict[str, tuple[object, ...]]] = {
    "fl_backends": _TEXT,
    "fl_kernels": _TEXT,
    "fl_threads": (ctypes.POINTER(ctypes.c_int32),),
    "fl_set_threads": (ctypes.c_int32,),
    "fl_open": (ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(_HANDLE)),
    "fl_close": (_HANDLE,),
    "fl_methods": (_HANDLE, *_TEXT),
    "fl_method": (_HANDLE, ctypes.c_char_p, ctypes.POINTER(MethodInfo)),
    "fl_method_backends": (_HANDLE, ctypes.c_char_p, *_TEXT),
    "fl_input": (_HANDLE, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(TensorInfo)),
    "fl_output": (_HANDLE, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(TensorInfo)),
    "fl_load": (_HANDLE, ctypes.c_char_p),
    "fl_unload": (_HANDLE, ctypes.c_char_p),
    "fl_execute": (
        *(_HANDLE, ctypes.c_char_p),
        *(ctypes.POINTER(Buffer), ctypes.c_int32, ctypes.POINTER(Buffer), ctypes.c_int32),
    ),
}


class Library:
    """The loaded library. Every call releases the GIL and raises NativeError when it fails.

    Args:
        path: libfl_runtime.

    Raises:
        NativeError: when it cannot be loaded or speaks another ABI.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        try:
            self._library = ctypes.CDLL(str(path))
            self._library.fl_executorch_version.restype = ctypes.c_char_p
            self._library.fl_last_error.restype = ctypes.c_uint64
            self._library.fl_last_error.argtypes = (ctypes.c_char_p, ctypes.c_uint64)
            for name, arguments in _SIGNATURES.items():
                getattr(self._library, name).argtypes = arguments
        except (OSError, AttributeError) as error:
            raise NativeError(OK, f"cannot load {path}: {error}; {_remedy(path)}") from error
        abi_version = self._library.fl_abi_version()
        if abi_version != ABI_VERSION:
            raise NativeError(OK, f"{path} has ABI {abi_version}, expected {ABI_VERSION}; {_remedy(path)}")

    @property
    def executorch_version(self) -> str:
        """Version of the ExecuTorch that it was built against."""
        version: bytes = self._library.fl_executorch_version()
        return version.decode()

    def call(self, name: str, *arguments: object) -> None:
        """Call ``name``.

        Raises:
            NativeError: with the library's own words when the status is not 0.
        """
        status: int = getattr(self._library, name)(*arguments)
        if status != OK:
            raise NativeError(status, self._last_error())

    def lines(self, name: str, *arguments: object) -> tuple[str, ...]:
        """Call a function that gives a list as text, and return its items."""
        needed = ctypes.c_uint64()
        self.call(name, *arguments, None, 0, ctypes.byref(needed))
        text = ctypes.create_string_buffer(needed.value)
        self.call(name, *arguments, text, needed.value, ctypes.byref(needed))
        return tuple(text.value.decode(errors="replace").splitlines())

    def number(self, name: str) -> int:
        """Call a function that gives one int32."""
        value = ctypes.c_int32()
        self.call(name, ctypes.byref(value))
        return value.value

    def _last_error(self) -> str:
        get: Callable[[bytes | ctypes.Array[ctypes.c_char] | None, int], int] = self._library.fl_last_error
        text = ctypes.create_string_buffer(get(None, 0))
        get(text, len(text))
        return text.value.decode(errors="replace") or "the native driver gave no reason"


class NativeProgram:
    """One opened program: the `Opened` of the native driver.

    Args:
        library: the loaded library.
        path: a .pte file.
        mmap: map the file instead of reading it; it must then not change while it is open.

    Raises:
        NativeError: when the file is missing, damaged, or made for another runtime.
    """

    def __init__(self, library: Library, path: Path, *, mmap: bool = True) -> None:
        self._library: Final = library
        handle = _HANDLE()
        library.call("fl_open", os.fsencode(path), OPEN_MMAP if mmap else OPEN_READ, ctypes.byref(handle))
        self._handle = handle
        self.methods: Final = library.lines("fl_methods", handle)

    def spec(self, method: str) -> MethodSpec:
        """Return what a method takes and gives, named by position: the file has no names."""
        info = self._info(method)
        inputs = tuple(self._tensor("input", method, i) for i in range(info.inputs))
        return MethodSpec(inputs, tuple(self._tensor("output", method, i) for i in range(info.outputs)))

    def planned_bytes(self, method: str) -> int:
        """Return the bytes of a method's scratch arenas, which all methods of the program share."""
        return int(self._info(method).planned_bytes)

    def backends(self, method: str) -> tuple[str, ...]:
        """Return the distinct backends that a method delegates to."""
        return tuple(sorted(set(self._library.lines("fl_method_backends", self._handle, method.encode()))))

    def loaded(self, method: str) -> bool:
        """Tell whether a method's weights are packed and in memory."""
        return bool(self._info(method).loaded)

    def load(self, method: str) -> None:
        """Pack a method's weights now."""
        self._library.call("fl_load", self._handle, method.encode())

    def unload(self, method: str) -> None:
        """Free a method's packed weights."""
        self._library.call("fl_unload", self._handle, method.encode())

    def execute(self, method: str, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
        """Run a method on contiguous arrays, filling ``outputs``; all in the order of `spec`."""
        input_buffers, output_buffers = _buffers(inputs), _buffers(outputs)
        self._library.call(
            "fl_execute", self._handle, method.encode(), input_buffers, len(inputs), output_buffers, len(outputs)
        )

    def close(self) -> None:
        """Close the program."""
        self._library.call("fl_close", self._handle)

    def _info(self, method: str) -> MethodInfo:
        info = MethodInfo()
        self._library.call("fl_method", self._handle, method.encode(), ctypes.byref(info))
        return info

    def _tensor(self, kind: str, method: str, index: int) -> TensorSpec:
        info = TensorInfo()
        self._library.call(f"fl_{kind}", self._handle, method.encode(), index, ctypes.byref(info))
        dtype = DTYPES.get(info.dtype, f"dtype {info.dtype}")
        return TensorSpec(f"{kind}_{index}", dtype, tuple(info.shape[: info.rank]))


def _buffers(arrays: Sequence[Array]) -> ctypes.Array[Buffer]:
    return (Buffer * len(arrays))(*(_buffer(array) for array in arrays))


def _buffer(array: Array) -> Buffer:
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    address, _ = array.__array_interface__["data"]  # ``array.ctypes.data`` and ``dtype.name`` took longer than the rest
    return Buffer(address, array.nbytes, shape, array.ndim, _CODES[array.dtype])


def _remedy(path: Path) -> str:
    if path == built_in.LIBRARY:
        return "install the wheel again that is for this machine"
    return "build it again: python -m edge_runtime.native.build --force"
