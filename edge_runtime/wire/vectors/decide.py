"""Replays a case: what this implementation makes of its bytes. Kotlin has the same table."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from google.protobuf.message import Message

from edge_runtime.wire import experts, messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.chunks import Assembler, missing_chunks
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.digests import canonical_json, sha256, version_digest
from edge_runtime.wire.enrolment import Enrolment
from edge_runtime.wire.errors import FederationError, WireError, code_name
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId
from edge_runtime.wire.label_prior import label_weights, with_prior
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.order import epoch_order
from edge_runtime.wire.packing import Capacity, holds, pack, steps
from edge_runtime.wire.program_interface import (
    HYPER_PLACES,
    HYPER_SIZE,
    MethodKind,
    MethodShape,
    ModelShape,
    hyper_values,
    method_spec,
)
from edge_runtime.wire.signatures import verify_manifest, verify_message
from edge_runtime.wire.strict_json import plain_tree
from edge_runtime.wire.topics import RETAINED, parse
from edge_runtime.wire.updates import apply_update
from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.decide_secure import SECURE

Context = dict[str, Any]
Meaning = dict[str, Any]

MESSAGES: Final[dict[str, type[Message]]] = {
    kind.__name__: kind
    for kind in (
        *(pb.GatewayState, pb.Hello, pb.Bye, pb.Plan, pb.Delta),
        *(pb.ClassStatistics, pb.Chunk, pb.Verdict, pb.Version, pb.Want, pb.Offer),
        *(pb.PartialSum, pb.PartialStatistics),
    )
}


def decide(case: Case) -> tuple[str, Meaning | None]:
    """Return what is expected to be ``case.expect`` and ``case.meaning``."""
    context = case.context or {}
    try:
        if case.kind in MESSAGES:
            return "ACCEPT", _message(MESSAGES[case.kind], case.data, **context)
        return "ACCEPT", _KINDS[case.kind](case.data, **context)
    except WireError as error:
        return code_name(error.code), None
    except FederationError:
        return "REFUSED", None


def fields_of(message: Message) -> Meaning:
    """Return all fields of a message as JSON has them; README.md, "Shared vectors"."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any) -> Any:  # noqa: ANN401 - two implementations describe fields; any JSON
    value = getattr(message, field.name)
    return [_plain(item, field) for item in value] if field.is_repeated else _plain(value, field)


