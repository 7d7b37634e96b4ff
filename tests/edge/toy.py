"""A package and a program small enough to follow by hand: numpy in place of ExecuTorch, the same contract.

Axes: R rows of S places, B texts, d = 6, L = 2 layers that stand beside each other, M = 4 experts, rank 2, shared rank
1, C = 3 labels. A place becomes the mean of those it may look at; the feature of a text is what its readout makes of
the places, plus what the experts add. Gradients reach the experts' ``out`` parts and the head; AdamW as the brief of a
training method says. A text that ``write_data`` writes has 6 or 7 tokens, so two of them share a row of 16.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, BankShape
from edge_runtime.wire.manifest import PACKAGE_FORMAT, Architecture, Backbone, Cost, FileEntry, Manifest, Package, Tier
from edge_runtime.wire.program_interface import (
    PROGRAM_INTERFACE,
    MethodKind,
    MethodShape,
    MethodSpec,
    ModelShape,
    method_spec,
)

LABELS = ("alarm", "music", "weather")
WORDS = ("wake", "me", "play", "song", "rain", "sun", "now", "please", "at", "seven")
SHAPE = BankShape(layers=(1, 3), experts=4, rank=2, shared_rank=1, width=6, labels=3)
S, R, B = 16, 2, 4
SCALE = 5.0

Arrays = dict[str, np.ndarray[Any, Any]]


def train_shape(m: int, f: int, tokens: int = S, rows: int = R, **changes: Any) -> MethodShape:
    """Return the sizes of a training method of m trained and f frozen slots."""
    return replace(MethodShape(MethodKind.TRAIN, m, f, tokens, rows, B), **changes)


def _tier(m: int, f: int, memory_mib: float, tokens: int = S, rows: int = R) -> Tier:
    cost = Cost(memory_mib, 1.0, 0.1, 8 * m * SHAPE.expert_size, 4 * 10_000)
    return Tier(train_shape(m, f, tokens, rows).name, m, f, tokens, rows, B, len(SHAPE.layers), cost, cost)


PREDICT = tuple(
    MethodShape(MethodKind.PREDICT, SHAPE.experts, 0, *sizes) for sizes in ((S, R, B), (S, 1, 1), (8, 1, 1))
)
"""Packed; one text; one short text."""
PACKED, WHOLE, BRIEF = (shape.name for shape in PREDICT)
TRUNKS = tuple(MethodShape(MethodKind.TRUNK, 0, 0, tokens, 3, 0) for tokens in (8, S))
"""Three texts at once, of at most 8 or at most 16 tokens."""
TIERS = (_tier(4, 0, 90.0), _tier(2, 2, 60.0), _tier(1, 1, 30.0))
CUT = replace(TIERS[1], method="train_cut", trunk_methods=tuple(shape.name for shape in TRUNKS))
"""The second tier above the trunk; in no package unless a test puts it there."""
TOP_TRUNKS = tuple(replace(trunk, layers=1) for trunk in TRUNKS)
TOP = replace(
    TIERS[1],
    method=train_shape(2, 2, cut=True, layers=1).name,
    layers=1,
    trunk_methods=tuple(shape.name for shape in TOP_TRUNKS),
    predicted=Cost(55.0, 0.5, 0.1, 4 * 2 * SHAPE.expert_size, 4 * 10_000, trunk_ms=0.25),
)
"""The second tier for layer 3 alone, the experts of layer 1 in its trunk; in no package unless a test puts it there."""
SHORT = _tier(2, 2, 40.0, S // 2, 2 * R)
"""A tier of half the length, for tests that put it among the others."""
HALF = _tier(2, 2, 45.0, S, R // 2)
"""A tier of half the rows; the same."""
IN_PARTS = replace(
    TIERS[1],
    method=train_shape(2, 2, rows=R // 2, kind=MethodKind.ACCUMULATE, parts=2).name,
    micro_batches=2,
    apply_method="apply_m2",
)
"""The second tier with its rows in two micro-batches; not in the package."""


def methods(*, topk: bool = False) -> dict[str, MethodSpec]:
    """Return the methods of the toy package, and of the tiers that only tests put into it."""
    model = ModelShape(SHAPE, 1 if topk else None)
    whole = [train_shape(one.trained_slots, one.frozen_slots, one.seq_len, one.rows) for one in (*TIERS, SHORT, HALF)]
    shapes = {shape.name: shape for shape in (*whole, train_shape(2, 0), *PREDICT, *TRUNKS, *TOP_TRUNKS)}
    shapes[CUT.method] = train_shape(2, 2, cut=True)
    shapes[TOP.method] = train_shape(2, 2, cut=True, layers=1)
    shapes[IN_PARTS.method] = train_shape(2, 2, rows=R // 2, kind=MethodKind.ACCUMULATE, parts=2)
    shapes[IN_PARTS.apply_method] = MethodShape(MethodKind.APPLY, 2, 0, 0, 0, 0)
    return {name: method_spec(model, shape) for name, shape in shapes.items()}


METHODS = methods()


def initial_bank() -> Bank:
    """Return a bank that can learn at once: random down-projections, routers and head, up-projections of zero."""
    rng = np.random.default_rng(7)
    bank = Bank.zeros(SHAPE)
    r, d = SHAPE.rank, SHAPE.width
    bank.experts[:, :, : (r + 1) * d] = rng.normal(size=(2, 4, (r + 1) * d)) * 0.5
    bank.head[: 3 * d] = rng.normal(size=3 * d) * 0.02
    return bank


def fresh_bank() -> Bank:
    """Return a bank as export makes one: its head favours no label."""
    return initial_bank().replace({HEAD: np.zeros(SHAPE.head_size, np.float32)})


class ToyProgram:
    """Executes the methods of the toy package; counts calls, and fails with ``error`` when that is set.

    ``prefixes`` counts the texts that its trunk computed.
    """

    def __init__(self) -> None:
        self.embedding = np.random.default_rng(3).normal(size=(64, SHAPE.width)).astype(np.float32)
        self.calls: list[str] = []
        self.prefixes = 0
        self.error: Exception | None = None

    def execute(self, method: str, inputs: Arrays) -> Arrays:
        """Check names, dtypes and shapes like the real one, then compute."""
        self.calls.append(method)
        if self.error is not None:
            raise self.error
        spec = METHODS[method]
        assert set(inputs) == {t.name for t in spec.inputs} or self._topk(inputs, spec), sorted(inputs)
        for tensor in spec.inputs:
            value = inputs[tensor.name]
            assert value.shape == tensor.shape, (tensor.name, value.shape, tensor.shape)
            assert value.dtype == tensor.dtype, (tensor.name, value.dtype)
        if "ids" in spec_names(spec) or "prefix" in spec_names(spec):
            check_places(inputs)
        if method.startswith("trunk"):
            self.prefixes += int(inputs["attend"][:, 0, 0].sum())
            tokens = self._mixed(self.embedding[inputs["ids"]], inputs)
            return {"prefix": tokens, "residual": 2 * tokens + self._below(tokens, inputs)}
        bodies = {"predict": self._predict, "train": self._train, "apply": self._apply, "accumulate": self._accumulate}
        return bodies[method.split("_", maxsplit=1)[0]](inputs)

    def unload(self, method: str) -> None:
        """Nothing to free."""

    def close(self) -> None:
        """Nothing to free."""

    def _below(self, tokens: Any, inputs: Arrays) -> Any:
        """Return what the experts of lower layers add to each place, [R, S, d]: here to a token, not to a text."""
        if "lower_experts" not in inputs:
            return np.float32(0)
        experts = inputs["lower_experts"]
        flat = tokens.reshape(-1, SHAPE.width)
        changed, _, _ = self._features(flat, experts, np.ones(experts.shape[:2], np.float32))
        return (3 * (changed - flat)).reshape(tokens.shape).astype(np.float32)

    @staticmethod
    def _topk(inputs: Arrays, spec: MethodSpec) -> bool:
        return set(inputs) == {t.name for t in spec.inputs} | {"balance_target", "balance_weight"}

    @staticmethod
    def _mixed(tokens: Any, inputs: Arrays) -> Any:
        attend = inputs["attend"]
        return attend @ tokens / np.maximum(attend.sum(-1, keepdims=True), 1)

    def _text(self, inputs: Arrays) -> np.ndarray[Any, Any]:
        """Return what is read of each text, [B, d]."""
        if "prefix" in inputs:
            places = (inputs["prefix"] + inputs["residual"]) / np.float32(3)
        else:
            places = self._mixed(self.embedding[inputs["ids"]], inputs)
        return np.asarray(inputs["readout"] @ places.reshape(-1, SHAPE.width))

    def _features(self, x: Any, experts: Any, scale: Any) -> tuple[Any, Any, Any]:
        d, r = SHAPE.width, SHAPE.rank
        into = experts[..., : (r + 1) * d].reshape(*experts.shape[:2], r + 1, d)
        bias = experts[..., (r + 1) * d : (r + 1) * d + r]
        out = experts[..., (r + 1) * d + r :].reshape(*experts.shape[:2], r + 1, d)
        gate = scale[None] * 2 / (1 + np.exp(-np.einsum("bd,lhd->blh", x, into[:, :, r])))
        hidden = np.tanh(np.einsum("bd,lhrd->blhr", x, into[:, :, :r]) + bias)
        units = np.concatenate([hidden, np.ones((*hidden.shape[:3], 1), np.float32)], -1) * gate[..., None]
        return x + np.einsum("blhr,lhrd->bd", units, out), units, gate

    def _logits(self, features: Any, head: Any, mean: Any) -> Any:
        cut = SHAPE.labels * SHAPE.width
        return SCALE * (features - mean) @ head[:cut].reshape(SHAPE.labels, -1).T + head[cut:]

    def _predict(self, inputs: Arrays) -> Arrays:
        features, _, _ = self._features(self._text(inputs), inputs["experts"], inputs["gate_scale"])
        features = features / np.sqrt((features**2).sum(1, keepdims=True) + 1e-12)
        logits = self._logits(features, inputs["head"], inputs["mean"])
        share = np.exp(logits - logits.max(1, keepdims=True))
        return {
            "probabilities": (share / share.sum(1, keepdims=True)).astype(np.float32),
            "features": features.astype(np.float32),
        }

    def _train(self, inputs: Arrays) -> Arrays:
        outputs, gradient = self._gradient(inputs)
        for name, slope in gradient.items():
            outputs |= self._adamw(name, slope, inputs)
        return outputs

    def _accumulate(self, inputs: Arrays) -> Arrays:
        outputs, gradient = self._gradient(inputs)
        for name, slope in gradient.items():
            outputs[f"{name}_sum"] = inputs[f"{name}_sum"] + slope * inputs["share"]
        return outputs

    def _apply(self, inputs: Arrays) -> Arrays:
        outputs: Arrays = {}
        for name in ("trained", "shared", "head"):
            outputs |= self._adamw(name, inputs[f"{name}_sum"], inputs)
        return outputs

    def _gradient(self, inputs: Arrays) -> tuple[Arrays, Arrays]:
        held = [inputs["trained"], *([inputs["frozen"]] if "frozen" in inputs else [])]
        experts = np.concatenate(held, axis=1)
        m, r, d = inputs["trained"].shape[1], SHAPE.rank, SHAPE.width
        features, units, gate = self._features(self._text(inputs), experts, inputs["gate_scale"])
        logits = self._logits(features, inputs["head"], inputs["mean"])
        share = np.exp(logits - logits.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        labels, weight = inputs["labels"], max(float(inputs["labels"].sum()), 1e-12)
        loss = -(labels * np.log(share + 1e-12)).sum() / weight
        slope = (share * labels.sum(1, keepdims=True) - labels) / weight * SCALE
        cut = SHAPE.labels * d
        back = slope @ inputs["head"][:cut].reshape(SHAPE.labels, d)
        gradient = {name: np.zeros_like(inputs[name]) for name in ("trained", "shared", "head")}
        parts = np.einsum("blhr,bd->lhrd", units[:, :, :m], back)
        gradient["trained"][..., (r + 1) * d + r :] = parts.reshape(len(experts), m, -1)
        gradient["shared"][...] = back.mean()
        gradient["head"][:cut] = (slope.T @ (features - inputs["mean"])).reshape(-1)
        gradient["head"][cut:] = slope.sum(0) / SCALE
        outputs: Arrays = {"loss": np.array([loss], np.float32), "logits": logits.astype(np.float32)}
        counts = (inputs["readout"] > 0).sum(1) / max(float(inputs["mask"].sum()), 1.0)
        outputs["usage"] = np.einsum("b,blh->lh", counts, gate).astype(np.float32)
        return outputs, gradient

    @staticmethod
    def _adamw(name: str, gradient: Any, inputs: Arrays) -> Arrays:
        hyper = inputs["hyper"]
        rate = hyper[{"trained": 0, "head": 1, "shared": 5}[name]]
        mask = inputs["update_mask"][..., None] if name == "trained" else np.float32(1)
        value, first, second = inputs[name], inputs[f"{name}_m1"], inputs[f"{name}_m2"]
        first = first + np.float32(0.1) * (gradient - first) * mask
        second = second + np.float32(0.001) * (gradient**2 - second) * mask
        step = first * hyper[3] / (np.sqrt(second * hyper[4]) + np.float32(1e-8)) + value * hyper[2]
        return {
            name: (value - step * rate * mask).astype(np.float32),
            f"{name}_m1": first.astype(np.float32),
            f"{name}_m2": second.astype(np.float32),
        }


def spec_names(spec: MethodSpec) -> set[str]:
    """Return the names of a method's inputs."""
    return {tensor.name for tensor in spec.inputs}


