"""manifest.json of a device package: what is in it, what it computes, what it costs, and digests of every file.

Axes: L adapted layers, M experts, m trained slots, f frozen slots, r rank, d width, C labels, B batch, S sequence.
Unknown keys are refused: a manifest that says more than its reader knows was made for another reader.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from edge_runtime.wire.digests import canonical_json, file_sha256, sha256
from edge_runtime.wire.errors import BankError, PackageError
from edge_runtime.wire.experts import BankShape

PACKAGE_FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
GATEWAY_FOLDER: Final = "gateway/"
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_DTYPES: Final = {"float32": 4, "int64": 8}

T = TypeVar("T")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a method. Args: dtype: "float32" or "int64"."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Return the bytes of such a tensor."""
        size = _DTYPES[self.dtype]
        for axis in self.shape:
            size *= axis
        return size


@dataclass(frozen=True)
class MethodSpec:
    """A method of the program; an output that has an input's name replaces it in the next call."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Cost:
    """What a tier costs a device. Zero means not known.

    Args:
        memory_mib: peak resident memory of a training process.
        step_ms: one training step.
        storage_mb: the package without its gateway part, in 10^6 bytes.
        bytes_up: largest delta of a round.
        bytes_down: largest download of a round.
    """

    memory_mib: float
    step_ms: float
    storage_mb: float
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True)
class Tier:
    """One program size.

    Args:
        method: name of the training method.
        trained_slots: m, in each layer.
        frozen_slots: f.
        seq_len: S.
        batch_size: B.
        predicted: by export's model of the device.
        measured: on the machine that exported.
    """

    method: str
    trained_slots: int
    frozen_slots: int
    seq_len: int
    batch_size: int
    predicted: Cost
    measured: Cost

    @property
    def held_slots(self) -> int:
        """H = m + f."""
        return self.trained_slots + self.frozen_slots


@dataclass(frozen=True)
class Backbone:
    """The frozen network. Args: digest: SHA-256 (hex) of its fp32 weights; family: "bert", "llama", ..."""

    name: str
    family: str
    digest: str
    width: int
    layers: int
    parameters: int


@dataclass(frozen=True)
class Architecture:
    """What all devices of a federation share; its digest is the federation's identity.

    Args:
        task: "classification".
        labels: C names, in the order of the head's rows.
        gate: "soft" or "topk".
        top_k: experts chosen for a token; 0 with the soft gate.
        adapted_layers: numbers of the L adapted layers.
        experts: M.
        rank: r.
        shared_rank: rs; 0 means none.
        feature: how a text becomes one vector: "mean_pool_l2".
        logit_scale: logits = logit_scale * (feature - mean) @ weight.T + bias.
        tokenizer_digest: SHA-256 (hex) of tokenizer.json.
        bank_digest: version digest (hex) of the initial bank, version 0.
    """

    backbone: Backbone
    task: str
    labels: tuple[str, ...]
    gate: str
    top_k: int
    adapted_layers: tuple[int, ...]
    experts: int
    rank: int
    shared_rank: int
    feature: str
    logit_scale: float
    tokenizer_digest: str
    bank_digest: str

    @property
    def bank_shape(self) -> BankShape:
        """Return the shape of every bank of this federation."""
        return BankShape(
            self.adapted_layers, self.experts, self.rank, self.shared_rank, self.backbone.width, len(self.labels)
        )

    def digest(self) -> bytes:
        """Return the federation digest: SHA-256 over the canonical JSON of this object."""
        return sha256(canonical_json(_plain(self)))


@dataclass(frozen=True)
class FileEntry:
    """A file of the package."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The whole of manifest.json.

    Args:
        package_format: of this file; another number is refused.
        wire_version: messages that the package's runtime must speak.
        device: name of the device profile.
        profile: the profile's figures, as export read them.
        quantize: "int8" or "none".
        held: "all" (every expert runs, m are trained) or "slots" (only the m + f held run).
        tiers: largest first.
        methods: inputs and outputs of every method of program.pte.
        predict_method: name of the inference method.
        versions: of the libraries that made it ("torch", "executorch", "export").
        oldest_runtime: oldest ExecuTorch runtime that computes the program right.
        threads: that the profile gives to a program.
        files: every file but manifest.json by its path inside the package.
        proof: what export measured against eager PyTorch before it wrote the package.
    """

    package_format: int
    wire_version: int
    architecture: Architecture
    device: str
    profile: dict[str, Any]
    quantize: str
    held: str
    tiers: tuple[Tier, ...]
    methods: dict[str, MethodSpec]
    predict_method: str
    versions: dict[str, str]
    oldest_runtime: str
    threads: int
    files: dict[str, FileEntry]
    proof: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Write manifest.json."""
        return (json.dumps(_plain(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, source: str = MANIFEST) -> Manifest:
        """Read manifest.json and check that its parts fit each other.

        Raises:
            PackageError: saying which key is wrong and how.
        """
        try:
            tree = json.loads(data)
        except ValueError as error:
            msg = f"{source} is not JSON ({error})"
            raise PackageError(msg) from error
        if not isinstance(tree, dict) or tree.get("package_format") != PACKAGE_FORMAT:
            found = tree.get("package_format") if isinstance(tree, dict) else None
            msg = (
                f"{source} has package format {found!r}, this software reads {PACKAGE_FORMAT}; export the package again"
            )
            raise PackageError(msg)
        manifest: Manifest = _typed(tree, cls, source)
        _check(manifest, source)
        return manifest


@dataclass(frozen=True)
class Package:
    """An opened package folder. Args: digest: SHA-256 of manifest.json, which names every other file's."""

    folder: Path
    manifest: Manifest
    digest: bytes

    @classmethod
    def open(cls, folder: Path, *, part: str = "device") -> Package:
        """Read the manifest and compare every file of ``part`` with its digest.

        Args:
            folder: the package.
            part: "device" (all but gateway/), "gateway" (what a gateway needs) or "manifest" (no file at all).

        Raises:
            PackageError: when a file is missing or is not what the manifest says.
        """
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
        except OSError as error:
            msg = (
                f"{folder} is no device package: cannot read {MANIFEST} ({error.strerror}); make one with export.build"
            )
            raise PackageError(msg) from error
        package = cls(folder, Manifest.from_json(data, str(path)), sha256(data))
        for name, entry in package.manifest.files.items():
            if _wanted(name, part):
                _verify(folder / name, entry)
        return package

    def path(self, name: str) -> Path:
        """Return the path of a file that the manifest lists.

        Raises:
            PackageError: when the manifest does not list it.
        """
        if name not in self.manifest.files:
            msg = f"package {self.folder} has no {name}"
            raise PackageError(msg)
        return self.folder / name


def _wanted(name: str, part: str) -> bool:
    if part == "manifest":
        return False
    if part == "gateway":
        return name.startswith(GATEWAY_FOLDER) or name in ("bank.safetensors", "tokenizer.json")
    return not name.startswith(GATEWAY_FOLDER)


def _verify(path: Path, entry: FileEntry) -> None:
    try:
        size = path.stat().st_size
        digest = file_sha256(path) if size == entry.bytes else ""
    except OSError as error:
        msg = f"package file {path} cannot be read ({error.strerror}); copy or export the package again"
        raise PackageError(msg) from error
    if size != entry.bytes:
        msg = f"package file {path} has {size} bytes, the manifest says {entry.bytes}; copy or export the package again"
        raise PackageError(msg)
    if digest != entry.sha256:
        msg = f"package file {path} was changed: SHA-256 is {digest[:12]}…, the manifest says {entry.sha256[:12]}…"
        raise PackageError(msg)


def _check(manifest: Manifest, source: str) -> None:
    def need(condition: bool, detail: str) -> None:
        if not condition:
            msg = f"{source}: {detail}"
            raise PackageError(msg)

    arch = manifest.architecture
    try:
        _ = arch.bank_shape
    except BankError as error:
        msg = f"{source}: {error}"
        raise PackageError(msg) from error
    need(len(set(arch.labels)) == len(arch.labels) > 0, "labels must be distinct and at least one")
    need(arch.gate in ("soft", "topk"), f"gate {arch.gate!r}, expected soft or topk")
    need((arch.top_k == 0) == (arch.gate == "soft"), f"top_k {arch.top_k} with the {arch.gate} gate")
    need(manifest.held in ("all", "slots"), f"held {manifest.held!r}, expected all or slots")
    need(len(manifest.tiers) > 0, "no tier")
    need(manifest.predict_method in manifest.methods, f"no method {manifest.predict_method!r}")
    for digest in (arch.backbone.digest, arch.tokenizer_digest, arch.bank_digest):
        need(bool(_HEX.fullmatch(digest)), f"{digest!r} is no SHA-256")
    for tier in manifest.tiers:
        need(tier.method in manifest.methods, f"tier names the unknown method {tier.method!r}")
        need(
            tier.trained_slots >= 1 and tier.held_slots <= arch.experts,
            f"{tier.held_slots} slots, {arch.experts} experts",
        )
    for name, entry in manifest.files.items():
        path = PurePosixPath(name)
        need(not path.is_absolute() and ".." not in path.parts and name == str(path), f"unsafe file name {name!r}")
        need(bool(_HEX.fullmatch(entry.sha256)) and entry.bytes >= 0, f"{name}: bad digest or size")
    for name, method in manifest.methods.items():
        for tensor in (*method.inputs, *method.outputs):
            need(tensor.dtype in _DTYPES, f"{name}: {tensor.name} has dtype {tensor.dtype!r}")
            need(all(axis >= 0 for axis in tensor.shape), f"{name}: {tensor.name} has shape {tensor.shape}")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _typed(tree: Any, kind: Any, where: str) -> Any:  # noqa: ANN401 - one return for each kind of type
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _typed_dataclass(tree, kind, where)
    if origin is tuple:
        _expect(isinstance(tree, list), where, "a list", tree)
        return tuple(_typed(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(tree))
    if origin is dict:
        _expect(isinstance(tree, dict), where, "an object", tree)
        return {key: _typed(item, arguments[1], f"{where}.{key}") for key, item in tree.items()}
    if kind is Any:
        return tree
    if kind is float:
        _expect(isinstance(tree, (int, float)) and not isinstance(tree, bool), where, "a number", tree)
        return float(tree)
    _expect(isinstance(tree, kind) and not (kind is int and isinstance(tree, bool)), where, kind.__name__, tree)
    return tree


def _typed_dataclass(tree: Any, kind: Any, where: str) -> Any:  # noqa: ANN401 - any dataclass
    _expect(isinstance(tree, dict), where, "an object", tree)
    hints = typing.get_type_hints(kind)
    required = {f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING}
    missing, unknown = sorted(required - set(tree)), sorted(set(tree) - set(hints))
    if missing or unknown:
        msg = f"{where}: missing keys {missing}, unknown keys {unknown}"
        raise PackageError(msg)
    return kind(**{name: _typed(item, hints[name], f"{where}.{name}") for name, item in tree.items()})


def _expect(condition: bool, where: str, expected: str, found: Any) -> None:  # noqa: ANN401 - an assertion
    if not condition:
        msg = f"{where} is {json.dumps(found)[:60]}, expected {expected}"
        raise PackageError(msg)
