"""What sentence-transformers' files in a model's folder say of how a text becomes one vector.

A device makes a text's feature as the mean of its last hidden states, of length 1, from the text as it is. A folder
that asks for another pooling, further layers or a text in front of every text is refused: left out, it would be another
model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.manifest_checks import CLASSIFICATION
from export.errors import UnsupportedModelError
from export.source.app_tokenizers import Tree

MODULES: Final = "modules.json"
SUPPORTED: Final = ("Transformer", "Pooling", "Normalize", "Dropout")
"""Modules of sentence-transformers that a package has, or that do nothing outside of training."""
POOLING: Final = "1_Pooling/config.json"
MEAN: Final = "pooling_mode_mean_tokens"
PROMPTS: Final = "config_sentence_transformers.json"
BERT: Final = "sentence_bert_config.json"


def check_pooling(folder: Path, task: str, tokenizer: Tree, source: str) -> None:
    """Refuse a folder whose texts become vectors in another way; for classification only, other tasks pool nothing.

    Raises:
        UnsupportedModelError: naming the file, what it says and what to do.
    """
    if task != CLASSIFICATION:
        return
    others = [kind for kind in _modules(folder) if kind not in SUPPORTED]
    if others:
        raise UnsupportedModelError(
            f"{source}: {MODULES} adds {', '.join(others)}, supported: {', '.join(SUPPORTED)}; take {MODULES} out of"
            " the folder to learn from the mean of the last hidden states instead"
        )
    pooling = _read(folder / POOLING)
    modes = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value]
    named = pooling.get("pooling_mode", "mean")
    if named != "mean":
        modes.append(f"pooling_mode {named!r}")
    if modes not in ([], [MEAN]):
        raise UnsupportedModelError(
            f"{source}: {POOLING} says {', '.join(modes)}, supported: {MEAN}; take {POOLING} out of the folder to learn"
            " from the mean of the last hidden states all the same"
        )
    _check_text(folder, tokenizer, source)


def _check_text(folder: Path, tokenizer: Tree, source: str) -> None:
    """Refuse what is done to a text before the tokenizer sees it."""
    prompts = _read(folder / PROMPTS)
    name = prompts.get("default_prompt_name")
    if name is not None:
        prompt = (prompts.get("prompts") or {}).get(name, "")
        raise UnsupportedModelError(
            f"{source}: {PROMPTS} puts {prompt!r} before every text (default_prompt_name), which a device does not; say"
            " null there, and put it before the texts of your data yourself if you want it"
        )
    if _read(folder / BERT).get("do_lower_case") and not _lowers(tokenizer.get("normalizer")):
        raise UnsupportedModelError(
            f"{source}: {BERT} lowers letters (do_lower_case), and tokenizer.json does not, which is all that a device"
            " reads; say false there, or give a tokenizer.json that lowers them"
        )


def prompts_note(folder: Path) -> str:
    """Return a sentence on prompts that a user may want to put before texts; "" without any."""
    prompts = _read(folder / PROMPTS).get("prompts") or {}
    named = [f"{name} {prompt!r}" for name, prompt in prompts.items() if prompt]
    return f"prompts of {PROMPTS} are not put before texts: {', '.join(named)}" if named else ""


def _modules(folder: Path) -> list[str]:
    """Return the kinds of modules that a folder's model is a sequence of."""
    modules = _json(folder / MODULES, [])
    return [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]


def _read(path: Path) -> Mapping[str, Any]:
    """Return the object in a file; an empty one without the file."""
    tree: Mapping[str, Any] = _json(path, {})
    return tree


def _json(path: Path, absent: Any) -> Any:  # noqa: ANN401 - what a file holds
    """Return what a file holds, which must be of the kind of ``absent``."""
    if not path.is_file():
        return absent
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{path} cannot be read ({error}); copy the model again") from error
    if type(tree) is not type(absent):
        expected = "a list" if isinstance(absent, list) else "an object"
        raise UnsupportedModelError(f"{path} does not hold {expected}; copy the model again")
    return tree


def _lowers(normalizer: Any) -> bool:  # noqa: ANN401 - of a JSON tree
    if not isinstance(normalizer, dict):
        return False
    if normalizer.get("type") == "Sequence":
        return any(_lowers(part) for part in normalizer.get("normalizers", ()))
    return normalizer.get("type") == "Lowercase" or bool(normalizer.get("lowercase"))
