"""Choose the tiers of a package: which sizes of program a device profile has room for. Pure: numbers in, numbers out.

Axes: L adapted layers, k of them that a tier trains, M experts, m trained slots, B texts of a step at most, R rows, S
places of a row. All tiers of a package have one B, so that a plan that moves between two of the same R and S goes on
with the same batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from edge_runtime.wire.text import counted
from export.errors import BudgetError
from export.planning.cost_model import storage_mb
from export.planning.memory_plan import OPEN, Fixed, Planned, cheapest, shown
from export.planning.profiles import DeviceProfile
from export.planning.row_choice import HALF, RowChoice
from export.planning.sizes import Sizes, TierShape

SMALLEST_BATCH: Final = 4
SHORTEST: Final = 8
"""Tokens below which a length is not halved to step down."""
SHALLOW: Final = 2
"""k of the tier that a classifier's package has for devices that are short of time."""
Wish = tuple[int, int, int]
"""m, S and k, which is 0 for all adapted layers."""


@dataclass(frozen=True)
class TierRequest:
    """What the user fixed of the tiers.

    Args:
        wishes: every tier; empty lets the next two decide.
        slots: m to make tiers of; empty lets the planner take the most that fit.
        lengths: S to make tiers of; empty takes the suiting one.
        suiting: S that suits the texts; 0 takes the profile's.
        row_choice: R S, or what says it.
        most: tiers at most; 0 for no limit.
        fewest: slots that the planner must not go below.
        hold_all: experts that are not trained run in frozen slots.
        batch: B, the largest one to take.
        fixed_batch: take no smaller one.
        memory: what is fixed of the memory plan.
        shallow: k of a tier for devices that are short of time; 0: none.
    """

    wishes: tuple[Wish, ...] = ()
    slots: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    suiting: int = 0
    row_choice: RowChoice = HALF
    most: int = 0
    fewest: int = 1
    hold_all: bool = True
    batch: int = 16
    fixed_batch: bool = False
    memory: Fixed = OPEN
    shallow: int = 0


@dataclass(frozen=True)
class Choice:
    """Args: tiers: with predicted costs, largest first; left_out: a sentence for each asked tier without room."""

    tiers: tuple[Planned, ...]
    left_out: tuple[str, ...]


def choose(sizes: Sizes, request: TierRequest, profile: DeviceProfile) -> Choice:
    """Return the tiers that fit: all layers first, then longest texts, most trained slots, most rows; at one batch.

    Where nothing is asked for, the tier with most slots that fits comes with a smaller one to step down to, when the
    device is hot or short of memory, and one of its upper layers alone, for when it is short of time. Slots come
    before batch: a smaller batch costs time, fewer slots cost learning in every round. Each batch is tried with every
    memory plan, then halved, down to 4, unless fixed. The batch is the largest one of the first tier.

    Raises:
        BudgetError: with the numbers of the smallest candidate when none fits.
    """
    firsts = _asked(request, profile) or [
        (slots, _longest(request, profile), 0) for slots in _slot_choices(sizes, request)
    ]
    first = _first(sizes, request, profile, firsts)
    asked = _asked(request, profile) or [(first.shape.trained, length, 0) for length in _lengths(request, profile)]
    left_out: list[str] = []
    fitting: list[Planned] = []
    for tier in (tier for wish in asked for tier in _tiers(sizes, request, wish, first.shape.batch)):
        planned = cheapest(sizes, tier, request.memory, profile)
        if planned is None or planned.over:
            left_out.append(f"{_shown(tier)} needs {', '.join(planned.over) if planned else 'another batch'}")
        else:
            fitting.append(planned)
    if len(fitting) == 1:
        fitting += _beside(sizes, request, profile, first.shape)
    return _within(sizes, profile, fitting[: request.most or None], left_out)


def _longest(request: TierRequest, profile: DeviceProfile) -> int:
    return _lengths(request, profile)[0]


def _lengths(request: TierRequest, profile: DeviceProfile) -> list[int]:
    """Return S of the tiers, longest first."""
    return sorted(set(request.lengths or (request.suiting or profile.defaults.seq_len,)), reverse=True)


def _asked(request: TierRequest, profile: DeviceProfile) -> list[Wish]:
    """Return the tiers that the user named, largest first; none where the planner chooses the slots."""
    lengths = _lengths(request, profile)
    wishes = request.wishes or tuple((slots, length, 0) for slots in request.slots for length in lengths)
    return sorted(set(wishes), key=lambda wish: (wish[2] > 0, -wish[2], -wish[1], -wish[0]))


def _tiers(sizes: Sizes, request: TierRequest, wish: Wish, batch: int) -> list[TierShape]:
    """Return the tiers of some slots, a length and a depth, most rows first."""
    trained, length, layers = wish
    frozen = sizes.bank.experts - trained if request.hold_all else 0
    counts = request.row_choice.rows(length, batch)
    return [TierShape(trained, frozen, length, rows, batch, layers=layers) for rows in counts]


