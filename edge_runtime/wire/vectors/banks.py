"""Cases of banks: where each number of a block stands, which blocks a bank has, and files of banks."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any, Final

from edge_runtime.wire.vectors.build import DIGEST, FEDERATION, INF, NAN
from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.values import f32, floats

_SHAPE: Final = {"layers": [1], "experts": 1, "rank": 1, "shared_rank": 1, "width": 1, "labels": 2}
# r = d = 1: an expert has 2·2·1 + 1 = 5 values, the shared one 3·1 + 1 = 4, the head 2·1 + 2 = 4, the mean 1.
_EXPERT: Final = f32(1, 2, 3, 4, 5)
_SHARED: Final = f32(6, 7, 8, 9)
_METADATA: Final = {"federation_digest": FEDERATION.hex()}
_FILE: Final = {**_SHAPE, **_METADATA}
"""Context of a file."""
_HEAD: Final = f32(10, 11, 12, 13)
_MEAN: Final = f32(14)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield from _layouts()
    yield from _shapes()
    yield from _files()
    yield from _class_means()


def _layouts() -> Iterator[Case]:
    # r = 2, d = 3: D is [2, 3], then w [3], b [2], U [2, 3], c [3].
    expert = {
        "in": [[0, 1, 2], [3, 4, 5], [6, 7, 8]],
        "bias": [9, 10],
        "out": [[11, 12, 13], [14, 15, 16], [17, 18, 19]],
    }
    context: dict[str, Any] = {"block": "expert", "width": 3, "rank": 2}
    comment = "numbers count up, so each shows its place; last rows: router, output bias"
    yield Case("BlockLayout", "accept_expert", f32(*range(20)), "ACCEPT", comment, context, {"parts": expert})
    yield Case("BlockLayout", "refuse_expert_short", f32(*range(19)), "WRONG_SIZE", "a value short", context)
    shared = {"down": [[0, 1, 2], [3, 4, 5]], "bias": [6, 7], "up": [[8, 9, 10], [11, 12, 13], [14, 15, 16]]}
    context = {**context, "block": "shared"}
    yield Case("BlockLayout", "accept_shared", f32(*range(17)), "ACCEPT", "no router row", context, {"parts": shared})
    head = {"weight": [[0, 1, 2], [3, 4, 5]], "bias": [6, 7]}
    context = {"block": "head", "width": 3, "labels": 2}
    yield Case("BlockLayout", "accept_head", f32(*range(8)), "ACCEPT", "two labels", context, {"parts": head})


def _shapes() -> Iterator[Case]:
    sizes = [[1, 0, 5], [1, 65_535, 4], [65_535, 0, 4], [65_535, 1, 1]]
    yield Case("BankShape", "accept_small", b"", "ACCEPT", "every kind of block", _SHAPE, {"sizes": sizes})
    two = {"layers": [0, 4], "experts": 2, "rank": 2, "shared_rank": 0, "width": 3, "labels": 2}
    sizes = [[0, 0, 20], [0, 1, 20], [4, 0, 20], [4, 1, 20], [65_535, 0, 8], [65_535, 1, 3]]
    yield Case("BankShape", "accept_no_shared", b"", "ACCEPT", "rs = 0, layers with a gap", two, {"sizes": sizes})
    sizes = [[1, 0, 5], [1, 65_535, 4]]
    comment = "no label: neither head nor mean"
    yield Case("BankShape", "accept_labels_0", b"", "ACCEPT", comment, {**_SHAPE, "labels": 0}, {"sizes": sizes})
    bad: dict[str, tuple[str, dict[str, Any]]] = {
        "no_layers": ("nothing is adapted", {"layers": []}),
        "unsorted": ("layers 4, 0", {"layers": [4, 0]}),
        "repeated": ("a layer twice", {"layers": [1, 1]}),
        "negative_layer": ("no such layer", {"layers": [-1, 0]}),
        "reserved_layer": ("65535 is the head's", {"layers": [65_535]}),
        "reserved_expert": ("65535 is the shared expert's", {"experts": 65_536}),
        "no_experts": ("an empty bank", {"experts": 0}),
        "rank_0": ("an empty expert", {"rank": 0}),
        "negative_shared_rank": ("less than none", {"shared_rank": -1}),
        "width_0": ("no width", {"width": 0}),
        "labels_negative": ("less than none", {"labels": -1}),
        "labels_65536": ("more labels than the limit", {"labels": 65_536}),
        "blocks_2501": ("2,498 experts, a shared one, head and mean", {"experts": 2498}),
        "block_over_64_mib": ("a head of 16,777,217 values is over 64 MiB", {"labels": 1, "width": 16_777_216}),
        "bank_over_2_gib": ("2,000 experts of 1.2 MB", {"experts": 2000, "rank": 36, "width": 4096}),
    }
    for name, (comment, changes) in bad.items():
        yield Case("BankShape", f"refuse_{name}", b"", "REFUSED", comment, {**_SHAPE, **changes})


def _safetensors(
    tensors: dict[str, tuple[str, list[int], bytes]],
    head: bytes | None = None,
    metadata: dict[str, Any] | None = _METADATA,
) -> bytes:
    table: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    data = b""
    for name, (dtype, shape, values) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    header = json.dumps(table).encode() if head is None else head
    return struct.pack("<Q", len(header)) + header + data


def _files() -> Iterator[Case]:
    good = {
        "experts": ("F32", [1, 1, 5], _EXPERT),
        "shared": ("F32", [1, 4], _SHARED),
        "head": ("F32", [4], _HEAD),
        "mean": ("F32", [1], _MEAN),
    }
    listed = ((1, 0, _EXPERT), (1, 65_535, _SHARED), (65_535, 0, _HEAD), (65_535, 1, _MEAN))
    preimage = b"".join(struct.pack("<II", a, b) + hashlib.sha256(values).digest() for a, b, values in listed)
    digest = hashlib.sha256(preimage).hexdigest()
    meaning = {"digest": digest, "head": [10.0, 11.0, 12.0, 13.0], "mean": [14.0]}
    file = _safetensors(good)
    yield Case("Bank", "accept_small", file, "ACCEPT", "written by hand", _FILE, meaning)
    reversed_order = _safetensors(dict(reversed(good.items())))
    yield Case("Bank", "accept_other_order", reversed_order, "ACCEPT", "tensors in another order", _FILE, meaning)
    more = _safetensors(good, metadata={"format": "np", **_METADATA})
    yield Case("Bank", "accept_more_metadata", more, "ACCEPT", "other metadata are skipped", _FILE, meaning)
    yield _without_head()
    yield from _of_other_federations(good)
    bad = {
        "empty": (b"", "no bytes"),
        "truncated": (file[:-1], "the last byte is missing"),
        "longer": (file + b"\0", "a byte too many"),
        "header_2_64": (b"\xff" * 8 + file[8:], "a header length that lies"),
        "header_100_mb": (struct.pack("<Q", 100_000_000) + file[8:], "longer than the file"),
        "not_json": (_safetensors(good, b"{"), "a damaged header"),
        "nested": (_safetensors(good, b'{"a":' * 20_000), "a header to overflow a stack"),
        "no_tensors": (_safetensors({}), "empty but valid"),
        "tensor_missing": (
            _safetensors({name: good[name] for name in ("experts", "head", "mean")}),
            "no shared experts",
        ),
        "tensor_extra": (_safetensors({**good, "extra": ("F32", [1], f32(1))}), "a tensor that is not of a bank"),
        "float64": (_safetensors({**good, "mean": ("F64", [1], struct.pack("<d", 1))}), "another dtype"),
        "bfloat16": (_safetensors({**good, "mean": ("BF16", [1], b"\0\0")}), "a dtype that numpy lacks"),
        "shape": (_safetensors({**good, "head": ("F32", [2, 2], _HEAD)}), "four values in another shape"),
        "shape_huge": (_safetensors({**good, "mean": ("F32", [2**63, 2**63], _MEAN)}), "a product that overflows"),
        "nan": (_safetensors({**good, "mean": ("F32", [1], f32(NAN))}), "NaN"),
        "infinity": (_safetensors({**good, "shared": ("F32", [1, 4], f32(1, 2, -INF, 4))}), "infinity"),
    }
    for name, (data, comment) in bad.items():
        yield Case("Bank", f"refuse_{name}", data, "REFUSED", comment, _FILE)


def _of_other_federations(good: dict[str, tuple[str, list[int], bytes]]) -> Iterator[Case]:
    digest = FEDERATION.hex()
    bad: dict[str, tuple[dict[str, Any] | None, str]] = {
        "no_metadata": (None, "an older file: nobody knows the order of its labels"),
        "no_federation": ({"format": "np"}, "metadata without a federation"),
        "other_federation": ({"federation_digest": DIGEST.hex()}, "the same shape, other labels"),
        "federation_upper_case": ({"federation_digest": digest.upper()}, "hex is of lower case"),
        "federation_short": ({"federation_digest": digest[:-1]}, "a digit short"),
        "federation_number": ({"federation_digest": 1}, "metadata are texts"),
    }
    for name, (metadata, comment) in bad.items():
        file = _safetensors(good, metadata=metadata)
        yield Case("Bank", f"refuse_{name}", file, "REFUSED", comment, _FILE)
    null = _safetensors(good).replace(json.dumps(_METADATA).encode(), b"null".ljust(len(json.dumps(_METADATA))))
    yield Case("Bank", "refuse_metadata_null", null, "REFUSED", "safetensors reads null as no metadata", _FILE)
    once = json.dumps(_METADATA)[1:-1]
    twice = _safetensors(good).replace(once.encode(), f"{once}, {once}".encode())
    twice = struct.pack("<Q", int.from_bytes(twice[:8], "little") + len(once) + 2) + twice[8:]
    yield Case("Bank", "refuse_federation_twice", twice, "REFUSED", "a key twice", _FILE)


def _without_head() -> Case:
    empty = {"head": ("F32", [0], b""), "mean": ("F32", [0], b"")}
    file = _safetensors({"experts": ("F32", [1, 1, 5], _EXPERT), "shared": ("F32", [1, 4], _SHARED), **empty})
    listed = ((1, 0, _EXPERT), (1, 65_535, _SHARED))
    preimage = b"".join(struct.pack("<II", a, b) + hashlib.sha256(values).digest() for a, b, values in listed)
    meaning: dict[str, Any] = {"digest": hashlib.sha256(preimage).hexdigest(), "head": [], "mean": []}
    return Case("Bank", "accept_labels_0", file, "ACCEPT", "no label", {**_FILE, "labels": 0}, meaning)


def _class_means() -> Iterator[Case]:
    context: dict[str, Any] = {"labels": 2, "width": 2, "logit_scale": 20.0}
    half = 0.5**0.5
    rows = (half, -half, -half, half)
    apart, middle = f32(*rows, 0, 0), f32(0.5, 0.5)
    two, both = f32(2, 2), f32(2, 0, 0, 2)
    weighted = "the mean weighs examples: (3, 0) / 4 and (0, 1) / 4"
    narrow = f32(2 + 2**-9, 2, 2, 2 + 2**-9)
    good: dict[str, tuple[str, bytes, bytes, bytes]] = {
        "two": ("(1, 0) and (0, 1): rows from (1/2, 1/2)", two + both, apart, middle),
        "weighted": (weighted, f32(3, 1, 3, 0, 0, 1), apart, f32(0.75, 0.25)),
        "part_of_an_example": ("counts below 1 divide, too", f32(0.5, 0.5, 0.5, 0, 0, 0.5), apart, middle),
        "narrow_cone": ("class means that are nearly parallel", two + narrow, apart, f32(1 + 2**-11, 1 + 2**-11)),
        "one_label": ("its mean is the mean: no direction", f32(3, 0, 3, 0, 0, 0), f32(0, 0, 0, 0, 0, -100), f32(1, 0)),
    }
    for name, (comment, data, head, mean) in good.items():
        meaning = {"head": floats(head), "mean": floats(mean)}
        yield Case("ClassMeans", f"accept_{name}", data, "ACCEPT", comment, context, meaning)
    for name, scale, bias in (("absent_label", 20.0, -100.0), ("absent_in_half_scale", 0.5, -2.5)):
        meaning = {"head": floats(f32(*rows, 0, 0, 0, 0, bias)), "mean": floats(middle)}
        context = {"labels": 3, "width": 2, "logit_scale": scale}
        data = f32(2, 2, 0, 2, 0, 0, 2, 0, 0)
        yield Case("ClassMeans", f"accept_{name}", data, "ACCEPT", "-5 logit scales", context, meaning)
    comment = "nothing to start from"
    yield Case("ClassMeans", "refuse_no_examples", f32(*[0] * 9), "REFUSED", comment, context)
