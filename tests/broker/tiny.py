"""A federation small enough to check by hand: two layers of four experts, four words, three labels. No torch.

The gateway's model is real ONNX: feature = normalized mean of one-hot words plus a constant; experts are inputs that it
does not use.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.manifest import PACKAGE_FORMAT, Architecture, Backbone, Cost, FileEntry, Manifest, Package, Tier
from edge_runtime.wire.messages import encode
from edge_runtime.wire.program_interface import PROGRAM_INTERFACE, MethodKind, MethodShape, ModelShape, method_spec

WIDTH, RANK, EXPERTS, LAYERS, LABELS = 4, 1, 4, (0, 1), ("red", "green", "blue")
WORDS = ("rose", "leaf", "sky", "stone")
SHAPE = BankShape(LAYERS, EXPERTS, RANK, 1, WIDTH, len(LABELS))
_COST = Cost(1.0, 1.0, 1.0, 1, 1)


def bank(seed: int = 0) -> Bank:
    """Return a bank of small random numbers; the same for the same seed."""
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.02, shape).astype(np.float32)

    zeros = np.zeros(WIDTH, np.float32)
    experts = some(len(LAYERS), EXPERTS, SHAPE.expert_size)
    return Bank(SHAPE, experts, some(len(LAYERS), SHAPE.shared_size), some(SHAPE.head_size), zeros)


def make_package(
    folder: Path, *, gate: str = "soft", labels: tuple[str, ...] = LABELS, device: str = "tiny"
) -> Package:
    """Write a package and open its gateway part."""
    (folder / "gateway").mkdir(parents=True)
    initial = bank()
    files = {
        "program.pte": b"no program here",
        "tokenizer.json": _tokenizer().encode(),
        "gateway/model.onnx": _model(len(labels)),
    }
    architecture = Architecture(
        Backbone("tiny", "bert", "a" * 64, WIDTH, 2, 100), "classification", labels, gate, 2 if gate == "topk" else 0,
        LAYERS, EXPERTS, RANK, 1, "mean_pool_l2", 20.0, -1, sha256(files["tokenizer.json"]).hex(),
        initial.digest().hex(),
    )  # fmt: skip
    files["bank.safetensors"] = initial.to_bytes(architecture.digest())
    for name, data in files.items():
        (folder / name).write_bytes(data)
    model = ModelShape(replace(SHAPE, labels=len(labels)), architecture.top_k or None)
    train, predict = MethodShape(MethodKind.TRAIN, 2, 2, 8, 1, 2), MethodShape(MethodKind.PREDICT, EXPERTS, 0, 8, 1, 1)
    methods = {"train": method_spec(model, train), "predict": method_spec(model, predict)}
    manifest = Manifest(
        PACKAGE_FORMAT, 1, PROGRAM_INTERFACE, architecture, device, {}, "none", "all",
        (Tier("train", 2, 2, 8, 1, 2, len(LAYERS), _COST, _COST),),
        methods, ("predict",), {}, "1.3", 1,
        {name: FileEntry(sha256(data).hex(), len(data)) for name, data in files.items()},
    )  # fmt: skip
    (folder / "manifest.json").write_bytes(manifest.to_json())
    return Package.open(folder, part="gateway")


def _tokenizer() -> str:
    words = {word: place + 1 for place, word in enumerate(WORDS)} | {"[UNK]": 0}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return str(tokenizer.to_str())


def _model(labels: int) -> bytes:
    table = np.vstack([np.full((1, WIDTH), 0.5), np.eye(WIDTH)]).astype(np.float32)
    constants = {
        "table": table, "last": np.array([-1]), "scale": np.float32(20), "cut": np.array([labels * WIDTH]),
        "zero": np.array([0]), "end": np.array([labels * (WIDTH + 1)]), "rows": np.array([labels, WIDTH]),
        "one": np.array([1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
        helper.make_node("Mul", ["words", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["pooled"], keepdims=0),
        helper.make_node("ReduceL2", ["pooled", "one"], ["length"], keepdims=1),
        helper.make_node("Div", ["pooled", "length"], ["feature"]),
        helper.make_node("Sub", ["feature", "mean"], ["centred"]),
        helper.make_node("Slice", ["head", "zero", "cut"], ["flat"]),
        helper.make_node("Slice", ["head", "cut", "end"], ["bias"]),
        helper.make_node("Reshape", ["flat", "rows"], ["weight"]),
        helper.make_node("Transpose", ["weight"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["centred", "turned"], ["product"]),
        helper.make_node("Mul", ["product", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    value = helper.make_tensor_value_info
    inputs = [
        value("experts", TensorProto.FLOAT, [len(LAYERS), EXPERTS, SHAPE.expert_size]),
        value("shared", TensorProto.FLOAT, [len(LAYERS), SHAPE.shared_size]),
        value("head", TensorProto.FLOAT, [labels * (WIDTH + 1)]),
        value("mean", TensorProto.FLOAT, [WIDTH]),
        value("ids", TensorProto.INT64, ["N", "T"]),
        value("mask", TensorProto.FLOAT, ["N", "T"]),
    ]
    outputs = [value("probabilities", TensorProto.FLOAT, ["N", labels])]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def features(texts: list[str]) -> np.ndarray:
    """Return what the model's features are, [N, WIDTH], computed apart from it."""
    rows = [np.mean([np.eye(WIDTH)[WORDS.index(word)] for word in text.split()], axis=0) for text in texts]
    return np.stack([row / np.linalg.norm(row) for row in rows])


