"""Many clients trained at once: values after several steps are those of the product's step, client by client."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_backbone import save_tiny

from benchmarks.federation.arms.base import Form, Work
from benchmarks.federation.backbone import Encoder
from benchmarks.federation.reading import Frozen, Texts
from benchmarks.federation.stacked import Job, Outcome, train
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, input_ports, output_ports
from export.model.graft import Graft
from export.model.step import build_step
from export.proving.packed_texts import Place, text_inputs
from export.source import backbone

LAYERS, WIDTH, LABELS, EXPERTS = 3, 32, 5, 3
BANK = BankShape((0, 1, 2), EXPERTS, 4, 3, WIDTH, LABELS)
BATCH, PLACES, TEXTS = 4, 8, 24
RATES = {"experts": 4e-3, "shared": 3e-3, "head": 1e-3}


@dataclass(frozen=True)
class Client:
    """Args: own: experts that it trains in each layer; low: its lowest trained layer; steps."""

    own: tuple[int, ...]
    low: int
    steps: int


CLIENTS = (Client((0, 1), 0, 3), Client((1, 2), 0, 4), Client((0, 2), 1, 4), Client((0, 1), 1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of three layers, width 32."""
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def frozen(folder: Path) -> Frozen:
    """Return the tiny encoder, random texts of one to eight tokens, and a mean."""
    torch.set_num_threads(1)
    random = np.random.default_rng(1)
    info = backbone.find(str(folder))
    weights = {name: tensor.numpy() for name, tensor in backbone.load(info).state_dict().items()}
    encoder = Encoder.of(weights, info.sizes.heads, float(info.config["layer_norm_eps"]), torch.device("cpu"))
    ids, lengths = random.integers(5, 95, (TEXTS, PLACES)), random.integers(1, PLACES + 1, TEXTS)
    texts = Texts.of(ids, lengths, random.integers(0, LABELS, TEXTS), torch.device("cpu"))
    mean = torch.tensor(random.normal(0, 0.01, WIDTH).astype(np.float32))
    return Frozen(encoder, texts, mean)


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """Return a bank whose up-projections are not zero, or half of the gradients would be."""
    random = np.random.default_rng(2)
    shapes = {
        "experts": (LAYERS, EXPERTS, BANK.expert_size),
        "shared": (LAYERS, BANK.shared_size),
        "head": (BANK.head_size,),
    }
    return {name: (0.2 * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def _masks(client: Client) -> dict[str, Any]:
    depth = (np.arange(LAYERS) >= client.low).astype(np.float32)
    own = np.isin(np.arange(EXPERTS), client.own).astype(np.float32)
    experts = depth[:, None, None] * own[None, :, None]
    return {"experts": experts, "shared": depth[:, None], "head": np.ones(1, np.float32)}


def _draws(client: int) -> Any:
    return np.random.default_rng([3, client]).integers(0, TEXTS, (CLIENTS[client].steps, BATCH))


def _trained(frozen: Frozen, values: dict[str, Any], form: Form, topk: dict[str, Any] | None = None) -> list[Outcome]:
    start = values | (topk or {})
    works = [Work(i, form, start, _masks(client), RATES, client.steps, client.low) for i, client in enumerate(CLIENTS)]
    return train(frozen, [Job(work, _draws(work.client)) for work in works])


def _product(
    folder: Path, frozen: Frozen, values: dict[str, Any], client: int, extra: dict[str, Any]
) -> dict[str, Any]:
    """Return the client's values after its steps, by the step that export lowers; who trains half holds still below."""
    told = CLIENTS[client]
    others = [index for index in range(EXPERTS) if index not in told.own]
    held = [*told.own, *others]
    model = ModelShape(BANK, 2 if extra else None)
    method = MethodShape(MethodKind.TRAIN, len(told.own), len(others), PLACES, BATCH, BATCH)
    info = backbone.find(str(folder))
    step = build_step(Graft(backbone.load(info), info.family, BANK.layers, quantize_embedding=False), model, method)
    names = [port.name for port in input_ports(model, method)]
    state = {
        "trained": torch.tensor(values["experts"][:, told.own]),
        "frozen": torch.tensor(values["experts"][:, others]),
        "shared": torch.tensor(values["shared"]),
        "head": torch.tensor(values["head"]),
        "mean": frozen.mean,
        "gate_scale": torch.ones(LAYERS, EXPERTS),
        "update_mask": (torch.arange(LAYERS) >= told.low).float()[:, None].expand(-1, len(told.own)).clone(),
    }
    for name in ("trained", "shared", "head"):
        state |= {moment: torch.zeros_like(state[name]) for moment in ports.moments(name)}
    if extra:
        state["balance_target"] = torch.tensor(extra["balance_target"][:, held])
        state["balance_weight"] = torch.tensor(extra["balance_weight"])
    for number, rows in enumerate(_draws(client), 1):
        state |= _text_inputs(frozen.texts, rows, method)
        rates = {"head_learning_rate": RATES["head"], "shared_learning_rate": RATES["shared"]}
        state["hyper"] = torch.tensor(ports.hyper_values(number, RATES["experts"], **rates))
        results = step(*(state[name] for name in names))
        after = dict(zip([port.name for port in output_ports(model, method)], results, strict=True))
        state |= {name: after[name] for name in ports.LEARNED}
        state["shared"][: told.low] = torch.tensor(values["shared"][: told.low])
    experts = values["experts"].copy()
    experts[:, told.own] = state["trained"].numpy()
    return {"experts": experts, "shared": state["shared"].numpy(), "head": state["head"].numpy(), "loss": after["loss"]}


def _text_inputs(texts: Texts, rows: Any, method: MethodShape) -> dict[str, Any]:
    lengths = texts.counts[rows]
    told = text_inputs([Place(slot, slot, 0, int(length)) for slot, length in enumerate(lengths)], method)
    labels = torch.nn.functional.one_hot(texts.targets[torch.tensor(rows)], LABELS).float()
    return {**told, "ids": texts.ids[torch.tensor(rows)].long(), "labels": labels}


def _same(frozen: Frozen, folder: Path, values: dict[str, Any], form: Form, extra: dict[str, Any]) -> None:
    outcomes = _trained(frozen, values, form, extra)
    for client, outcome in enumerate(outcomes):
        expected = _product(folder, frozen, values, client, extra)
        for name, value in outcome.values.items():
            # Adam divides by the root of a square, so where a gradient is next to nothing a rounding may turn its sign.
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=2e-4, err_msg=f"{client} {name}")
            assert np.median(np.abs(value - expected[name])) < 1e-6
        assert outcome.losses[-1] == pytest.approx(float(expected["loss"][0]), rel=1e-4)
        assert len(outcome.losses) == CLIENTS[client].steps


def test_soft_gates_learn_as_the_products_step(frozen: Frozen, folder: Path, values: dict[str, Any]) -> None:
    """Four clients with other experts, depths and numbers of steps end where the product's step takes each of them."""
    _same(frozen, folder, values, Form("experts", "soft"), {})


def test_topk_gates_with_the_products_loss_learn_as_its_step(
    frozen: Frozen, folder: Path, values: dict[str, Any]
) -> None:
    """The same for two experts a token, with targets and weights of the balance loss."""
    random = np.random.default_rng(4)
    targets = random.random((LAYERS, EXPERTS)).astype(np.float32)
    extra = {
        "balance_target": targets / targets.sum(1, keepdims=True),
        "balance_weight": random.random(LAYERS).astype(np.float32) * 0.1,
    }
    _same(frozen, folder, values, Form("experts", "topk", top_k=2, balance="kl"), extra)


def test_what_a_mask_holds_keeps_its_bits(frozen: Frozen, values: dict[str, Any]) -> None:
    """Experts of others and layers below the lowest are bit-identical after training; the own ones moved."""
    for client, outcome in zip(CLIENTS, _trained(frozen, values, Form("experts")), strict=True):
        for layer in range(LAYERS):
            for index in range(EXPERTS):
                same = outcome.values["experts"][layer, index].tobytes() == values["experts"][layer, index].tobytes()
                assert same == (layer < client.low or index not in client.own)


def test_prefixes_looked_up_are_those_computed_in_the_step(
    frozen: Frozen, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack whose prefixes would not fit computes them in each step, with the same result."""
    cached = _trained(frozen, values, Form("experts", "soft"))
    monkeypatch.setattr("benchmarks.federation.stacked.PREFIX_BYTES", 0)
    for one, other in zip(cached, _trained(frozen, values, Form("experts", "soft")), strict=True):
        for name, value in one.values.items():
            np.testing.assert_allclose(value, other.values[name], rtol=0, atol=2e-4)
