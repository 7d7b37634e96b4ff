"""Is this taken in a round under masks: keys, shares, answers, and deltas? A state and a message in, a code out."""

from __future__ import annotations

from typing import Final

from broker_server.rounds.checking import MaskBody
from broker_server.rounds.key_authority import KeyAuthority
from broker_server.rounds.masked_state import MaskedState
from broker_server.rules import masking
from broker_server.rules.admission import Masked
from broker_server.rules.masking import Phase
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.messages import decode

_LATE: Final = "the round is past that step, or goes on without this device"


def check_body(state: MaskedState, message: MaskBody, device: str, plan: bytes, authority: KeyAuthority) -> None:
    """Refuse a body that the round does not wait for, or that is not what it has to be.

    Args:
        state: of the round.
        message: the body.
        device: its sender.
        plan: its plan in this round.
        authority: whose certificates keys have to be signed with.

    Raises:
        WireError: STALE when the round is past that step or the device takes no part, or what is wrong.
    """
    if isinstance(message, pb.MaskKeys):
        _check_keys(state, message, plan)
        authority.check(message, state.row.round)
    elif isinstance(message, pb.MaskShares):
        _check_shares(state, message, device)
    else:
        _check_answer(state, message, device)


def masked_of(state: MaskedState | None, plan: pb.Plan, shape: BankShape) -> Masked | None:
    """Return what a plan's delta under masks has to be; None: the plan asks for none.

    Args:
        state: of the round that runs.
        plan: of the device that sent the delta.
        shape: of the bank.
    """
    if not plan.masks:
        return None
    if state is None or state.row.round != plan.round:
        return Masked(b"", {}, taken=False)
    place = state.places.get(plan.device)
    if place is None or place not in state.dealt:
        return Masked(b"", {}, taken=False)
    attendance = state.attendance
    # After survivors were named: only what was accepted before, and the disk lost.
    taken = state.phase is Phase.DELTAS or (attendance is not None and place in attendance.survivors)
    circles = masking.masked_by(state.listed, place, state.dealt)
    sizes = {circle.number: circle.ring.size(state.terms.size(circle.number, shape)) for circle in circles}
    return Masked(state.listed.context, sizes, taken=taken)


def _check_keys(state: MaskedState, keys: pb.MaskKeys, plan: bytes) -> None:
    if keys.plan_digest != sha256(plan) or state.phase is not Phase.KEYS:
        raise WireError(pb.STALE, _LATE)
    planned = decode(pb.Plan, plan).masks[0].circles
    if [key.circle for key in keys.masking] != [circle.number for circle in planned]:
        raise WireError(pb.MALFORMED, f"keys for {len(keys.masking)} circles, not for the {len(planned)} of the plan")


def _check_shares(state: MaskedState, shares: pb.MaskShares, device: str) -> None:
    place = state.places.get(device)
    if state.phase is not Phase.SHARES or place is None or shares.members != state.listed.context:
        raise WireError(pb.STALE, _LATE)
    masking.check_shares(state.listed, place, shares.shares)


def _check_answer(state: MaskedState, answer: pb.MaskAnswer, device: str) -> None:
    place, attendance = state.places.get(device), state.attendance
    if state.phase is not Phase.ANSWERS or place is None or attendance is None:
        raise WireError(pb.STALE, _LATE)
    if place not in attendance.survivors or answer.survivors != sha256(state.row.survivors or b""):
        raise WireError(pb.STALE, "an answer to other survivors")
    masking.told(state.listed, place, attendance, answer)