def _first(sizes: Sizes, request: TierRequest, profile: DeviceProfile, wishes: list[Wish]) -> Planned:
    """Return the first of ``wishes`` that fits, at its largest batch, with its cheapest memory plan."""
    last: Planned | None = None
    for wish in wishes:
        for tier in (tier for batch in _batches(request) for tier in _tiers(sizes, request, wish, batch)):
            planned = cheapest(sizes, tier, request.memory, profile)
            if planned is not None and not planned.over:
                return planned
            last = planned or last
    if last is None:
        raise BudgetError(
            f"micro_batches {request.memory.micro_batches}: a step of at most {request.batch} texts cannot have more"
            " parts than texts; give fewer, or a larger batch_size"
        ).about("micro_batches", "batch_size")
    raise BudgetError(
        f"{profile.name}: nothing fits; even {_shown(last.shape)}, {shown(last.shape)}, needs {', '.join(last.over)}"
        "; lower rank, layers, seq_len, tokens or batch_size, or raise the profile's budget"
    ).about("rank", "layers", "seq_len", "tokens", "batch_size")


def _shown(tier: TierShape) -> str:
    rows = counted(tier.rows, "row")
    where = f" in the upper {counted(tier.layers, 'layer')}" if tier.layers else ""
    return f"{tier.trained} trained slot(s){where} with {tier.batch} texts in {rows} of {tier.sequence} tokens"


def _beside(sizes: Sizes, request: TierRequest, profile: DeviceProfile, first: TierShape) -> list[Planned]:
    """Return the tiers that come with a lone one: the smaller, then the one of the upper layers if it fits."""
    plan = Fixed(first.recompute, first.micro_batches)  # or it might need more than the first
    smaller = [cheapest(sizes, tier, plan, profile) for tier in _step_down(sizes, request, first)]
    shallow = [cheapest(sizes, tier, request.memory, profile) for tier in _shallow(sizes, request, first)]
    fitting = [planned for planned in shallow if planned is not None and not planned.over]
    return [*(planned for planned in smaller if planned is not None), *fitting]


def _step_down(sizes: Sizes, request: TierRequest, first: TierShape) -> list[TierShape]:
    """Return the smaller tier that goes with a lone one: half of what the user left open, rows before length and slots.

    With half the rows every plan of the larger tier goes on, on the same texts; at half the length on their beginnings;
    with half the slots only a smaller plan goes on. A language model's window has a row of its own: it keeps the rows.
    """
    if _all_named(request):
        return []
    if request.row_choice.halves and first.rows // 2 >= first.micro_batches:
        return [replace(first, rows=first.rows // 2)]
    if not request.lengths and first.sequence // 2 >= SHORTEST:
        return [replace(first, sequence=first.sequence // 2)]
    if not request.slots and first.trained // 2 >= request.fewest:
        fewer = first.trained // 2
        frozen = sizes.bank.experts - fewer if request.hold_all else 0
        return [replace(first, trained=fewer, frozen=frozen)]
    return []


def _shallow(sizes: Sizes, request: TierRequest, first: TierShape) -> list[TierShape]:
    """Return the tier of the upper layers that goes with a lone one of more layers."""
    fewer = 0 < request.shallow < sizes.adapted
    return [replace(first, layers=request.shallow)] if fewer and not _all_named(request) else []


def _all_named(request: TierRequest) -> bool:
    """Return whether the user said which tiers there shall be, and no other."""
    return bool(request.wishes or (request.slots and request.lengths))


def _within(sizes: Sizes, profile: DeviceProfile, tiers: list[Planned], left_out: list[str]) -> Choice:
    """Leave out the smallest tiers until the methods of all have room in the storage; the first always has."""

    def needed(plans: list[Planned]) -> float:
        return storage_mb(sizes, [plan.shape for plan in plans])

    kept = list(tiers)
    while len(kept) > 1 and needed(kept) > profile.budget.storage_mb:
        need, dropped = needed(kept), kept.pop()
        left_out.append(
            f"{_shown(dropped.shape)}: all tiers need storage {need:.4g} of {profile.budget.storage_mb:.4g} MB"
        )
    storage = needed(kept)
    return Choice(tuple(replace(plan, cost=replace(plan.cost, storage_mb=storage)) for plan in kept), tuple(left_out))


def _slot_choices(sizes: Sizes, request: TierRequest) -> list[int]:
    """Return the powers of two up to M; the fewest slots that are allowed where none is."""
    return [count for count in (32, 16, 8, 4, 2, 1) if request.fewest <= count <= sizes.bank.experts] or [
        request.fewest
    ]


def _batches(request: TierRequest) -> list[int]:
    """Return the batches to try, largest first."""
    batches = [request.batch]
    while not request.fixed_batch and not request.row_choice.tokens and batches[-1] // 2 >= SMALLEST_BATCH:
        batches.append(batches[-1] // 2)
    return batches
