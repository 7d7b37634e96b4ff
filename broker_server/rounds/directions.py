"""Whose deltas of a round are merged where devices' directions are compared, and how far each device is trusted then.

Trust is the gateway's, not a version's: it says what devices sent, whatever became of that. So it stays as it is when a
version is not served or an earlier one is brought back. What is decided here is noted with the version that it is
decided for, in one transaction, and that version is made again from the notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker_server.rounds.folding import Folding
from broker_server.rules.agreement import Agreement, left_out
from broker_server.rules.robust import Robust
from broker_server.state.rows import DeltaRow, TrustRow


@dataclass(frozen=True)
class Judged:
    """What directions say of a round.

    Args:
        heard: the deltas that are merged.
        distrusted: devices whose deltas are not, ascending.
        trust: of devices, as far as it changes with the round.
    """

    heard: Sequence[DeltaRow]
    distrusted: tuple[str, ...] = ()
    trust: tuple[TrustRow, ...] = ()


def judged(
    folding: Folding, rows: Sequence[DeltaRow], trusted: Sequence[TrustRow], robust: Robust | None, version: int
) -> Judged:
    """Return whose deltas of a round are merged.

    Args:
        folding: reads the deltas.
        rows: of all that were accepted.
        trusted: how far devices are trusted before it.
        robust: how robust merging is done; None: it is not.
        version: number of the one that the round makes.

    Raises:
        BodyError: when a delta is damaged or gone.
    """
    if robust is None or robust.directions is None:
        # Nobody is left out any more; what trust there was counts again once directions are compared again.
        freed = [replace(one, left_out_since=None) for one in trusted if one.left_out_since is not None]
        return Judged(rows, trust=tuple(freed))
    return _by_directions(folding, rows, trusted, robust.directions, version)


def _by_directions(
    folding: Folding, rows: Sequence[DeltaRow], trusted: Sequence[TrustRow], rule: Agreement, version: int
) -> Judged:
    before = {one.device: one for one in trusted}
    trust = rule.after({one.device: one.trust for one in trusted}, folding.scores(rows))
    distrusted = tuple(sorted(left_out(trust, rows)))

    def after(device: str) -> TrustRow:
        since = before[device].left_out_since if device in before else None
        left = version if since is None else since
        return TrustRow(device, trust[device], left if device in distrusted else None)

    known = [device for device in sorted({row.device for row in rows}) if device in trust]
    heard = [row for row in rows if row.device not in distrusted]
    return Judged(heard, distrusted, tuple(map(after, known)))
