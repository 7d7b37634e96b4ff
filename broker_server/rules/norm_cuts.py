"""The norms that a round's updates are cut to, whatever the round merges them by. Pure.

A round may plan unequal steps, and an update of more steps is longer for honest reasons. So a device with more steps
than the median may have a norm that is longer by as much. Where steps are taken out of the mean, norms of one step are
compared: few steps would else be an excuse for a long update, which taking them out makes longer still.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from broker_server.rules.aggregate import Contribution
from broker_server.rules.robust import NO_NORMS, UsualNorms
from broker_server.rules.server_rules import ServerRules
from broker_server.rules.weights import Caps, norm_limits


@dataclass(frozen=True)
class NormCuts:
    """What a round's updates are cut to.

    Args:
        norms: by kind of block; of one step where steps are taken out.
        usual_steps: the median of the round's.
        of_steps: whether they are those of one step.
    """

    norms: Mapping[str, float]
    usual_steps: float
    of_steps: bool

    def of(self, one: Contribution) -> dict[str, float]:
        """Return what an update is cut to, by kind of block."""
        factor = one.steps if self.of_steps else max(1.0, one.steps / self.usual_steps)
        return {kind: norm * factor for kind, norm in self.norms.items()}


def norm_cuts(
    norms: Sequence[Mapping[str, float]],
    claims: Sequence[Contribution],
    caps: Caps,
    rules: ServerRules,
    usual: UsualNorms = NO_NORMS,
) -> tuple[NormCuts, UsualNorms]:
    """Return what a round's updates are cut to, and what is usual after it.

    Args:
        norms: of each update its largest by kind of block.
        claims: the updates, whose deltas are not looked at.
        caps: what one device may weigh.
        rules: that they are merged by.
        usual: before the round; of robust merging.
    """
    if rules.normalized:
        norms = [{kind: norm / one.steps for kind, norm in own.items()} for own, one in zip(norms, claims, strict=True)]
    steps = float(median(one.steps for one in claims)) if claims else 1.0
    if rules.robust is None:
        return NormCuts(norm_limits(norms, caps), steps, rules.normalized), usual
    after = usual.after(norms)
    return NormCuts(after.limits(caps.norm), steps, rules.normalized), after
