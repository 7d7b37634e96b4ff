"""manifest.json of a device package: what is in it, what it computes, what it costs, and digests of every file.

Axes: L adapted layers, M experts, m trained slots, f frozen slots, r rank, d width, C labels, B batch, S sequence.
Unknown keys are refused: a manifest that says more than its reader knows was made for another reader.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from edge_runtime.wire.digests import canonical_json, file_sha256, sha256
from edge_runtime.wire.errors import BankError, PackageError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.limits import WIRE_VERSION
from edge_runtime.wire.strict_json import JSON_LIMIT, parse, plain_tree, typed
from edge_runtime.wire.text import plain, shown

PACKAGE_FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
GATEWAY_FOLDER: Final = "gateway/"
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_DTYPES: Final = {"float32": 4, "int64": 8}
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
TEXT_BYTES: Final = 200
"""UTF-8 bytes of a label, of a name, of a path inside the package."""
TENSOR_LIMIT: Final = 2**31 - 1
"""Bytes of one input or output."""
SCALE_RANGE: Final = (0.001, 1e7)
"""Of logit_scale: in this range every language writes the same shortest decimal, without an exponent."""
NEEDED_FILES: Final = ("program.pte", "tokenizer.json", "bank.safetensors")

Part = Literal["device", "gateway", "manifest"]


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
        return sha256(canonical_json(plain_tree(self)))


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
        return (json.dumps(plain_tree(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, source: str = MANIFEST) -> Manifest:
        """Read manifest.json and check that its parts fit each other.

        Raises:
            PackageError: saying which key is wrong and how.
        """
        tree = parse(data, source)
        if not isinstance(tree, dict) or tree.get("package_format") != PACKAGE_FORMAT:
            found = tree.get("package_format") if isinstance(tree, dict) else None
            msg = (
                f"{source} has package format {shown(found)}, this software reads {PACKAGE_FORMAT};"
                " export the package again"
            )
            raise PackageError(msg)
        manifest: Manifest = typed(tree, cls, source)
        _check(manifest, source)
        return manifest


@dataclass(frozen=True)
class Package:
    """An opened package folder. Args: digest: SHA-256 of manifest.json, which names every other file's."""

    folder: Path
    manifest: Manifest
    digest: bytes

    @classmethod
    def open(cls, folder: Path, *, part: Part = "device") -> Package:
        """Read the manifest and compare every file of ``part`` with its digest.

        Args:
            folder: the package.
            part: "device" (all but gateway/), "gateway" (what a gateway needs) or "manifest" (no file at all).

        Raises:
            PackageError: when a file is missing, leads out of the folder, or is not what the manifest says.
        """
        path = folder / MANIFEST
        try:
            with path.open("rb") as file:
                data = file.read(JSON_LIMIT + 1)
        except OSError as error:
            msg = (
                f"{folder} is no device package: cannot read {MANIFEST} ({error.strerror}); make one with export.build"
            )
            raise PackageError(msg) from error
        package = cls(folder, Manifest.from_json(data, str(path)), sha256(data))
        for name, entry in package.manifest.files.items():
            if _wanted(name, part):
                _verify(folder, name, entry)
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


def _wanted(name: str, part: Part) -> bool:
    if part == "manifest":
        return False
    if part == "gateway":
        return name.startswith(GATEWAY_FOLDER) or name in ("bank.safetensors", "tokenizer.json")
    return not name.startswith(GATEWAY_FOLDER)


def _verify(folder: Path, name: str, entry: FileEntry) -> None:
    path = folder / name
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve())
        status = path.stat()
        regular = inside and stat.S_ISREG(status.st_mode)  # a pipe or device would be read for ever
        digest = file_sha256(path) if regular and status.st_size == entry.bytes else ""
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = error.strerror if isinstance(error, OSError) else "a loop of links"
        msg = f"package file {path} cannot be read ({reason}); copy or export the package again"
        raise PackageError(msg) from error
    if not regular:
        msg = f"package file {path} is no file inside the package; copy the package with its files, not links to them"
        raise PackageError(msg)
    if status.st_size != entry.bytes:
        msg = (
            f"package file {path} has {status.st_size} bytes, the manifest says {entry.bytes};"
            " copy or export the package again"
        )
        raise PackageError(msg)
    if digest != entry.sha256:
        msg = (
            f"package file {path} was changed: SHA-256 is {digest[:12]}…, the manifest says {entry.sha256[:12]}…;"
            " copy or export the package again"
        )
        raise PackageError(msg)


