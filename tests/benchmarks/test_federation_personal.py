"""Ways to be personal: the prior is the product's, gates train routers alone, and rates are chosen on validation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tiny_federation import LABELS, LAYERS, WIDTH, tiny_file

from benchmarks.federation import personal
from benchmarks.federation.arms.base import Form
from benchmarks.federation.experiment import Tuning
from benchmarks.federation.personal import Federation
from benchmarks.federation.place import Workplace
from benchmarks.federation.reading import Frozen
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.label_prior import label_weights, with_prior

BANK = BankShape(tuple(range(LAYERS)), 2, 3, 2, WIDTH, LABELS)
TUNING = Tuning(steps=4, rates=(1e-5, 2e-2))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread: on matrices this small more of them wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """Return two clients of a tiny encoder, each with half of the labels, and a bank that does something."""
    random = np.random.default_rng(1)
    workplace = Workplace(tiny_file(tmp_path_factory.mktemp("tiny")), torch.device("cpu"), torch.float32)
    texts, targets = workplace.load("trec").texts, workplace.load("trec").own.targets
    shapes = {"experts": (LAYERS, 2, BANK.expert_size), "shared": (LAYERS, BANK.shared_size), "head": (BANK.head_size,)}
    values = {name: (0.2 * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    train = np.arange(40)
    shares = [train[targets[:40] < 2], train[targets[:40] >= 2]]
    frozen = Frozen(workplace.encoder, texts, torch.zeros(WIDTH))
    return Federation(frozen, targets, shares, np.arange(40, 60), np.arange(60, 80), Form("experts", "soft"), values, 4)


def test_the_prior_is_the_products(held: Federation) -> None:
    """For every client, strength and text: right where the product's rule makes the true label the likeliest."""
    logits = held.frozen.logits(held.form, [held.values], held.test)[0]
    probabilities = logits.softmax(1).numpy()
    right = personal.predictions(held, [held.values], held.test)
    for strength in (0.0, 0.5, 1.0):
        for client, counts in enumerate(held.counts):
            weights = label_weights(counts, strength)
            labels = [int(with_prior(row, weights).argmax()) for row in probabilities]
            assert right(strength)[client].tolist() == (np.array(labels) == held.targets[held.test]).tolist()


def test_a_tuned_gate_moves_routers_alone_and_clients_apart(held: Federation) -> None:
    """Of an expert's block the router row moves; two clients with other labels move otherwise."""
    masks = personal.trainable(held)["gate"]
    models = personal.tuned_models(held, masks, 1e-2, TUNING)
    moved = [model["experts"] != held.values["experts"] for model in models]
    router = np.zeros(BANK.expert_size, bool)
    router[BANK.rank * WIDTH : (BANK.rank + 1) * WIDTH] = True
    assert all(each[..., router].mean() > 0.9 and not each[..., ~router].any() for each in moved)
    assert (models[0]["experts"] != models[1]["experts"]).any()
    assert all(np.array_equal(model["head"], held.values["head"]) for model in models)


def test_all_ways_are_measured_for_every_client(held: Federation) -> None:
    """Without training three ways, and two for each thing that is trained; the rate is one of those on offer."""
    result = personal.measure(held, TUNING)
    trained = ["gate", "gate, prior", "fine-tuning", "fine-tuning, prior"]
    assert list(result.own) == ["merged model", "half prior", "prior", *trained]
    assert all(len(own) == 2 for own in result.own.values())
    assert set(result.rates) == {"gate", "fine-tuning"}
    assert set(result.rates.values()) <= set(TUNING.rates)
    right = personal.predictions(held, [held.values], held.test)(0.0)
    assert result.everybody["merged model"] == pytest.approx(right.mean())
    own = [right[0][held.targets[held.test] < 2].mean(), right[0][held.targets[held.test] >= 2].mean()]
    assert result.own["merged model"] == pytest.approx(own)


def test_a_model_without_gates_has_none_to_tune(held: Federation) -> None:
    """One adapter a layer: fine-tuning is the only way that trains."""
    alone = Federation(
        held.frozen, held.targets, held.shares, held.validation, held.test, Form("experts"),
        {**held.values, "experts": held.values["experts"][:, :0]},
    )  # fmt: skip
    assert list(personal.trainable(alone)) == ["fine-tuning"]
    assert set(personal.trainable(alone)["fine-tuning"]) == {"shared"}


def test_draws_go_through_all_texts_before_any_comes_again() -> None:
    """Twelve draws of six texts: each twice."""
    rows = personal.draws(np.arange(10, 16), (3, 4), (0, 0))
    assert sorted(rows.ravel().tolist()) == sorted([*range(10, 16)] * 2)


def test_where_the_router_row_stands() -> None:
    """With d = 3 and r = 1 a block is two rows in, one bias, two rows out: the router is the second row."""
    assert personal.router_mask(13, 3).ravel().tolist() == [0] * 3 + [1] * 3 + [0] * 7