def _plain(value: Any, field: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, Message):
        return fields_of(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if field.type in (field.TYPE_UINT64, field.TYPE_FIXED64) else value


def _message(kind: type[Message], data: bytes, limit: int | None = None) -> Meaning:
    return fields_of(messages.decode(kind, data, limit))


def _chunks(data: bytes) -> Meaning:
    assembler = Assembler()
    bodies, position, number = [], 0, 0
    while position < len(data):
        (size,) = struct.unpack_from("<I", data, position)
        payload = data[position + 4 : position + 4 + size]
        body = assembler.add("device-1", messages.decode(pb.Chunk, payload))
        if body is not None:
            bodies.append({"after": number, "bytes": len(body), "sha256": sha256(body).hex()})
        position += 4 + size
        number += 1
    return {"bodies": bodies}


def _missing(data: bytes, count: int) -> Meaning:
    return {"indexes": list(missing_chunks(data, count))}


def _values(data: bytes, codec: int, count: int) -> Meaning:
    return {"values": tensors.decode(data, count, codec).tolist()}


def _encode(data: bytes, codec: int) -> Meaning:
    return {"hex": tensors.encode(np.frombuffer(data, "<f4"), codec).hex()}


def _update(data: bytes, base: str) -> Meaning:
    values = apply_update(np.frombuffer(bytes.fromhex(base), "<f4"), data)
    return {"hex": tensors.encode(values).hex()}


def _block_digest(data: bytes, codec: int, count: int) -> Meaning:
    return {"digest": sha256(tensors.encode(tensors.decode(data, count, codec))).hex()}


def _version_digest(data: bytes) -> Meaning:
    return {"digest": version_digest({ExpertId(a, b): c for a, b, c in struct.iter_unpack("<II32s", data)}).hex()}


def _layout(data: bytes, block: str, width: int, rank: int = 0, labels: int = 0) -> Meaning:
    parts = {
        "expert": lambda: experts.expert_parts(width, rank),
        "shared": lambda: experts.shared_parts(width, rank),
        "head": lambda: experts.head_parts(width, labels),
    }[block]()
    values = tensors.decode(data, experts.block_size(parts))
    tensors_of = {
        part.name: values[part.offset : part.offset + part.size].reshape(part.shape).tolist() for part in parts
    }
    return {"parts": tensors_of}


def _bank_shape(data: bytes, layers: list[int], **sizes: int) -> Meaning:
    del data
    shape = BankShape(tuple(layers), **sizes)
    return {"sizes": [[block.layer, block.index, shape.size(block)] for block in shape.ids()]}


def _bank(data: bytes, layers: list[int], federation_digest: str, **sizes: int) -> Meaning:
    bank = Bank.from_bytes(data, BankShape(tuple(layers), **sizes), bytes.fromhex(federation_digest))
    return {"digest": bank.digest().hex(), "head": bank.head.tolist(), "mean": bank.mean.tolist()}


def _class_means(data: bytes, labels: int, width: int, logit_scale: float) -> Meaning:
    blocks = class_mean_head(ClassSums.from_bytes(data[: 4 * labels], data[4 * labels :]), logit_scale)
    del width
    return {"head": blocks[HEAD].tolist(), "mean": blocks[MEAN].tolist()}


def _label_prior(data: bytes, labels: int, strength: float) -> Meaning:
    values = np.frombuffer(data, "<f4")
    moved = with_prior(values[labels:], label_weights(values[:labels], strength))
    return {"probabilities": moved.tolist()}


def _epoch_order(data: bytes, seed: str, epoch: int, count: int) -> Meaning:
    del data
    return {"order": epoch_order(int(seed), epoch, count).tolist()}


def _packing(data: bytes, lengths: list[int], rows: int, sequence: int, batch: int) -> Meaning:
    del data
    capacity = Capacity(rows, sequence, batch)
    stands = [[stand.row, stand.first, stand.count] for stand in pack(lengths, capacity)]
    return {"stands": stands, "steps": steps(lengths, capacity), "holds": holds(lengths, capacity)}


def _topic(data: bytes) -> Meaning:
    address = parse(data.decode())
    retained = address.topic in RETAINED
    return {"federation": address.federation, "topic": str(address.topic), "name": address.name, "retained": retained}


def _manifest(data: bytes) -> Meaning:
    manifest = Manifest.from_json(data)
    return {
        "federation_digest": manifest.architecture.digest().hex(),
        "canonical": canonical_json(plain_tree(manifest.architecture)).decode(),
        "labels": list(manifest.architecture.labels),
        "files": sorted(manifest.files),
    }


def _enrolment(data: bytes) -> Meaning:
    tree: Meaning = plain_tree(Enrolment.from_json(data))
    return tree


def _broker_url(data: bytes, *, allow_plaintext: bool = False) -> Meaning:
    url = BrokerUrl.parse(data.decode(), allow_plaintext=allow_plaintext)
    return {**plain_tree(url), "shown": str(url)}


def _signed_message(data: bytes, key: str, topic: str) -> Meaning:
    return {"serial": str(verify_message(bytes.fromhex(key), topic, data))}


def _signed_manifest(data: bytes, key: str, signature: str) -> Meaning:
    verify_manifest(bytes.fromhex(key), data, bytes.fromhex(signature))
    return {}


def program_meaning(
    *,
    layers: list[int],
    top_k: int,
    vocabulary: int,
    kind: str,
    recompute: str,
    cut: bool,
    trained_layers: int,
    **sizes: int,
) -> dict[str, Any]:
    """Return what the sizes of a model and of one of its methods mean: the method's name and ports."""
    bank = {name: sizes[name] for name in ("experts", "rank", "shared_rank", "width", "labels")}
    slots = (sizes["trained"], sizes["frozen"], sizes["sequence"], sizes["rows"], sizes["batch"])
    model = ModelShape(BankShape(tuple(layers), **bank), top_k or None, vocabulary)
    method = MethodShape(MethodKind(kind), *slots, recompute, cut, layers=trained_layers)
    spec = method_spec(model, method)
    ways = {"inputs": spec.inputs, "outputs": spec.outputs}
    listed = {way: [[one.name, one.dtype, list(one.shape)] for one in tensors] for way, tensors in ways.items()}
    return {"name": method.name, **listed}


def hyper_meaning(*, step: int, **rates: float) -> dict[str, Any]:
    """Return the numbers of ``hyper`` as a program takes them, and where each stands."""
    learning_rate = rates.pop("learning_rate")
    values = np.array(hyper_values(step, learning_rate, **rates), np.float32)
    return {"values": values.tolist(), "places": HYPER_PLACES, "size": HYPER_SIZE}


_KINDS: Final[dict[str, Callable[..., Meaning]]] = {
    "Chunks": _chunks,
    "Missing": _missing,
    "Values": _values,
    "Encode": _encode,
    "Update": _update,
    "BlockDigest": _block_digest,
    "VersionDigest": _version_digest,
    "BlockLayout": _layout,
    "BankShape": _bank_shape,
    "Bank": _bank,
    "ClassMeans": _class_means,
    "LabelPrior": _label_prior,
    "EpochOrder": _epoch_order,
    "Packing": _packing,
    "Topic": _topic,
    "Manifest": _manifest,
    "Enrolment": _enrolment,
    "BrokerUrl": _broker_url,
    "SignedMessage": _signed_message,
    "SignedManifest": _signed_manifest,
    "ProgramInterface": lambda _data, **context: program_meaning(**context),
    "Hyper": lambda _data, **context: hyper_meaning(**context),
    **SECURE,
}
