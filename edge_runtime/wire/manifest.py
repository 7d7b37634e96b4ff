"""manifest.json of a device package: what is in it, what it computes, what it costs, and digests of every file.

Axes: L adapted layers, M experts, m trained slots, f frozen slots, r rank, d width, C labels, B texts of a
step at most, R rows of S places.
Unknown keys are refused: a manifest that says more than its reader knows was made for another reader.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import canonical_json, file_sha256, sha256
from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import check
from edge_runtime.wire.program_interface import MethodSpec
from edge_runtime.wire.signatures import SIGNATURE_BYTES, verify_manifest
from edge_runtime.wire.strict_json import JSON_LIMIT, parse, plain_tree, typed
from edge_runtime.wire.text import shown

PACKAGE_FORMAT: Final = 5
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
"""Beside manifest.json in a signed package: 64 bytes."""
GATEWAY_FOLDER: Final = "gateway/"

Part = Literal["device", "gateway", "manifest"]


@dataclass(frozen=True)
class Cost:
    """What a tier costs a device. Zero means not known.

    Args:
        memory_mib: peak resident memory of a training process.
        step_ms: one training step.
        storage_mb: the package without its gateway part, in 10^6 bytes.
        bytes_up: largest delta of a round.
        bytes_down: largest download of a round.
        trunk_ms: the trunk for the texts of one step: what a step costs more while their prefix is not in the cache.
    """

    memory_mib: float
    step_ms: float
    storage_mb: float
    bytes_up: int
    bytes_down: int
    trunk_ms: float = 0.0


@dataclass(frozen=True)
class Tier:
    """One program size.

    Args:
        method: name of the training method.
        trained_slots: m, in each layer.
        frozen_slots: f, in each layer: they run and are not trained.
        seq_len: S, tokens of a text at most.
        rows: R; a step's texts stand in R rows of S places, several in a row where they fit (``packing``).
        batch_size: B, texts of a step at most.
        layers: k, the adapted layers that ``method`` trains, counted from the top; L: all. With k < L every expert of
            the layers below runs in ``trunk_methods``, as it stands.
        predicted: what it costs by export's model of the device.
        measured: what it cost on the machine that exported.
        proof: what export measured of this method against eager PyTorch before it wrote the package.
        recompute: what the step computes twice instead of keeping it: "none", "light" or "layers".
        micro_batches: k; with k > 1 ``method`` takes R / k rows, is called k times, and ``apply_method`` follows.
        apply_method: the optimizer's method; "" when ``method`` has it inside.
        trunk_methods: names of the methods that compute what ``method`` takes in place of token ids, the one for the
            shortest texts first; none when ``method`` takes ids.
        timing: how ``measured.step_ms`` came about: ``median_ms``, ``least_ms`` and ``most_ms`` of several steps,
            ``threads``, and ``other_cores`` that other work kept busy meanwhile. Empty where it is not known.
    """

    method: str
    trained_slots: int
    frozen_slots: int
    seq_len: int
    rows: int
    batch_size: int
    layers: int
    predicted: Cost
    measured: Cost
    proof: dict[str, float] = field(default_factory=dict)
    recompute: str = "none"
    micro_batches: int = 1
    apply_method: str = ""
    trunk_methods: tuple[str, ...] = ()
    timing: dict[str, float] = field(default_factory=dict)

    @property
    def held_slots(self) -> int:
        """H = m + f."""
        return self.trained_slots + self.frozen_slots

    @property
    def places(self) -> int:
        """N = R*S: tokens that a step has room for."""
        return self.rows * self.seq_len


@dataclass(frozen=True)
class Backbone:
    """The frozen network.

    Args:
        name: of the model, for people.
        family: "bert", "llama", ...
        digest: SHA-256 (hex) of its fp32 weights.
        width: d.
        layers: of the network, adapted or not.
        parameters: in all.
    """

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
        backbone: the frozen network.
        task: "classification" (a head names a text's label) or "causal-lm" (the backbone's own head continues it).
        labels: C names, in the order of the head's rows; none for causal-lm, whose bank has neither head nor mean.
        gate: "soft" or "topk".
        top_k: experts chosen for a token; 0 with the soft gate.
        adapted_layers: numbers of the L adapted layers.
        experts: M, in each adapted layer.
        rank: r, of an expert.
        shared_rank: rs, of a layer's shared expert; 0 means none.
        feature: how a text becomes one vector: "mean_pool_l2"; "none" for causal-lm.
        logit_scale: logits = logit_scale * (feature - mean) @ weight.T + bias; 1 for causal-lm.
        end_token: causal-lm: id of the token that ends a text, -1 where the backbone has none; else -1.
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
    end_token: int
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
    """A file of the package.

    Args:
        sha256: of its bytes, hex.
        bytes: its length.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The whole of manifest.json.

    Args:
        package_format: version of this file's form; another number is refused.
        wire_version: of the messages that the package's runtime must speak.
        program_interface: version of ``program_interface``, by which the program's tensors are named and ordered.
        architecture: what all devices of a federation share.
        device: name of the device profile.
        profile: the profile's figures, as export read them.
        quantize: what is frozen: "int8", "int4" (linears of 4 bits where they divide into groups) or "none".
        held: "all" (every expert runs, m are trained) or "slots" (only the m + f held run).
        tiers: methods of one program over one set of weights, largest first.
        methods: inputs and outputs of every method of program.pte.
        predict_methods: names of the inference methods, the one with most places first.
        versions: of the libraries that made it ("torch", "executorch", "export").
        oldest_runtime: oldest ExecuTorch runtime that computes the program right.
        threads: that the profile gives to a program.
        files: every file but manifest.json by its path inside the package.
        proof: what export measured of the inference before it wrote the package.
    """

    package_format: int
    wire_version: int
    program_interface: int
    architecture: Architecture
    device: str
    profile: dict[str, Any]
    quantize: str
    held: str
    tiers: tuple[Tier, ...]
    methods: dict[str, MethodSpec]
    predict_methods: tuple[str, ...]
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
            version = tree.get("package_format") if isinstance(tree, dict) else None
            msg = (
                f"{source} has package format {shown(version)}, this software reads {PACKAGE_FORMAT};"
                " export the package again"
            )
            raise PackageError(msg)
        manifest: Manifest = typed(tree, cls, source)
        check(manifest, source)
        return manifest


@dataclass(frozen=True)
class Package:
    """An opened package folder. Args: digest: SHA-256 of manifest.json, which names every other file's."""

    folder: Path
    manifest: Manifest
    digest: bytes

    @classmethod
    def open(cls, folder: Path, *, part: Part = "device", maker: bytes = b"") -> Package:
        """Read the manifest and compare every file of ``part`` with its digest.

        Args:
            folder: the package.
            part: "device" (all but gateway/), "gateway" (what a gateway needs) or "manifest" (no file at all).
            maker: the public key that must have signed the package; empty asks for no signature.

        Raises:
            PackageError: when a file is missing, leads out of the folder, or is not what the manifest says; when
                ``maker`` did not sign the package.
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
        if maker:
            verify_manifest(maker, data, _signature(folder))
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

    def bank(self) -> Bank:
        """Return the initial bank, version 0.

        Raises:
            BankError: when it is for another federation than the manifest says, or has another shape.
        """
        architecture = self.manifest.architecture
        return Bank.read(self.path("bank.safetensors"), architecture.bank_shape, architecture.digest())


def _signature(folder: Path) -> bytes:
    try:
        with (folder / SIGNATURE).open("rb") as file:
            return file.read(SIGNATURE_BYTES + 1)
    except OSError as error:
        msg = f"package {folder} is not signed: cannot read {SIGNATURE} ({error.strerror}); export.sign signs it"
        raise PackageError(msg) from error


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