def hello(package: Package, device: str = "a", **fields: object) -> pb.Hello:
    """Return a Hello that is accepted."""
    values = {
        "device": device, "federation_digest": package.manifest.architecture.digest(), "package_digest": package.digest,
        "gateway_session": b"s" * 16, "profile": "tiny", "runtime": "numpy", "trained_slots": 2, "held_slots": 4,
        "batch_size": 2, "examples": 10, "codecs": [pb.FLOAT32, pb.INT8],
    }  # fmt: skip
    message = pb.Hello(**(values | fields))
    encode(message)
    return message


def statistics(package: Package, device: str, texts: list[str], labels: list[int]) -> pb.ClassStatistics:
    """Return class statistics of these texts."""
    counts = np.bincount(labels, minlength=len(LABELS)).astype("<f4")
    sums = np.zeros((len(LABELS), WIDTH), "<f4")
    for feature, label in zip(features(texts), labels, strict=True):
        sums[label] += feature
    digest = package.manifest.architecture.digest()
    message = pb.ClassStatistics(
        device=device, federation_digest=digest, width=WIDTH, counts=counts.tobytes(), sums=sums.tobytes()
    )
    encode(message)
    return message


def delta(
    plan: pb.Plan,
    plan_bytes: bytes,
    *,
    value: float = 0.01,
    spread: float = 0.0,
    examples: int = 10,
    **fields: object,
) -> pb.Delta:
    """Return a Delta for a plan: values of every planned block move by ``value``, the last by ``spread`` more."""
    experts = [
        pb.ExpertDelta(
            layer=ref.layer,
            index=ref.index,
            values=np.linspace(value, value + spread, size_of(ref)).astype("<f4").tobytes(),
        )
        for ref in plan.train
    ]
    values = {
        "device": plan.device, "plan_digest": sha256(plan_bytes), "round": plan.round,
        "base_version": plan.base_version, "examples": examples, "experts": experts, "loss_first": 1.0,
        "loss_last": 0.5, "step_ms": 3.0, "steps": plan.steps,
    }  # fmt: skip
    message = pb.Delta(**(values | fields))
    encode(message)
    return message


def size_of(ref: pb.ExpertRef) -> int:
    """Return the values of a block."""
    return SHAPE.size(ExpertId(ref.layer, ref.index))


def uneven(plan: pb.Plan, *seed: int) -> list[pb.ExpertDelta]:
    """Return values of a plan's blocks, uneven numbers that depend on ``seed``."""
    rng = np.random.default_rng(seed)
    return [
        pb.ExpertDelta(
            layer=ref.layer, index=ref.index, values=rng.normal(0, 0.01, size_of(ref)).astype("<f4").tobytes()
        )
        for ref in plan.train
    ]
