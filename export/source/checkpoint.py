"""The weights of a model's folder as files: which they are, what they hold, and one digest over all. No torch."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from export.errors import UnsupportedModelError

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
"""Of a checkpoint in several files ("shards"): which tensor stands in which."""
_POINTER: Final = b"version https://git-lfs"
_FLOATS: Final = ("F64", "F32", "F16", "BF16")
_BUFFERS: Final = ("I64", "BOOL")
"""Position ids and masks that old checkpoints hold beside the weights."""
_OTHER_FORMATS: Final = {
    "*.gguf": "a GGUF file",
    "adapter_model.safetensors": "an adapter without its model: merge it into the model first (merge_and_unload)",
    "tf_model.h5": "TensorFlow weights",
    "flax_model.msgpack": "Flax weights",
}


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies. Args: dtype: as safetensors names it; begin, end: bytes of ``file``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int

    @property
    def values(self) -> int:
        """Number of values."""
        count = 1
        for axis in self.shape:
            count *= axis
        return count


@dataclass(frozen=True)
class Checkpoint:
    """All tensors of a model's folder, by name. Args: folder: of the files; tensors: sorted by name."""

    folder: Path
    tensors: tuple[Tensor, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors, sorted."""
        return tuple(tensor.name for tensor in self.tensors)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(tensor.values for tensor in self.tensors)

    def digest(self) -> str:
        """Return SHA-256 (hex) over (name, dtype, shape, bytes) of every tensor by name.

        The same weights saved twice have one digest: neither a file's free-form metadata nor the way in which tensors
        are spread over files counts.

        Raises:
            UnsupportedModelError: when a file ends before its tensors do.
        """
        digest = hashlib.sha256()
        for tensor in self.tensors:
            digest.update(json.dumps([tensor.name, tensor.dtype, list(tensor.shape)]).encode())
            with tensor.file.open("rb") as file:
                file.seek(tensor.begin)
                data = file.read(tensor.end - tensor.begin)
            if len(data) != tensor.end - tensor.begin:
                raise UnsupportedModelError(f"{tensor.file} is no readable safetensors file (truncated)")
            digest.update(data)
        return digest.hexdigest()


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the headers of a folder's weights: of ``model.safetensors``, or of all files that its index names.

    Raises:
        UnsupportedModelError: when there are no such files, one is damaged or a Git LFS pointer, or the weights are
            quantized.
    """
    tensors = {tensor.name: tensor for file in _files(folder) for tensor in _read_header(file)}
    checkpoint = Checkpoint(folder, tuple(tensors[name] for name in sorted(tensors)))
    _refuse_quantized(checkpoint)
    return checkpoint


def refuse_pointer(path: Path) -> None:
    """Refuse a file that is only Git LFS's note of where the file itself is.

    Raises:
        UnsupportedModelError: saying how to get the file.
    """
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise UnsupportedModelError(
                f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in that folder"
            )


def refuse_quantized_config(config: Mapping[str, Any], source: str) -> None:
    """Refuse a model whose config.json says that its weights are quantized (GPTQ, AWQ, bitsandbytes, torchao, ...).

    Raises:
        UnsupportedModelError: naming the method.
    """
    quantization = config.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, Mapping) else "unknown"
        raise UnsupportedModelError(
            f"{source}: its weights are already quantized (quantization_config: {method}); export rounds float weights"
            " itself: give the model from which it was made"
        )


def _files(folder: Path) -> tuple[Path, ...]:
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    if (folder / INDEX).is_file():
        return _shards(folder)
    raise UnsupportedModelError(f"{folder} has no {WEIGHTS}; {_what_instead(folder)}")


def _shards(folder: Path) -> tuple[Path, ...]:
    refuse_pointer(folder / INDEX)
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UnsupportedModelError(f"{folder / INDEX} is no index of weights ({error})") from error
    absent = [name for name in names if not (folder / name).is_file()]
    if absent or not names:
        raise UnsupportedModelError(
            f"{folder / INDEX} names {len(names)} files; missing: {', '.join(absent[:3]) or 'all'}; copy the model"
            " again"
        )
    return tuple(folder / name for name in names)


def _what_instead(folder: Path) -> str:
    """Say what a folder has in place of weights that can be read, and what to do."""
    pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickles:
        return (
            f"{pickles[0]} is a pickle, which can run code while it is read: if you trust it, load it with transformers"
            f" and save it again (model.save_pretrained({str(folder)!r}))"
        )
    for pattern, what in _OTHER_FORMATS.items():
        names = sorted(path.name for path in folder.glob(pattern))
        if names:
            return f"{names[0]} is {what}; save the model with transformers' save_pretrained"
    return "save the model with transformers' save_pretrained, which writes safetensors"


def _read_header(path: Path) -> list[Tensor]:
    refuse_pointer(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return [_tensor(name, entry, path, 8 + length) for name, entry in header.items()]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        struct.error,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        raise UnsupportedModelError(f"{path} is no readable safetensors file ({error})") from error


def _tensor(name: str, entry: Mapping[str, Any], path: Path, start: int) -> Tensor:
    begin, end = entry["data_offsets"]
    return Tensor(name, entry["dtype"], tuple(entry["shape"]), path, start + begin, start + end)


def _refuse_quantized(checkpoint: Checkpoint) -> None:
    odd = [tensor for tensor in checkpoint.tensors if tensor.dtype not in (*_FLOATS, *_BUFFERS)]
    if odd:
        raise UnsupportedModelError(
            f"{odd[0].file}: {odd[0].name} is {odd[0].dtype}: quantized weights; expected float32, float16 or bfloat16:"
            " give the model from which it was made"
        )
