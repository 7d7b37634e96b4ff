"""The artifacts that a package's programs are made of, each with the key under which the cache knows it.

An artifact's key covers all that determines it and nothing else: a further tier leaves the keys of the others alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.program_interface import MethodShape
from export import cache
from export.planning.job import Job

METHOD_FILE: Final = "method.pte"
PROGRAM_FILE: Final = "program.pte"
GATEWAY_FILE: Final = "model.onnx"


@dataclass(frozen=True)
class CachedArtifact:
    """A finished artifact. Args: file: in the cache; record: what was found out about it."""

    file: Path
    record: dict[str, Any]


_TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
)  # fmt: skip
"""What transformers makes a tokenizer from."""


def texts_key(job: Job) -> str:
    """Return the key of the proof that texts are read as the model's folder says."""
    paths = [job.backbone.folder / name for name in _TOKENIZER_FILES]
    files = {path.name: file_sha256(path) for path in paths if path.is_file()}
    model = {"backbone": job.backbone.digest, "config": job.backbone.config, "task": job.task}
    return cache.cache_key({"what": "texts", **model, "files": files, "length": job.longest})


def method_key(job: Job, method: MethodShape) -> str:
    """Return the key of one compiled method, a program by itself."""
    return cache.cache_key({"what": "method", **job.shared_request(), "method": asdict(method)})


def proof_key(methods: Iterable[str]) -> str:
    """Return the key of the proof of a training method, by the keys of all methods that take part in it."""
    return cache.cache_key({"what": "proof", "methods": list(methods)})


def gateway_key(job: Job) -> str:
    """Return the key of the gateway's program, which all profiles share."""
    return cache.cache_key({"what": "gateway", **job.shared_request()})


def program_key(methods: Iterable[str], gateway: str) -> str:
    """Return the key of a program joined from methods (their keys) and held against a gateway's."""
    return cache.cache_key({"what": "program", "methods": list(methods), "gateway": gateway})
