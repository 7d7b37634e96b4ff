"""A federation that the product really ran, made once more by the simulator: the same devices, texts, seeds and plans.

Axes: K devices, n texts, S places, B texts of a step, C labels.

What the product did stands in its gateway's ledger: every plan with its blocks, steps, rates and seed, and every
version. The replay begins with the version that has the head of class means, trains each plan on the texts that its
seed says, and merges by the same rules. What differs is how a step is computed: there an ExecuTorch program with int8
linears, each device a process of its own; here plain torch in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.demo import split
from benchmarks.federation import corpus
from benchmarks.federation.arms.base import Form, Learned, State, Work
from benchmarks.federation.arms.merging import Merging, contribution, merged_bank
from benchmarks.federation.backbone import Encoder
from benchmarks.federation.codec import CODECS, Downlink, Uplink
from benchmarks.federation.place import accuracy
from benchmarks.federation.reading import Frozen, Rows, Texts
from benchmarks.federation.stacked import Job, train
from broker_server.state.store import Store
from edge_runtime.data.examples import EntryOrder
from edge_runtime.data.packed import Packed, tier_capacity
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, BankShape
from edge_runtime.wire.manifest import Package, Tier
from edge_runtime.wire.messages import decode, ids
from edge_runtime.wire.tensors import Array
from export.source.backbone import find

FORM: Final = Form("experts", "soft")
BANK: Final = ("experts", "shared", "head")


@dataclass(frozen=True)
class Share:
    """What one device trained with. Args: rows: of ``Texts``, in the order of its file; tier: of its package."""

    rows: Rows
    tier: Tier


@dataclass(frozen=True, eq=False)
class Real:
    """A run of the product.

    Args:
        shape: of the bank.
        start: the bank with the head of class means, from which the first round trained.
        plans: of each round, by device.
        frozen: backbone and texts of all devices and of the held-out file.
        shares: by device.
        held_out: rows.
        targets: [n] labels of all texts.
    """

    shape: BankShape
    start: Bank
    plans: Sequence[Mapping[str, pb.Plan]]
    frozen: Frozen
    shares: Mapping[str, Share]
    held_out: Rows
    targets: Rows


def read(folder: Path, state: Path, packages: Mapping[str, Package]) -> Real:
    """Read what a run left.

    Args:
        folder: with ``held-out.csv`` and a file for each device.
        state: of the gateway.
        packages: each device's.

    Raises:
        StateError: when versions or plans are gone.
    """
    store = Store.open_read_only(state)
    try:
        versions = store.kept()
        rounds = max(row.round for row in versions)
        _, start = store.lineage.load(next(row.version for row in reversed(versions) if row.reason == "head"))
        plans = [
            {device: decode(pb.Plan, payload) for device, payload in store.ledger.plans(number).items()}
            for number in range(1, rounds + 1)
        ]
    finally:
        store.close()
    return _with_texts(folder, start, plans, packages)


def _with_texts(
    folder: Path, start: Bank, plans: Sequence[Mapping[str, pb.Plan]], packages: Mapping[str, Package]
) -> Real:
    names = sorted(packages)
    manifest = packages[names[0]].manifest
    parts = [split.read(folder / f"{name}.csv") for name in names] + [split.read(folder / "held-out.csv")]
    length = max(package.manifest.tiers[0].seq_len for package in packages.values())
    tokens = Tokenizer(packages[names[0]].folder / "tokenizer.json").encode(
        [one.text for part in parts for one in part], length
    )
    number = {label: place for place, label in enumerate(manifest.architecture.labels)}
    targets = np.array([number[one.label] for part in parts for one in part], np.int64)
    words = np.unique(np.concatenate([[0], *tokens]).astype(np.int64))
    table = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
    for row, one in zip(table, tokens, strict=True):
        row[: len(one)] = np.searchsorted(words, one)
    backbone = corpus.weights(find(None), words, table.shape[1])
    cpu = torch.device("cpu")
    encoder = Encoder.of(backbone.weights, backbone.heads, backbone.eps, cpu)
    lengths = np.array([len(one) for one in tokens])
    frozen = Frozen(encoder, Texts.of(table, lengths, targets, cpu), torch.tensor(start.mean))
    ends = np.cumsum([len(part) for part in parts])
    rows = [np.arange(end - len(part), end) for part, end in zip(parts, ends, strict=True)]
    shares = {name: Share(own, packages[name].manifest.tiers[0]) for name, own in zip(names, rows[:-1], strict=True)}
    return Real(start.shape, start, plans, frozen, shares, rows[-1], targets)


@dataclass(frozen=True, eq=False)
class Replayed:
    """What a replay gave. Args: curve: accuracy after each round; probabilities: [n, C] of the held-out, at the end."""

    curve: tuple[float, ...]
    probabilities: Array


def replay(run: Real, rules: Merging, *, codec: str, told: Callable[[int, float], None]) -> Replayed:
    """Make the rounds of a run once more, and measure each version on the held-out texts.

    Args:
        run: of the product.
        rules: that it merged by.
        codec: of its deltas and versions.
        told: is given round and accuracy.
    """
    bank = run.start
    state: State = {"experts": bank.experts, "shared": bank.shared, "head": bank.head}
    up, down = Uplink(CODECS[codec]), Downlink(CODECS[codec], BANK)
    curve: list[float] = []
    for plans in run.plans:
        names = sorted(plans)
        jobs = [
            Job(_work(place, plans[name], run, state), _draws(plans[name], run, name))
            for place, name in enumerate(names)
        ]
        learned = []
        for job, outcome in zip(jobs, train(run.frozen, jobs), strict=True):
            different = np.unique(job.draws)
            counts = np.bincount(run.targets[different], minlength=run.shape.labels).astype(np.float32)
            values = {**job.work.values, **up.send(job.work, outcome.values)}
            learned.append(Learned(job.work.client, job.work, values, len(different), counts, job.work.steps))
        base = Bank(run.shape, state["experts"], state["shared"], state["head"], bank.mean)
        merged, _ = merged_bank(base, [contribution(one, run.shape, rules) for one in learned], {}, rules)
        after = {"experts": merged.experts, "shared": merged.shared, "head": merged.head}
        state = down.publish(state, after)
        logits = run.frozen.logits(FORM, [state], run.held_out)
        probabilities = torch.softmax(logits[0], -1).numpy()
        curve.append(float(accuracy(logits, run.targets[run.held_out]).mean()))
        told(len(curve), curve[-1])
    return Replayed(tuple(curve), probabilities)


def _work(client: int, plan: pb.Plan, run: Real, state: State) -> Work:
    shape, blocks = run.shape, ids(plan.train)
    experts = np.zeros((len(shape.layers), shape.experts, 1), np.float32)
    shared = np.zeros((len(shape.layers), 1), np.float32)
    for block in blocks:
        if block.layer in shape.layers:
            row = shape.layers.index(block.layer)
            if block.shared:
                shared[row] = 1
            else:
                experts[row, block.index] = 1
    rates = {"experts": plan.learning_rate}
    masks: dict[str, Array] = {"experts": experts}
    if shape.shared_rank:
        rates["shared"], masks["shared"] = plan.shared_learning_rate, shared
    if HEAD in blocks:
        rates["head"], masks["head"] = plan.head_learning_rate, np.ones(1, np.float32)
    lowest = shape.layers[len(shape.layers) - shape.depth(blocks)]
    return Work(client, FORM, state, masks, rates, plan.steps, lowest, weight_decay=plan.weight_decay)


def _draws(plan: pb.Plan, run: Real, name: str) -> Rows:
    """Return the rows of a plan's steps, [steps, B], as the device takes them; one of fewer repeats its first."""
    share, counts = run.shares[name], run.frozen.texts.counts
    order, capacity = EntryOrder(plan.seed, len(share.rows)), tier_capacity(share.tier)
    steps, taken = [], 0
    for _ in range(plan.steps):
        entries = [int(share.rows[order.row(taken + entry)]) for entry in range(capacity.batch)]
        held = len(Packed.next([int(counts[row]) for row in entries], capacity))
        steps.append(np.resize(entries[:held], capacity.batch))
        taken += held
    return np.stack(steps)
