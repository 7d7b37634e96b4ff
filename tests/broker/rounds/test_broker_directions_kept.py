"""Trust by direction outlives restarts, repairs, rollbacks and versions that are not served."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway
from turned_updates import HONEST, LIAR, as_json, opened, play, trust

from broker_server.cli import run
from broker_server.evaluation.onnx_model import Figures
from broker_server.evaluation.worker import Evaluated
from broker_server.gate_config import Gate
from broker_server.journal import JOURNAL
from broker_server.rounds.folding import Folding
from broker_server.server_config import RobustMerging
from broker_server.state.ledger import NAME
from broker_server.state.moments import notes_of
from broker_server.state.requests import mark
from broker_server.state.rows import TrustRow
from broker_server.state.schema import SCHEMA
from broker_server.state.settings_table import ROLLBACK


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path_factory.mktemp("tiny") / "package")


def verified(state: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Verify a state by command; return its exit code and what it says."""
    capsys.readouterr()
    code = run(["verify", "--state", str(state)])
    return code, capsys.readouterr().out


def test_a_gateway_that_was_restarted_between_rounds_makes_the_same_versions(tmp_path: Path, package: Any) -> None:
    """Trust outlives it, to the last bit."""
    through = opened(tmp_path / "through", package)
    for _ in range(3):
        play(through)
        gateway = opened(tmp_path / "often", package)
        play(gateway)
        row, theirs = gateway.conductor.row, through.conductor.row
        assert (row.digest, row.server) == (theirs.digest, theirs.server)
        assert trust(gateway) == trust(through)
        gateway.close()
    through.close()


