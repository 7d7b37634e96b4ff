"""What a version notes of its merge, also as older gateways wrote it."""

from __future__ import annotations

import json

import pytest

from broker_server.rules.agreement import Agreement
from broker_server.rules.robust import Robust
from broker_server.rules.server_rules import ServerNotes, ServerRules
from broker_server.server_config import RobustMerging, Server


@pytest.mark.parametrize(
    ("table", "rules", "words"),
    [
        (RobustMerging(), None, ""),
        (RobustMerging(enabled=True), Robust(directions=Agreement(0.95, 0.1)), "compares directions, trims 0.2"),
        (RobustMerging(enabled=True, directions=False), Robust(0.2), "robust, trims 0.2"),
        (
            RobustMerging(enabled=True, trim=0.0, remember=0.5, most_trust=2.0),
            Robust(0.0, by_value=False, directions=Agreement(0.5, 2.0)),
            "robust, compares directions",
        ),
    ],
)
def test_settings_are_rules_and_rules_come_back_from_notes(
    table: RobustMerging, rules: Robust | None, words: str
) -> None:
    """With trim 0 no value has a rule of its own."""
    merging = ServerRules.of(Server(normalize_steps=False), table)
    assert merging.robust == rules
    assert merging.words().endswith(words)
    notes = ServerNotes(merging, distrusted=("a", "b"))
    assert ServerNotes.read(notes.text()) == notes


def test_notes_of_before_directions_are_of_merging_by_value() -> None:
    """Then a trim of 0 left one out at each side of a value: such a version is made again by that rule."""
    tree = json.loads(ServerNotes(ServerRules(robust=Robust())).text())
    assert "distrusted" not in tree
    tree["robust"] = {"trim": 0.0, "shrink": 1.0}
    notes = ServerNotes.read(json.dumps(tree))
    assert notes.rules.robust == Robust(0.0, 1.0, by_value=True, directions=None)
    assert notes.distrusted == ()


def test_notes_of_another_form_are_refused() -> None:
    """A key that nobody knows is damage, or a newer gateway's."""
    tree = json.loads(ServerNotes(ServerRules(robust=Robust())).text())
    tree["robust"]["volume"] = 11
    with pytest.raises(ValueError, match="another form than expected"):
        ServerNotes.read(json.dumps(tree))
