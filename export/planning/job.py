"""What a configuration asks for, decided before anything is compiled: tiers, methods, costs. Reads files only.

``program_methods`` is the one place that says which methods a program has; everything after it goes by that list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from edge_runtime.wire.errors import BankError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.fill import Fill
from edge_runtime.wire.manifest import Cost
from edge_runtime.wire.manifest_checks import CAUSAL_LM, CLASSIFICATION, Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape
from edge_runtime.wire.text import counted
from export.errors import ConfigError
from export.planning.config import ExportConfig, adapted_layers
from export.planning.inference_sizes import predict_methods, trunk_methods
from export.planning.memory_plan import Fixed, Planned
from export.planning.profiles import DeviceProfile, load_profile
from export.planning.row_choice import RowChoice
from export.planning.sizes import Sizes, TierShape
from export.planning.text_lengths import TextLengths
from export.planning.tiers import SHALLOW, TierRequest, Wish, choose
from export.shapes import GROUP, halves
from export.source import backbone as backbones
from export.source.backbone import BackboneInfo
from export.source.families import check_task
from export.source.sentence_model import check_pooling
from export.source.token_counts import token_counts
from export.source.tokenizer_file import check_reader, read_tokenizer


@dataclass(frozen=True)
class TierPlan:
    """One tier of the package.

    Args:
        shape: its size.
        predicted: what it will cost the device.
        why: why its memory plan and no other.
        fill: how full its steps will be; None where there were no texts to count.
        cut: its step begins above the prefix, which is a method of its own.
    """

    shape: TierShape
    predicted: Cost
    why: str
    fill: Fill | None = None
    cut: bool = False

    @property
    def train(self) -> MethodShape:
        """The method that a training step calls; once, or for each micro-batch."""
        return self._step[0]

    @property
    def apply(self) -> MethodShape | None:
        """The method of the optimizer, where ``train`` does not have it inside."""
        return self._step[1] if self.shape.micro_batches > 1 else None

    @property
    def trunks(self) -> tuple[MethodShape, ...]:
        """The methods that compute prefixes of texts, for the shortest first; none where ``train`` takes token ids."""
        return trunk_methods(self.shape.sequence, self.shape.layers) if self.cut else ()

    @property
    def _step(self) -> tuple[MethodShape, ...]:
        """The methods of an optimizer step."""
        shape = self.shape
        whole = MethodShape(
            MethodKind.TRAIN,
            shape.trained,
            shape.frozen,
            shape.sequence,
            shape.rows,
            shape.batch,
            shape.recompute,
            cut=self.cut,
            layers=shape.layers,
        )
        return (whole,) if shape.micro_batches == 1 else halves(whole, shape.micro_batches)

    @property
    def methods(self) -> tuple[MethodShape, ...]:
        """Every method that this tier needs to train."""
        return (*self._step, *self.trunks)


def program_methods(tiers: Iterable[TierPlan], *, packed: bool) -> tuple[MethodShape, ...]:
    """Return every method of a program, each once: those of the tiers, largest tier first, then the inferences.

    Inferences hold as many experts as the widest tier, and take its longest texts; ``packed``: one takes many texts.
    """
    plans = tuple(tiers)
    training = [method for plan in plans for method in plan.methods]
    held = max(plan.shape.trained + plan.shape.frozen for plan in plans)
    longest = max(plan.shape.sequence for plan in plans)
    return tuple(dict.fromkeys([*training, *predict_methods(held, longest, packed=packed)]))


@dataclass(frozen=True)
class Job:
    """What to compile: all that determines a program, and that the processes which compile it need to know.

    Args:
        backbone: the frozen network.
        model: sizes of the bank, with the numbers of the adapted layers, and of the gates.
        methods: of the program; at least one is an inference.
        quantize: how what is frozen is rounded.
    """

    backbone: BackboneInfo
    model: ModelShape
    methods: tuple[MethodShape, ...]
    quantize: Quantization

    @property
    def adapted(self) -> tuple[int, ...]:
        """Numbers of the adapted layers."""
        return self.model.bank.layers

    @property
    def task(self) -> str:
        """What the model does."""
        return CAUSAL_LM if self.model.vocabulary else CLASSIFICATION

    def of_kind(self, kind: MethodKind) -> list[MethodShape]:
        """Return the methods of a kind, in order."""
        return [method for method in self.methods if method.kind == kind]

    @property
    def steps(self) -> list[MethodShape]:
        """Return the methods that a training step begins with: one for each tier."""
        return [*self.of_kind(MethodKind.TRAIN), *self.of_kind(MethodKind.ACCUMULATE)]

    @property
    def longest(self) -> int:
        """S of the longest texts."""
        return max(method.sequence for method in self.methods)

    def shared_request(self) -> dict[str, Any]:
        """Return, as plain values, everything that determines the gateway's program, and every method but its sizes."""
        return {
            "backbone": self.backbone.digest,
            "config": self.backbone.config,
            "model": asdict(self.model),
            "quantize": self.quantize,
        }