def test_a_version_is_made_again_without_a_cosine(
    tmp_path: Path, package: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte, by verify and by a start that lacks a block, whatever settings say since."""
    gateway = opened(tmp_path / "state", package)
    play(gateway)
    play(gateway)
    row = gateway.conductor.row
    blocks = gateway.store.lineage.load()[1].digests()
    before = gateway.store.lineage.load(1)[1].digests()
    changed = next(digest for block, digest in blocks.items() if digest != before[block])
    gateway.close()

    def refuse(*_: object) -> dict[str, float]:
        pytest.fail("cosines were computed")

    monkeypatch.setattr(Folding, "scores", refuse)
    assert "the same bytes (version 2)" in verified(tmp_path / "state", capsys)[1]
    (tmp_path / "state" / "blobs" / changed.hex()[:2] / changed.hex()[2:]).unlink()
    shutil.rmtree(tmp_path / "state" / "versions")  # with the copy of the bank
    gateway = Gateway(tmp_path / "state", package)
    assert gateway.conductor.row == row
    assert any("made again from version 1" in note for note in gateway.store.notes)
    gateway.close()
    assert verified(tmp_path / "state", capsys)[0] == 0


def test_a_ledger_that_is_behind_gets_the_trust_back_with_the_versions(tmp_path: Path, package: Any) -> None:
    """Each delta counts once: not for trust again either, and who was left out is in no coverage."""
    state = tmp_path / "state"
    gateway = opened(state, package)
    play(gateway)
    gateway.close()
    shutil.copy(state / NAME, tmp_path / "older")
    gateway = opened(state, package)
    play(gateway)
    play(gateway)
    after, trained = trust(gateway), gateway.store.ledger.trained()
    gateway.close()
    shutil.copy(tmp_path / "older", state / NAME)
    gateway = opened(state, package)
    assert "versions 2 to 3 were put back" in gateway.store.notes[0]
    assert trust(gateway) == after
    assert gateway.store.ledger.trained() == trained
    assert gateway.store.ledger.waiting() == []
    gateway.close()


def test_training_that_is_not_merged_covers_no_expert(tmp_path: Path, package: Any) -> None:
    """Also when it is counted anew, after a row of the ledger was damaged."""
    state = tmp_path / "state"
    gateway = opened(state, package)
    play(gateway)
    play(gateway)
    trained = gateway.store.ledger.trained()
    assert {device for device, _ in trained} == set(HONEST)
    assert len(gateway.store.ledger.merged_into(2)) == 6
    gateway.close()
    database = sqlite3.connect(state / NAME)
    database.execute("UPDATE versions SET server = '' WHERE version = 2")
    database.commit()
    database.close()
    gateway = opened(state, package)
    assert gateway.store.notes[0].startswith("damaged in the ledger and written again: version 2")
    assert {key: times for key, times in gateway.store.ledger.trained().items() if times} == trained
    gateway.close()


def test_a_ledger_of_before_trust_goes_on(tmp_path: Path, package: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Schema 7 had none: it is read as it is, and brought up by a start, after which trust begins."""
    state = tmp_path / "state"
    gateway = opened(state, package, RobustMerging())
    play(gateway)
    gateway.close()
    database = sqlite3.connect(state / NAME)
    database.executescript("DROP TABLE trust; UPDATE meta SET value = '7' WHERE key = 'schema'")
    database.close()
    assert run(["devices", "--state", str(state)]) == 0
    assert "trust" not in capsys.readouterr().out
    assert as_json(state, capsys, "status")["distrusted"] == {}
    gateway = opened(state, package)
    assert gateway.store.ledger.get("schema") == str(SCHEMA)
    play(gateway)
    assert trust(gateway)[LIAR].left_out_since == 2
    gateway.close()


def test_who_is_removed_loses_its_trust_and_begins_anew(tmp_path: Path, package: Any) -> None:
    """Also when it is removed while a round is merged, which would write its row again."""
    gateway = opened(tmp_path / "state", package)
    play(gateway)
    mark(tmp_path / "state", [LIAR], revoked=True)
    assert LIAR not in trust(gateway)
    with gateway.store.ledger.transaction():
        gateway.store.ledger.keep_trust([TrustRow(LIAR, -0.5, 1), TrustRow("a", 0.05)])
    assert LIAR not in trust(gateway)
    assert trust(gateway)["a"] == TrustRow("a", 0.05)
    mark(tmp_path / "state", [LIAR], revoked=False)
    gateway.hello(LIAR)
    play(gateway, liar="nobody")
    assert trust(gateway)[LIAR] == TrustRow(LIAR, 0.1)
    gateway.close()


def test_a_rollback_forgives_nobody(tmp_path: Path, package: Any) -> None:
    """The version that is brought back notes nobody, the trust stays, and the next merge leaves the liar out."""
    gateway = opened(tmp_path / "state", package)
    play(gateway)
    play(gateway)
    before = trust(gateway)
    gateway.store.ledger.put(ROLLBACK, "0")
    gateway.tick()
    assert (gateway.conductor.row.reason, notes_of(gateway.conductor.row).distrusted) == ("rollback", ())
    assert trust(gateway) == before
    play(gateway, liar="nobody")
    assert notes_of(gateway.conductor.row).distrusted == (LIAR,)  # one round does not make two good
    gateway.close()


def test_a_version_that_is_not_served_leaves_the_trust(tmp_path: Path, package: Any) -> None:
    """Its deltas count for nothing, and what they said of their devices stays; also over a start while it waits."""
    fields: dict[str, Any] = {"gate": Gate(hold=True, margin=0.01), "evaluate": tmp_path / "held.csv"}

    def measure(gateway: Gateway, version: int, accuracy: float) -> None:
        gateway.store.ledger.keep_evaluation(version, "held", (accuracy, accuracy, 4), gateway.now)
        gateway.conductor.measured(Evaluated(version, "held", Figures(accuracy, accuracy, 4)))
        gateway.tick()

    gateway = opened(tmp_path / "state", package, **fields)
    measure(gateway, 0, 0.9)
    play(gateway)
    gateway.close()
    gateway = opened(tmp_path / "state", package, **fields)
    before = trust(gateway)
    measure(gateway, 0, 0.9)
    measure(gateway, 1, 0.1)
    assert gateway.conductor.row.reason == "gate"
    assert notes_of(gateway.conductor.row).distrusted == ()
    assert trust(gateway) == before
    line = json.loads((tmp_path / "state" / JOURNAL).read_text())
    assert (line["reason"], line["gate"], line["distrusted"]) == ("restarted", "not served", 1)
    assert sum(gateway.store.ledger.trained().values()) == 5 * 6  # of the honest
    gateway.close()
