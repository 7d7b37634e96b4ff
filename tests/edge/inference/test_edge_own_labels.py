"""A device's own label counts: what predictions become with them, how they are kept, and that none of it is sent."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest
import toy

from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.inference.own_labels import RECORD, OwnLabels, recalled, remember
from edge_runtime.inference.predictor import Predictor
from edge_runtime.store import Record, Store, pack
from edge_runtime.training.assessment import score
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.label_prior import label_weights, with_prior
from edge_runtime.wire.tensors import Array


def shares(*values: float) -> Array:
    """Return float32 probabilities or counts."""
    return np.array(values, np.float32)


def test_label_counts_move_probabilities_as_bayes_rule_does() -> None:
    """Counts 0, 3, 8 weigh 1, 4, 9 after smoothing, their roots at half strength; off, and without texts, nothing."""
    model, counts = shares(0.5, 0.25, 0.25), shares(0, 3, 8)
    full = with_prior(model, label_weights(counts, 1.0))
    np.testing.assert_allclose(full, [0.5 / 3.75, 1 / 3.75, 2.25 / 3.75], rtol=1e-6)
    half = with_prior(model, label_weights(counts, 0.5))
    np.testing.assert_allclose(half, [0.5 / 1.75, 0.5 / 1.75, 0.75 / 1.75], rtol=1e-6)
    for texts, strength in ((counts, 0.0), (shares(0, 0, 0), 1.0)):
        assert with_prior(model, label_weights(texts, strength)).tobytes() == model.tobytes()
    with pytest.raises(DataError, match=r"strength 0\.3, expected one of 0\.0, 0\.5, 1\.0"):
        label_weights(counts, 0.3)


def test_a_predictor_with_a_prior_moves_probabilities_and_keeps_features(tmp_path: Path) -> None:
    """One text and many, alike; the features are the model's."""
    package = toy.write_package(tmp_path / "package")
    model = (toy.ToyProgram(), package.manifest, Tokenizer(package.path("tokenizer.json")), toy.initial_bank())
    weights = OwnLabels(shares(0, 3, 8), 1.0).weights
    plain, moved = Predictor(*model), Predictor(*model, prior=weights)
    (before, feature), (after, kept) = plain("wake me"), moved("wake me")
    wanted = before * (1, 4, 9)
    np.testing.assert_allclose(after, wanted / wanted.sum(), rtol=1e-6)
    assert kept.tobytes() == feature.tobytes()
    assert next(moved.many(["wake me"]))[0] == pytest.approx(after, rel=1e-5)


def test_a_bank_is_scored_with_label_priors_beside_itself(tmp_path: Path) -> None:
    """The model says the same of all texts but for what a prior adds: with counts of one label, that label alone."""
    package = toy.write_package(tmp_path / "package", toy.fresh_bank())
    source = open_source(toy.write_data(tmp_path / "data.csv", 9), toy.LABELS)
    predictor = Predictor(
        toy.ToyProgram(), package.manifest, Tokenizer(package.path("tokenizer.json")), toy.fresh_bank()
    )
    rows = [0, 1, 4, 7]  # alarm, then three times music
    told = score(predictor, source, rows, lambda _: None, shares(0, 5, 0))
    assert told.accuracy == 0.25  # all labels are equally likely, the first is named
    assert told.accuracy_with_prior == {0.5: 0.75, 1.0: 0.75}
    assert score(predictor, source, rows, lambda _: None).accuracy_with_prior == {}


def test_counts_stand_in_the_state_directory_for_their_owner_alone(tmp_path: Path) -> None:
    """Written, read again; none for other labels, from a damaged file, or where nothing was kept."""
    source = open_source(toy.write_data(tmp_path / "data.csv", 7), toy.LABELS)
    with Store(tmp_path / "state") as store:
        assert recalled(store, 3) is None
        remember(store, OwnLabels.of(source, 3, 0.5))
        own = recalled(store, 3)
        assert own is not None
        assert (own.counts.tolist(), own.strength) == ([3, 2, 2], 0.5)
        np.testing.assert_allclose(own.weights, [2.0, 3**0.5, 3**0.5])
        path = store.folder / RECORD
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert recalled(store, 4) is None
        store.write(RECORD, Record({"strength": 1.0}, pack({"others": own.counts})))
        assert recalled(store, 3) is None
        path.write_bytes(path.read_bytes()[:-1])
        assert recalled(store, 3) is None