class _Need(Protocol):
    def __call__(self, condition: bool, detail: str) -> None: ...


def _check(manifest: Manifest, source: str) -> None:
    def need(condition: bool, detail: str) -> None:
        if not condition:
            msg = f"{source}: {detail}"
            raise PackageError(msg)

    version = manifest.wire_version
    need(version == WIRE_VERSION, f"wire version {version}, this software speaks {WIRE_VERSION}; export it again")
    try:
        _ = manifest.architecture.bank_shape
    except BankError as error:
        need(condition=False, detail=str(error))
    _check_architecture(manifest.architecture, need)
    _check_program(manifest, need)
    _check_files(manifest, need)


def _check_architecture(arch: Architecture, need: _Need) -> None:
    need(len(set(arch.labels)) == len(arch.labels) > 0, "labels must be distinct and at least one")
    for text in (*arch.labels, arch.backbone.name, arch.backbone.family):
        need(bool(text) and plain(text, TEXT_BYTES), f"{shown(text)} is empty, over {TEXT_BYTES} bytes or not plain")
    need(arch.adapted_layers[-1] < arch.backbone.layers, f"layer {arch.adapted_layers[-1]} is not in the backbone")
    need(arch.task == "classification", f"task {shown(arch.task)}, expected classification")
    need(arch.feature == "mean_pool_l2", f"feature {shown(arch.feature)}, expected mean_pool_l2")
    low, high = SCALE_RANGE
    need(low <= arch.logit_scale < high, f"logit_scale {arch.logit_scale}, expected {low} to {high:.0f}")
    need(arch.gate in ("soft", "topk"), f"gate {shown(arch.gate)}, expected soft or topk")
    routed = 1 <= arch.top_k <= arch.experts if arch.gate == "topk" else arch.top_k == 0
    need(routed, f"top_k {arch.top_k} with the {arch.gate} gate and {arch.experts} experts")
    for digest in (arch.backbone.digest, arch.tokenizer_digest, arch.bank_digest):
        need(bool(_HEX.fullmatch(digest)), f"{shown(digest)} is no SHA-256")


def _check_program(manifest: Manifest, need: _Need) -> None:
    experts = manifest.architecture.experts
    need(manifest.held in ("all", "slots"), f"held {shown(manifest.held)}, expected all or slots")
    need(manifest.quantize in ("int8", "none"), f"quantize {shown(manifest.quantize)}, expected int8 or none")
    need(manifest.threads >= 1, f"{manifest.threads} threads")
    need(len(manifest.tiers) > 0, "no tier")
    need(manifest.predict_method in manifest.methods, f"no method {shown(manifest.predict_method)}")
    for tier in manifest.tiers:
        need(tier.method in manifest.methods, f"tier names the unknown method {shown(tier.method)}")
        slots = tier.trained_slots >= 1 and tier.frozen_slots >= 0 and tier.held_slots <= experts
        need(slots, f"{tier.trained_slots} trained and {tier.frozen_slots} frozen slots, {experts} experts")
        need(tier.seq_len >= 1 and tier.batch_size >= 1, f"sequence of {tier.seq_len}, batch of {tier.batch_size}")
    for name, method in manifest.methods.items():
        for tensor in (*method.inputs, *method.outputs):
            where = f"{shown(name)}: {shown(tensor.name)}"
            need(tensor.dtype in _DTYPES, f"{where} has dtype {shown(tensor.dtype)}")
            axes = tensor.shape
            need(len(axes) <= 8 and all(axis >= 0 for axis in axes), f"{where} has shape {shown(axes)}")
            need(tensor.nbytes <= TENSOR_LIMIT, f"{where} has {tensor.nbytes} bytes, limit {TENSOR_LIMIT}")


def _check_files(manifest: Manifest, need: _Need) -> None:
    for name, entry in manifest.files.items():
        safe = _PATH.fullmatch(name) and len(name) <= TEXT_BYTES and name != MANIFEST
        need(bool(safe), f"unsafe file name {shown(name)}")
        need(bool(_HEX.fullmatch(entry.sha256)) and entry.bytes >= 0, f"{name}: bad digest or size")
    missing = sorted(set(NEEDED_FILES) - set(manifest.files))
    need(not missing, f"files lack {missing}")
    tokenizer = manifest.files["tokenizer.json"].sha256
    need(tokenizer == manifest.architecture.tokenizer_digest, "tokenizer.json is not the architecture's tokenizer")
