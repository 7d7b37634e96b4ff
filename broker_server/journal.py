"""One structured line for each round, in the state directory: integers, sizes and codes; no user text.

The file is for people and their tools. What the gateway itself needs is in the ledger.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from edge_runtime.wire.private_files import open_to_append

JOURNAL: Final = "journal.jsonl"
"""In the state directory."""


@dataclass(frozen=True)
class RoundLine:
    """What there is to say about a closed round.

    Args:
        round: its number.
        version: that it made.
        reason: why it closed: "all in", "expected in" or "deadline"; "restarted": the gateway was started anew before
            its version was decided on, and nobody remembers.
        seconds: it was open.
        planned, accepted, late, left: devices.
        withdrawn: devices whose plan was taken back, because they came with other data.
        missed: devices that were here and did not answer by a deadline, or by the end.
        limited: devices whose claims were capped, or whose update was cut.
        left_out: accepted deltas whose device the operator removed before the merge.
        distrusted: accepted deltas that were not merged, because updates of their device point away from the others'.
        extensions: times it waited once more.
        experts_trained: blocks that somebody trained.
        trainers_min, trainers_max: of the bank's experts.
        bytes_deltas: of the accepted deltas.
        examples: that were trained on.
        loss_first, loss_last: means over devices.
        bytes_up, bytes_down: payload of all messages from and to devices since the merge before, or since the start.
        gate: "served" or "not served"; "": no gate decided on its version.
    """

    round: int
    version: int
    reason: str
    seconds: float
    planned: int
    accepted: int
    late: int
    left: int
    withdrawn: int
    missed: int
    limited: int
    left_out: int
    extensions: int
    experts_trained: int
    trainers_min: int
    trainers_max: int
    bytes_deltas: int
    examples: int
    loss_first: float
    loss_last: float
    bytes_up: int = 0
    bytes_down: int = 0
    gate: str = ""
    distrusted: int = 0

    def write(self, path: Path) -> None:
        """Append this line; a disk that refuses costs the line only."""
        try:
            with open_to_append(path) as file:
                file.write(json.dumps(asdict(self), separators=(",", ":")) + "\n")
        except OSError:
            return