@dataclass(frozen=True)
class PackagePlan:
    """All that follows from a configuration before anything is compiled.

    Args:
        job: what to compile.
        tiers: largest first.
        left_out: tiers that were asked for and do not fit, one sentence each.
        row_choice: what said how many rows the tiers have.
    """

    config: ExportConfig
    profile: DeviceProfile
    job: Job
    tiers: tuple[TierPlan, ...]
    left_out: tuple[str, ...]
    row_choice: RowChoice


COMPILING: Final = 5
"""Stages of compiling a method: trace, simplify, convert, partition and delegate, emit."""


def plan(config: ExportConfig, progress: Callable[[str], None] = lambda _: None) -> PackagePlan:
    """Choose the tiers; reads files only. ``progress`` gets a sentence where that takes seconds.

    Raises:
        ConfigError, UnsupportedModelError, BudgetError.
    """
    profile = load_profile(config.device)
    backbone = backbones.find(config.model)
    adapted = adapted_layers(config.layers, backbone.sizes.depth)
    check_task(backbone.config, config.task, backbone.name)
    _check_software(config, profile, backbone)
    vocabulary = backbone.sizes.vocabulary if config.task == CAUSAL_LM else 0
    model = ModelShape(bank_shape(config, adapted, backbone.sizes.width), config.routed, vocabulary)
    quantize = Quantization(config.quantize)
    sizes = Sizes(backbone.sizes, model, quantize, cut=config.trunk and adapted[0] > 0)
    _check_groups(sizes, backbone.name)
    request = _request(config, profile, backbone, len(adapted), progress)
    choice = choose(sizes, request, profile)
    tiers = tuple(_tier_plan(sizes, tier, request.row_choice) for tier in choice.tiers)
    job = Job(backbone, model, program_methods(tiers, packed=not vocabulary), quantize)
    return PackagePlan(config, profile, job, tiers, choice.left_out, request.row_choice)


def _tier_plan(sizes: Sizes, tier: Planned, row_choice: RowChoice) -> TierPlan:
    shape = tier.shape
    fill = row_choice.fill(shape.sequence, shape.rows, shape.batch)
    return TierPlan(shape, tier.cost, tier.why, fill, sizes.at_depth(shape.layers).cut)


def bank_shape(config: ExportConfig, adapted: tuple[int, ...], width: int) -> BankShape:
    """Return the shape of the bank that a configuration asks for.

    Raises:
        ConfigError: when it is more than the contract allows.
    """
    try:
        return BankShape(adapted, config.experts, config.rank, config.shared_rank, width, len(config.labels))
    except BankError as error:
        raise ConfigError(str(error)) from error


def _check_software(config: ExportConfig, profile: DeviceProfile, backbone: BackboneInfo) -> None:
    """Refuse a package that the device's software would not open, or that would read texts in another way."""
    tokenizer = read_tokenizer(backbone.folder)
    check_pooling(backbone.folder, config.task, tokenizer, backbone.name)
    if profile.tasks and config.task not in profile.tasks:
        raise ConfigError(
            f"task {config.task}: the app on {profile.title} does {', '.join(profile.tasks)} only; take a device that"
            " runs edge_runtime, as raspberrypi5 and linux-x86_64 do"
        ).about("task", "device")
    check_reader(tokenizer, profile.tokenizers, backbone.name, profile.title)