def check_places(inputs: Arrays) -> None:
    """Hold what a call says of where its texts stand against itself: a program takes it as it comes."""
    attend, length = inputs["attend"], inputs["attend"].shape[-1]
    here = np.diagonal(attend, axis1=1, axis2=2)  # [R, S]: a token looks at itself, padding at nothing
    assert (attend == attend.swapaxes(1, 2)).all()
    assert (attend.sum(-1)[here == 0] == 0).all()
    before = (attend * np.tri(length, k=-1, dtype=np.float32)).sum(-1)
    assert (inputs["positions"] == before).all()
    if "mask" in inputs:
        assert (inputs["mask"] == here).all()
    if "readout" in inputs:
        owners = (inputs["readout"] > 0).astype(np.float32)
        assert (owners.sum(0) == here.reshape(-1)).all(), "each token is read by its text alone"
        np.testing.assert_allclose(inputs["readout"].sum(1), owners.any(1), rtol=1e-6)


def write_tokenizer(path: Path) -> None:
    """Write a tokenizer of whole words that adds [CLS] and [SEP], lower-cases, and pads with 0."""
    vocabulary = {token: place for place, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))


def write_package(
    folder: Path, bank: Bank | None = None, *, tiers: tuple[Tier, ...] = TIERS, **changes: Any
) -> Package:
    """Write a package whose program.pte is a token of a program.

    Args:
        folder: gets it.
        bank: version 0; left out: ``initial_bank``.
        tiers: largest first.
        changes: replace fields of the architecture.
    """
    folder.mkdir(parents=True)
    write_tokenizer(folder / "tokenizer.json")
    bank = bank or initial_bank()
    (folder / "program.pte").write_bytes(b"toy")
    fields: dict[str, Any] = {
        "backbone": Backbone("toy", "bert", "0" * 64, SHAPE.width, 4, 384),
        "task": "classification",
        "labels": LABELS,
        "gate": "soft",
        "top_k": 0,
        "adapted_layers": SHAPE.layers,
        "experts": SHAPE.experts,
        "rank": SHAPE.rank,
        "shared_rank": SHAPE.shared_rank,
        "feature": "mean_pool_l2",
        "logit_scale": SCALE,
        "end_token": -1,
        "tokenizer_digest": sha256((folder / "tokenizer.json").read_bytes()).hex(),
        "bank_digest": bank.digest().hex(),
    }
    architecture = Architecture(**{**fields, **changes})
    (folder / "bank.safetensors").write_bytes(bank.to_bytes(architecture.digest()))
    files = {
        name: FileEntry(sha256((folder / name).read_bytes()).hex(), (folder / name).stat().st_size)
        for name in ("tokenizer.json", "bank.safetensors", "program.pte")
    }
    manifest = Manifest(
        package_format=PACKAGE_FORMAT,
        wire_version=1,
        program_interface=PROGRAM_INTERFACE,
        architecture=architecture,
        device="toy",
        profile={"name": "toy", "budget": {"memory_mib": 64.0}},
        quantize="none",
        held="all",
        tiers=tiers,
        methods=methods(topk=changes.get("gate") == "topk"),
        predict_methods=(PACKED, WHOLE, BRIEF),
        versions={"export": "0"},
        oldest_runtime="1.3.0",
        threads=1,
        files=files,
    )
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return Package.open(folder)


def write_data(path: Path, rows: int = 24) -> Path:
    """Write examples whose label follows from their words."""
    texts = {"alarm": "wake me at seven", "music": "play song now", "weather": "rain sun please"}
    lines = [f"{texts[label]} {WORDS[row % len(WORDS)]},{label}" for row in range(rows) for label in [LABELS[row % 3]]]
    path.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path
