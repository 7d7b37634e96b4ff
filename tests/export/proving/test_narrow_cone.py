"""A small encoder whose features lie in a narrow cone, as E5's do: what the head starts from decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_backbone import save_tiny
from torch import Tensor

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.experts import HEAD, BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.model.graft import Graft
from export.model.step import build_step
from export.packaging.bank_init import initial_bank
from export.proving.packed_texts import Place, text_inputs
from export.source import backbone

LABELS, LENGTH, BATCH, STEPS = 4, 8, 16, 60
SHAPE = BankShape((0, 1, 2), 2, 4, 4, 32, LABELS)
MODEL = ModelShape(SHAPE)
TRAIN = MethodShape(MethodKind.TRAIN, 2, 0, LENGTH, BATCH, BATCH)
Function = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture(scope="module")
def graft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graft]:
    """Give a BERT whose last norm adds a large vector to small differences, on one thread: its matrices are tiny."""
    folder = save_tiny(tmp_path_factory.mktemp("narrow"))
    weights = load_file(folder / "model.safetensors")
    norm = "encoder.layer.2.output.LayerNorm"
    weights[f"{norm}.weight"] *= 0.05
    weights[f"{norm}.bias"] = 3 * torch.randn(SHAPE.width, generator=torch.Generator().manual_seed(1))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    info = backbone.find(str(folder))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Graft(backbone.load(info), info.family, SHAPE.layers, quantize_embedding=False)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def texts() -> tuple[Tensor, Tensor]:
    """Return ids [128, 8] and labels [128]: six of a text's eight words are its label's, two anybody's."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(128) % LABELS
    own = 5 + 20 * labels[:, None] + torch.randint(20, (128, 6), generator=generator)
    return torch.cat([own, torch.randint(5, 100, (128, 2), generator=generator)], 1), labels


def method(graft: Graft, shape: MethodShape) -> Function:
    """Return a method of the program by names."""
    step = build_step(graft, MODEL, shape)
    results = [port.name for port in output_ports(MODEL, shape)]
    names = [port.name for port in input_ports(MODEL, shape)]

    def run(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(zip(results, step(*(inputs[name] for name in names)), strict=True))

    return run


def read(graft: Graft, bank: Bank, ids: Tensor) -> dict[str, Tensor]:
    """Return probabilities [N, C] and features [N, d] of all texts."""
    inputs = {name: torch.from_numpy(getattr(bank, name)) for name in ("experts", "shared", "head", "mean")}
    shape = MethodShape(MethodKind.PREDICT, 2, 0, LENGTH, len(ids), len(ids))
    inputs |= {"gate_scale": torch.ones(3, 2), "ids": ids, **full_rows(shape)}
    return method(graft, shape)(inputs)


def full_rows(shape: MethodShape) -> dict[str, Tensor]:
    """Return what says that every row is one text."""
    return text_inputs([Place(row, row, 0, LENGTH) for row in range(shape.rows)], shape)


def trained(graft: Graft, bank: Bank, ids: Tensor, labels: Tensor) -> Bank:
    """Train experts and shared experts as `edge_runtime train` does by default: rate 4e-3, the head as it is."""
    run = method(graft, TRAIN)
    state = {"trained": torch.from_numpy(bank.experts), "shared": torch.from_numpy(bank.shared)}
    state |= {"head": torch.from_numpy(bank.head), "mean": torch.from_numpy(bank.mean)}
    state |= {f"{name}_m{n}": torch.zeros_like(state[name]) for name in ("trained", "shared", "head") for n in (1, 2)}
    state |= {"gate_scale": torch.ones(3, 2), "update_mask": torch.ones(3, 2), **full_rows(TRAIN)}
    for number in range(1, STEPS + 1):
        rows = torch.arange(number * BATCH, (number + 1) * BATCH) % len(ids)
        rate = 4e-3 * (1 - 0.9 * (number - 1) / STEPS)
        state["hyper"] = torch.tensor([rate, 0, 0, 1 / (1 - 0.9**number), 1 / (1 - 0.999**number), rate, 0, 0])
        state |= {"ids": ids[rows], "labels": torch.nn.functional.one_hot(labels[rows], LABELS).float()}
        outputs = run(state)
        state |= {name: outputs[name] for name in outputs if name in state}
    return Bank(SHAPE, state["trained"].numpy(), state["shared"].numpy(), bank.head, bank.mean)


def right(graft: Graft, bank: Bank, ids: Tensor, labels: Tensor) -> float:
    """Return the share of texts that get their label."""
    return float((read(graft, bank, ids)["probabilities"].argmax(1) == labels).float().mean())


def test_class_means_learn_where_a_random_head_does_not(graft: Graft, texts: tuple[Tensor, Tensor]) -> None:
    """From a random head (0.02) training never leaves one label; from class means it starts above chance and learns."""
    ids, labels = texts
    start = initial_bank(SHAPE)
    features = read(graft, Bank.zeros(SHAPE), ids)["features"]
    assert float((features @ features.T).min()) > 0.999  # the cosine of any two
    drawn = np.random.default_rng(3).standard_normal(LABELS * SHAPE.width) * 0.02
    random = start.replace({HEAD: np.concatenate([drawn, np.zeros(LABELS)]).astype(np.float32)})
    lost = read(graft, trained(graft, random, ids, labels), ids)["probabilities"].argmax(1)
    sums = np.stack([features[labels == label].sum(0).numpy() for label in range(LABELS)])
    means = start.replace(class_mean_head(ClassSums(np.full(LABELS, 32.0), sums), 20.0))
    before, after = right(graft, means, ids, labels), right(graft, trained(graft, means, ids, labels), ids, labels)
    assert len(set(lost.tolist())) == 1
    assert before > 0.5
    assert after > before + 0.1