def _check_groups(sizes: Sizes, name: str) -> None:
    """Refuse a package that would call itself int4 and have no such weight."""
    inputs = sorted({inputs for _, _, inputs in sizes.backbone.linears})
    if sizes.quantize == Quantization.INT4 and not any(count % GROUP == 0 for count in inputs):
        raise ConfigError(
            f"quantize int4: a scale is shared by {GROUP} inputs, and the linears of {name} have"
            f" {' or '.join(map(str, inputs))}; no one is a multiple: take int8"
        ).about("quantize")


def _request(
    config: ExportConfig, profile: DeviceProfile, backbone: BackboneInfo, adapted: int, progress: Callable[[str], None]
) -> TierRequest:
    named = [*config.lengths, *(length for _, length, _ in config.tiers)]
    longest = _longest(config, named, profile, backbone)
    windows = config.task == CAUSAL_LM
    row_choice = RowChoice(config.capacities, _lengths(config, backbone, longest, progress), windows)
    suiting = row_choice.suiting_length(longest)
    batch = config.batch_size or profile.defaults.batch_size
    _check_capacities(config, max(named or [suiting]), batch)
    return TierRequest(
        wishes=_wishes(config, adapted),
        slots=config.slots,
        lengths=config.lengths,
        suiting=suiting,
        row_choice=row_choice,
        most=config.most_tiers,
        fewest=1 if config.held == "all" else config.routed or 1,
        hold_all=config.held == "all",
        batch=batch,
        fixed_batch=config.batch_size is not None,
        memory=Fixed(config.recompute, config.micro_batches or 0),
        shallow=SHALLOW if config.has_depth and config.task == CLASSIFICATION else 0,
    )


def _wishes(config: ExportConfig, adapted: int) -> tuple[Wish, ...]:
    """Return the tiers that were named, 0 for as many layers as are adapted.

    Raises:
        ConfigError: for a tier of more layers.
    """
    for _, _, layers in config.tiers:
        if layers > adapted:
            text = f"tiers: a tier of {layers} layers, and {adapted} are adapted; give {adapted} or fewer"
            raise ConfigError(text).about("tiers")
    return tuple((slots, length, layers if layers < adapted else 0) for slots, length, layers in config.tiers)


def _longest(config: ExportConfig, named: list[int], profile: DeviceProfile, backbone: BackboneInfo) -> int:
    """Return S of the longest tier, or what it may be at most where the texts say it.

    Raises:
        ConfigError: when the backbone has no position for it.
    """
    positions = backbone.sizes.positions
    if config.texts and not named:
        return min(positions, profile.defaults.seq_len)
    longest = max(named or [profile.defaults.seq_len])
    if longest > positions:
        name = "tiers" if config.tiers else "seq_len"
        raise ConfigError(f"{name} {longest}: {backbone.name} takes at most {positions} tokens").about(name)
    return longest


def _lengths(
    config: ExportConfig, backbone: BackboneInfo, longest: int, progress: Callable[[str], None]
) -> TextLengths | None:
    """Return the tokens of each of the texts, if there are any; one more than ``longest`` where there are more."""
    if not config.texts:
        return None
    progress(f"count the tokens of {counted(len(config.texts), 'text')}")
    return TextLengths(token_counts(backbone.folder, config.texts, longest + 1))


def _check_capacities(config: ExportConfig, longest: int, batch: int) -> None:
    """Refuse a step that could not hold one text, and one with rows that no text can be in."""
    for count in config.capacities:
        if count < longest:
            raise ConfigError(
                f"tokens {count}: a row holds one text of up to {longest:,} tokens; give {longest:,} or more, or a"
                " smaller seq_len"
            ).about("tokens", "seq_len")
        if -(-count // longest) > batch:
            raise ConfigError(
                f"tokens {count}: {batch} texts of at most {longest:,} tokens fill {batch * longest:,} places; give"
                " that or less, or a larger batch_size"
            ).about("tokens", "batch_size")
