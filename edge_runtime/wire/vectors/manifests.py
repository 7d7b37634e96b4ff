"""Cases of manifest.json: a small one that is accepted, and one change each that is refused."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape
from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.depth_tiers import DepthTiers, Tree, spec_tree

_A, _B, _C, _D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
_COST: Final = {"memory_mib": 133.5, "step_ms": 81, "storage_mb": 26.0, "bytes_up": 1000, "bytes_down": 2000}
_SHAPE: Final = ModelShape(BankShape((0, 1), 2, 2, 0, 3, 3))
_TRAIN: Final = MethodShape(MethodKind.TRAIN, 1, 1, 8, 2, 3)
_DEPTHS: Final = DepthTiers(_SHAPE, _TRAIN)
_PREDICT: Final = MethodShape(MethodKind.PREDICT, 2, 0, 8, 1, 1)
_PACKED: Final = MethodShape(MethodKind.PREDICT, 2, 0, 8, 2, 4)
_GOOD: Final[Tree] = {
    "package_format": 5,
    "wire_version": 1,
    "program_interface": 3,
    "architecture": {
        "backbone": {"name": "tiny", "family": "bert", "digest": _A, "width": 3, "layers": 2, "parameters": 1000},
        "task": "classification",
        "labels": ["yes", "nö", 'say "hi" \\ bye'],
        "gate": "soft",
        "top_k": 0,
        "adapted_layers": [0, 1],
        "experts": 2,
        "rank": 2,
        "shared_rank": 0,
        "feature": "mean_pool_l2",
        "logit_scale": 20.0,
        "end_token": -1,
        "tokenizer_digest": _B,
        "bank_digest": _C,
    },
    "device": "pixel8",
    "profile": {"cores": 8, "note": "any JSON", "nested": {"list": [1, None, True]}},
    "quantize": "int8",
    "held": "all",
    "tiers": [
        {
            "method": "train_m1_f1_s8_r2_b3",
            "trained_slots": 1,
            "frozen_slots": 1,
            "seq_len": 8,
            "rows": 2,
            "batch_size": 3,
            "layers": 2,
            "predicted": _COST,
            "measured": _COST,
        }
    ],
    "methods": {
        "train_m1_f1_s8_r2_b3": spec_tree(_SHAPE, _TRAIN),
        "predict_s8_r2_b4": spec_tree(_SHAPE, _PACKED),
        "predict_s8_r1_b1": spec_tree(_SHAPE, _PREDICT),
    },
    "predict_methods": ["predict_s8_r2_b4", "predict_s8_r1_b1"],
    "versions": {"torch": "2.13.0"},
    "oldest_runtime": "1.3",
    "threads": 4,
    "files": {
        "program.pte": {"sha256": _D, "bytes": 10},
        "tokenizer.json": {"sha256": _B, "bytes": 20},
        "bank.safetensors": {"sha256": _A, "bytes": 30},
        "gateway/model.onnx": {"sha256": _C, "bytes": 40},
    },
    "proof": {"loss_error": 1e-7},
}
# Written by hand from SPEC.md, "Digests": keys sorted, no spaces, UTF-8.
_CANONICAL: Final = (
    '{"adapted_layers":[0,1],"backbone":{"digest":"' + _A + '","family":"bert","layers":2,"name":"tiny",'
    '"parameters":1000,"width":3},"bank_digest":"' + _C + '","end_token":-1,"experts":2,'
    '"feature":"mean_pool_l2","gate":"soft","labels":["yes","nö","say \\"hi\\" \\\\ bye"],'
    '"logit_scale":20.0,"rank":2,"shared_rank":0,'
    '"task":"classification","tokenizer_digest":"' + _B + '","top_k":0}'
)
_NAMES: Final = '["yes","nö","say \\"hi\\" \\\\ bye"]'
_LANGUAGE: Final[Tree] = {"task": "causal-lm", "labels": [], "feature": "none", "logit_scale": 1.0, "end_token": 7}
_FILES: Final = ["bank.safetensors", "gateway/model.onnx", "program.pte", "tokenizer.json"]
_LONE: Final = r"\ud800"


def _meaning(canonical: str = _CANONICAL) -> dict[str, Any]:
    tree = json.loads(canonical)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return {"federation_digest": digest, "canonical": canonical, "labels": tree["labels"], "files": _FILES}


def _bytes(tree: Tree) -> bytes:
    return json.dumps(tree, indent=1, ensure_ascii=False).encode()


def _changed(change: Callable[[Tree], object]) -> bytes:
    tree = copy.deepcopy(_GOOD)
    change(tree)
    return _bytes(tree)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield Case("Manifest", "accept_small", _bytes(_GOOD), "ACCEPT", "a small manifest", meaning=_meaning())
    escaped = json.dumps(_GOOD, sort_keys=True, indent=2).encode()
    comment = "other order, spaces and escapes: the same federation"
    yield Case("Manifest", "accept_other_text", escaped, "ACCEPT", comment, meaning=_meaning())
    integer = _changed(lambda t: t["architecture"].update(logit_scale=20))
    comment = "20 is the number 20.0: the same federation"
    yield Case("Manifest", "accept_integer_scale", integer, "ACCEPT", comment, meaning=_meaning())
    tenth = _changed(lambda t: t["architecture"].update(logit_scale=0.1))
    other = _meaning(_CANONICAL.replace("20.0", "0.1"))
    yield Case("Manifest", "accept_fraction", tenth, "ACCEPT", "a fraction that is not exact", meaning=other)
    tiers = _changed(_two_tiers)
    yield Case(
        "Manifest",
        "accept_two_tiers",
        tiers,
        "ACCEPT",
        "tiers of two capacities, inferences of two lengths",
        meaning=_meaning(),
    )
    small = _changed(_micro_batches)
    yield Case("Manifest", "accept_micro_batches", small, "ACCEPT", "a step in two parts", meaning=_meaning())
    trunk = _changed(_with_trunk)
    yield Case(
        "Manifest",
        "accept_trunk",
        trunk,
        "ACCEPT",
        "a tier whose prefixes have methods of two lengths, and how it was timed",
        meaning=_meaning(),
    )
    depth = _changed(_DEPTHS.add)
    comment = "a tier of the upper layer alone, whose trunk runs the experts of the lower one"
    yield Case("Manifest", "accept_depth", depth, "ACCEPT", comment, meaning=_meaning())
    four_bit = _changed(_set("int4", "quantize"))
    yield Case(
        "Manifest", "accept_int4", four_bit, "ACCEPT", "rounded otherwise: the same federation", meaning=_meaning()
    )
    language = _changed(_causal_lm)
    canonical = _CANONICAL.replace(_NAMES, "[]").replace("20.0", "1.0").replace("mean_pool_l2", "none")
    canonical = canonical.replace('"end_token":-1', '"end_token":7').replace("classification", "causal-lm")
    comment = "continues texts: no labels, no feature"
    yield Case("Manifest", "accept_causal_lm", language, "ACCEPT", comment, meaning=_meaning(canonical))
    joined = ["\u0645\u06cc\u200c\u0634\u0648\u062f", "👨\u200d👩\u200d👧", "very\u00a0good", "#1"]
    labels = _changed(_labels(joined))
    other = _meaning(_CANONICAL.replace(_NAMES, json.dumps(joined, ensure_ascii=False, separators=(",", ":"))))
    comment = "zero-width joiners, a no-break space and a number sign are plain text"
    yield Case("Manifest", "accept_labels_joined", labels, "ACCEPT", comment, meaning=other)
    alike = ["\u00e9", "e\u0301", "K", "\u212a"]
    labels = _changed(_labels(alike))
    other = _meaning(_CANONICAL.replace(_NAMES, json.dumps(alike, ensure_ascii=False, separators=(",", ":"))))
    comment = "labels that look alike, of other bytes (one letter or two, K and the Kelvin sign), are four labels"
    yield Case("Manifest", "accept_labels_alike", labels, "ACCEPT", comment, meaning=other)
    keys = _changed(_set({"\u00e9": 1, "e\u0301": 2}, "profile"))
    yield Case("Manifest", "accept_keys_alike", keys, "ACCEPT", "keys that look alike are two keys", meaning=_meaning())
    routed = _changed(_top_k)
    other = _meaning(_CANONICAL.replace('"soft"', '"topk"').replace('"top_k":0', '"top_k":2'))
    yield Case("Manifest", "accept_top_k", routed, "ACCEPT", "a program of top-k gates", meaning=other)
    no_proof = _changed(lambda t: t.pop("proof"))
    yield Case("Manifest", "accept_no_proof", no_proof, "ACCEPT", "proof may be left out", meaning=_meaning())
    for name, (comment, change) in (_CHANGES | _DEPTHS.faults()).items():
        yield Case("Manifest", f"refuse_{name}", _changed(change), "REFUSED", comment)
    for name, (comment, data) in _texts().items():
        yield Case("Manifest", f"refuse_{name}", data, "REFUSED", comment)


def _set(value: object, *path: str | int) -> Callable[[Tree], object]:
    """Return a change that puts ``value`` at ``path``."""

    def change(tree: Tree) -> None:
        node: Any = tree
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = value

    return change


def _two_tiers(tree: Tree) -> None:
    small = {**tree["tiers"][0], "method": "train_m1_f1_s8_r1_b3", "rows": 1, "proof": {"loss_error": 1e-7}}
    tree["tiers"].append(small)
    tree["methods"]["train_m1_f1_s8_r1_b3"] = spec_tree(_SHAPE, replace(_TRAIN, rows=1))
    tree["methods"]["predict_s4_r1_b1"] = spec_tree(_SHAPE, replace(_PREDICT, sequence=4))
    tree["predict_methods"].append("predict_s4_r1_b1")


def _micro_batches(tree: Tree) -> None:
    tree["tiers"][0].update(recompute="light", micro_batches=2, apply_method="apply_m1")
    accumulate = replace(_TRAIN, kind=MethodKind.ACCUMULATE, rows=1)
    tree["methods"]["train_m1_f1_s8_r2_b3"] = spec_tree(_SHAPE, accumulate)
    tree["methods"]["apply_m1"] = spec_tree(_SHAPE, MethodShape(MethodKind.APPLY, 1, 0, 0, 0, 0))


def _with_trunk(tree: Tree) -> None:
    tree["tiers"][0]["trunk_methods"] = ["trunk_s4_r6", "trunk_s8_r5"]
    tree["tiers"][0]["measured"] = {**_COST, "trunk_ms": 12.5}
    tree["tiers"][0]["timing"] = {"median_ms": 81, "least_ms": 79.5, "most_ms": 84.25, "threads": 4, "other_cores": 0.5}
    tree["methods"]["train_m1_f1_s8_r2_b3"] = spec_tree(_SHAPE, replace(_TRAIN, cut=True))
    for sequence, rows in ((4, 6), (8, 5)):
        trunk = MethodShape(MethodKind.TRUNK, 0, 0, sequence, rows, 0)
        tree["methods"][trunk.name] = spec_tree(_SHAPE, trunk)


def _reversed_trunks(tree: Tree) -> None:
    _with_trunk(tree)
    tree["tiers"][0]["trunk_methods"].reverse()


def _short_trunk(tree: Tree) -> None:
    _with_trunk(tree)
    tree["tiers"][0]["trunk_methods"].pop()


def _top_k(tree: Tree) -> None:
    tree["architecture"].update(gate="topk", top_k=2)
    _methods(tree, replace(_SHAPE, top_k=2))


def _causal_lm(tree: Tree) -> None:
    tree["architecture"].update(_LANGUAGE)
    _methods(tree, ModelShape(replace(_SHAPE.bank, labels=0), vocabulary=50))


def _labels(labels: list[str]) -> Callable[[Tree], object]:
    def change(tree: Tree) -> None:
        tree["architecture"]["labels"] = labels
        _methods(tree, replace(_SHAPE, bank=replace(_SHAPE.bank, labels=len(labels))))

    return change


def _methods(tree: Tree, model: ModelShape) -> None:
    tree["methods"] = {
        "train_m1_f1_s8_r2_b3": spec_tree(model, _TRAIN),
        "predict_s8_r2_b4": spec_tree(model, _PACKED),
        "predict_s8_r1_b1": spec_tree(model, _PREDICT),
    }


def _ports(
    way: str, change: Callable[[list[Tree]], object], method: str = "train_m1_f1_s8_r2_b3"
) -> Callable[[Tree], object]:
    """Return a change of the inputs or outputs of a method."""
    return lambda tree: change(tree["methods"][method][way])


def _named(listed: list[Tree], name: str) -> Tree:
    return next(tensor for tensor in listed if tensor["name"] == name)


def _arch(**values: object) -> Callable[[Tree], object]:
    return lambda tree: tree["architecture"].update(values)


def _file(name: str) -> Callable[[Tree], object]:
    return lambda tree: tree["files"].update({name: {"sha256": _D, "bytes": 1}})


def _tier(**values: object) -> Callable[[Tree], object]:
    return lambda tree: tree["tiers"][0].update(values)


_TENSOR: Final = ("methods", "train_m1_f1_s8_r2_b3", "inputs", 0)
_CHANGES: Final[dict[str, tuple[str, Callable[[Tree], object]]]] = {
    "format_1": ("made for an earlier reader", _set(1, "package_format")),
    "format_2": ("made for an earlier reader", _set(2, "package_format")),
    "format_3": ("made for an earlier reader", _set(3, "package_format")),
    "format_4": ("made for an earlier reader", _set(4, "package_format")),
    "format_6": ("made for another reader", _set(6, "package_format")),
    "format_text": ("a format that is no number", _set("5", "package_format")),
    "format_true": ("a boolean is no number", _set(True, "package_format")),  # noqa: FBT003 - the value itself
    "format_missing": ("no format", lambda t: t.pop("package_format")),
    "wire_version_2": ("speaks another wire version", _set(2, "wire_version")),
    "interface_0": ("no interface", _set(0, "program_interface")),
    "interface_1": ("programs that take padded texts", _set(1, "program_interface")),
    "interface_2": ("programs that train every layer", _set(2, "program_interface")),
    "interface_4": ("programs of an interface that nobody knows yet", _set(4, "program_interface")),
    "interface_text": ("wrong type", _set("3", "program_interface")),
    "interface_missing": ("says not how its tensors are named", lambda t: t.pop("program_interface")),
    "port_name": ("a tensor of another name", _ports("inputs", lambda p: p[0].update(name="experts"))),
    "port_dtype": ("token ids as float32", _ports("inputs", lambda p: _named(p, "ids").update(dtype="float32"))),
    "port_shape": ("hyper of 9 numbers", _ports("inputs", lambda p: _named(p, "hyper").update(shape=[9]))),
    "port_order": ("head before the frozen experts", _ports("inputs", lambda p: p.insert(1, p.pop(2)))),
    "port_missing": ("no labels", _ports("inputs", lambda p: p.pop())),
    "port_more": ("an input that nobody gives", _ports("inputs", lambda p: p.append(p[-1]))),
    "port_output": ("the loss by another name", _ports("outputs", lambda p: p[0].update(name="cost"))),
    "port_batch": ("a batch of 4 where the tier says 3", _ports("inputs", lambda p: p[-1].update(shape=[4, 3]))),
    "port_rows": ("3 rows where the tier says 2", _ports("inputs", lambda p: _named(p, "ids").update(shape=[3, 8]))),
    "port_readout": ("15 places of 16", _ports("inputs", lambda p: _named(p, "readout").update(shape=[3, 15]))),
    "port_top_k": ("top-k gates without what balances them", _arch(gate="topk", top_k=2)),
    "port_task": ("a classifier's program for another task", _arch(**_LANGUAGE)),
    "port_predict": (
        "an inference without features",
        _ports("outputs", lambda p: p.pop(), method="predict_s8_r1_b1"),
    ),
    "port_predict_empty": (
        "an inference that takes nothing",
        _ports("inputs", lambda p: p.clear(), method="predict_s8_r1_b1"),
    ),
    "port_predict_flat_ids": (
        "ids of an inference with one axis",
        _ports("inputs", lambda p: _named(p, "ids").update(shape=[8]), method="predict_s8_r1_b1"),
    ),
    "unknown_key": ("says more than the reader knows", _set(1, "colour")),
    "unknown_key_inside": ("the same, deeper", _arch(colour="red")),
    "missing_key": ("no labels", lambda t: t["architecture"].pop("labels")),
    "architecture_list": ("wrong type", _set([], "architecture")),
    "labels_text": ("wrong type", _arch(labels="yes")),
    "labels_number": ("wrong type", _arch(labels=["yes", 1])),
    "labels_none": ("no label", _arch(labels=[])),
    "labels_repeated": ("a label twice", _arch(labels=["yes", "yes"])),
    "label_empty": ("an empty label", _arch(labels=["yes", ""])),
    "label_newline": ("not plain text", _arch(labels=["yes\n"])),
    "label_marked": ("a mark that turns text around", _arch(labels=["yes\u200f", "no"])),
    "label_long": ("201 bytes", _arch(labels=["x" * 201])),
    "experts_fraction": ("wrong type", _arch(experts=2.0)),
    "experts_true": ("a boolean is no number", _arch(experts=True)),
    "experts_0": ("no bank", _arch(experts=0)),
    "experts_huge": ("over the limits of a bank", _arch(experts=2**62)),
    "layers_unsorted": ("layers 1, 0", _arch(adapted_layers=[1, 0])),
    "layers_none": ("nothing is adapted", _arch(adapted_layers=[])),
    "layer_not_there": ("layer 2 of 2", _arch(adapted_layers=[0, 2])),
    "scale_text": ("wrong type", _arch(logit_scale="20")),
    "scale_0": ("outside the range", _arch(logit_scale=0.0)),
    "scale_large": ("would need an exponent", _arch(logit_scale=1e7)),
    "gate": ("unknown gate", _arch(gate="hard")),
    "top_k_soft": ("k without the top-k gate", _arch(top_k=1)),
    "top_k_0": ("top-k of none", _arch(gate="topk")),
    "top_k_3": ("3 of 2 experts", _arch(gate="topk", top_k=3)),
    "task": ("unknown task", _arch(task="translation")),
    "feature": ("unknown feature", _arch(feature="cls")),
    "causal_lm_labels": ("labels without a head", _arch(**{**_LANGUAGE, "labels": ["yes"]})),
    "causal_lm_feature": ("a feature that nothing reads", _arch(**{**_LANGUAGE, "feature": "mean_pool_l2"})),
    "end_token_negative": ("less than none", _arch(**{**_LANGUAGE, "end_token": -2})),
    "end_token_text": ("wrong type", _arch(**{**_LANGUAGE, "end_token": "</s>"})),
    "end_token_classifier": ("a classifier ends no text", _arch(end_token=7)),
    "end_token_missing": ("said for every task", lambda t: t["architecture"].pop("end_token")),
    "digest_short": ("63 hex digits", _arch(bank_digest="c" * 63)),
    "digest_upper_case": ("upper case", _arch(bank_digest="C" * 64)),
    "tokenizer_other": ("not the tokenizer of the federation", _arch(tokenizer_digest=_D)),
    "held": ("unknown", _set("some", "held")),
    "quantize": ("unknown", _set("int2", "quantize")),
    "threads_0": ("no thread", _set(0, "threads")),
    "no_tier": ("nothing to train with", _set([], "tiers")),
    "tier_method": ("a method that is not there", _tier(method="train")),
    "tier_slots_0": ("trains nothing", _tier(trained_slots=0)),
    "tier_slots_negative": ("less than none", _tier(frozen_slots=-1)),
    "tier_slots_3": ("3 slots, 2 experts", _tier(frozen_slots=2)),
    "tier_batch_0": ("no batch", _tier(batch_size=0)),
    "tier_rows_0": ("no room for a text", _tier(rows=0)),
    "tier_rows_text": ("wrong type", _tier(rows="2")),
    "tier_rows_missing": ("says not how much it has room for", lambda t: t["tiers"][0].pop("rows")),
    "tier_layers_0": ("trains no layer", _tier(layers=0)),
    "tier_layers_3": ("3 of 2 layers", _tier(layers=3)),
    "tier_layers_text": ("wrong type", _tier(layers="2")),
    "tier_layers_missing": ("says not how deep it trains", lambda t: t["tiers"][0].pop("layers")),
    "tier_twice": ("two tiers of one method", lambda t: t["tiers"].append(t["tiers"][0])),
    "tier_recompute": ("unknown", _tier(recompute="much")),
    "tier_micro_batches_0": ("no part of a batch", _tier(micro_batches=0)),
    "tier_micro_batches_odd": ("two rows in 3 parts", _tier(micro_batches=3, apply_method="predict_s8_r1_b1")),
    "tier_no_apply": ("two parts, and nothing that applies their sum", _tier(micro_batches=2)),
    "tier_apply_alone": ("an optimizer beside the one inside", _tier(apply_method="predict_s8_r1_b1")),
    "tier_apply_unknown": ("a method that is not there", _tier(micro_batches=2, apply_method="apply")),
    "tier_trunk_unknown": ("a trunk that is not there", _tier(trunk_methods=["trunk_s8_r5"])),
    "tier_trunk_text": ("wrong type", _tier(trunk_methods="trunk_s8_r5")),
    "tier_trunk_order": ("the one for long texts first", _reversed_trunks),
    "tier_trunk_short": ("none for the longest texts", _short_trunk),
    "tier_timing": ("wrong type", _tier(timing={"median_ms": "fast"})),
    "tier_proof": ("wrong type", _tier(proof={"loss_error": "small"})),
    "predict_methods_none": ("nothing to predict with", _set([], "predict_methods")),
    "predict_methods_text": ("wrong type", _set("predict_s8_r1_b1", "predict_methods")),
    "predict_methods_order": ("the one with fewest places first", lambda t: t["predict_methods"].reverse()),
    "predict_methods_twice": ("one name twice", _set(["predict_s8_r1_b1", "predict_s8_r1_b1"], "predict_methods")),
    "predict_methods_other": ("a method that is not there", _set(["predict_s8_r1_b1", "predict"], "predict_methods")),
    "dtype": ("unknown", _set("float16", *_TENSOR, "dtype")),
    "shape_negative": ("less than none", _set([-1], *_TENSOR, "shape")),
    "shape_huge": ("over 2 GiB", _set([2**40], *_TENSOR, "shape")),
    "shape_deep": ("nine axes", _set([1] * 9, *_TENSOR, "shape")),
    "file_up": ("leads out of the folder", _file("../secret")),
    "file_up_inside": ("leads out of the folder", _file("gateway/../../secret")),
    "file_absolute": ("leads out of the folder", _file("/etc/passwd")),
    "file_backslash": ("leads out of a folder elsewhere", _file("..\\secret")),
    "file_drive": ("an absolute path elsewhere", _file("C:/secret")),
    "file_dot": ("the folder itself", _file(".")),
    "file_hidden": ("a hidden file", _file(".bashrc")),
    "file_empty": ("no name", _file("")),
    "file_double_slash": ("two names of one file", _file("gateway//model")),
    "file_alike": ("a name that looks like another's", lambda t: (_file("K")(t), _file("\u212a")(t))),
    "file_nul": ("ends the name early in C", _file("a\0b")),
    "file_manifest": ("cannot hold its own digest", _file("manifest.json")),
    "file_long": ("201 bytes", _file("x" * 201)),
    "file_program_missing": ("nothing to run", lambda t: t["files"].pop("program.pte")),
    "file_digest": ("no digest", _set("abc", "files", "program.pte", "sha256")),
    "file_size": ("less than none", _set(-1, "files", "program.pte", "bytes")),
    "nested": ("17 deep", _set(json.loads("[" * 16 + "]" * 16), "profile", "deep")),
}


def _texts() -> dict[str, tuple[str, bytes]]:
    good = _bytes(_GOOD)
    return {
        "empty": ("no bytes", b""),
        "list": ("a list", b"[]"),
        "null": ("nothing", b"null"),
        "truncated": ("half a file", good[: len(good) // 2]),
        "trailing": ("more after the end", good + b"{}"),
        "comment": ("JSON has no comments", b"// made by hand\n" + good),
        "byte_order_mark": ("a byte order mark", b"\xef\xbb\xbf" + good),
        "utf16": ("another encoding", good.decode().encode("utf-16")),
        "not_utf8": ("a byte that is no UTF-8", good.replace(b"pixel8", b"pixel\xff")),
        "nan": ("JSON has no NaN", good.replace(b"133.5", b"NaN", 1)),
        "infinity": ("JSON has no infinity", good.replace(b"133.5", b"-Infinity", 1)),
        "overflow": ("more than a double", good.replace(b"133.5", b"1e999", 1)),
        "huge_integer": ("more than 64 bits", good.replace(b'"bytes_up": 1000', b'"bytes_up": 9223372036854775808', 1)),
        "endless_integer": ("5,000 digits", good.replace(b'"cores": 8', b'"cores": ' + b"9" * 5000)),
        "duplicate_key": (
            "two readers would take different ones",
            good.replace(b'"held": "all"', b'"held": "all", "held": "all"'),
        ),
        "lone_surrogate": ("no character", good.replace(b"pixel8", _LONE.encode())),
        "lone_surrogate_key": ("no character", good.replace(b'"cores"', b'"' + _LONE.encode() + b'"')),
        "deep": ("nesting to overflow a stack", b"[" * 100_000),
    }
