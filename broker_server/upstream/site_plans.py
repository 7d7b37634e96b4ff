"""Plans of a site for its devices: the blocks, steps and rates of the plan from above, shared out among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from broker_server.rounds.round_plans import RoundPlans
from broker_server.rules.planner import Assignment, RoundRequest
from broker_server.rules.plans import Base
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.messages import ids


class SiteRoundPlans(RoundPlans):
    """Plans under the one that came from above. ``above``: that plan; set before a round is opened."""

    above: pb.Plan | None = None

    def _assignments(
        self, devices: Collection[str], number: int, at_work: Mapping[ExpertId, int]
    ) -> dict[str, Assignment]:
        # Whose class sums are not in the head does not know its labels yet, and the next round will.
        members = self._roster.members
        known = [device for device in devices if device in members and self._merging.head_has(members[device].hello)]
        return super()._assignments(known, number, at_work)

    def _request(self) -> RoundRequest:
        request = super()._request()
        if self.above is None:
            return request
        blocks = ids(self.above.train)
        return replace(
            request,
            steps=self.above.steps,
            train_head=HEAD in blocks,
            train_shared=any(block.shared for block in blocks),
            only=frozenset(blocks),
        )

    def _base(self, number: int, turn: int) -> Base:
        base = super()._base(number, turn)
        return base if self.above is None else replace(base, rates=rates_of(self.above))


def rates_of(plan: pb.Plan) -> tuple[float, float, float, float]:
    """Return the rates of a plan: of experts, shared experts and head, and the weight decay."""
    return plan.learning_rate, plan.shared_learning_rate, plan.head_learning_rate, plan.weight_decay
