"""What a configuration asks for, decided before anything is compiled: tiers, methods, costs. Reads files only.

``program_methods`` is the one place that says which methods a program has; everything after it goes by that list.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from edge_runtime.wire.errors import BankError
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Cost
from edge_runtime.wire.manifest_checks import CAUSAL_LM, CLASSIFICATION, Quantization
from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape
from export.errors import ConfigError
from export.planning.config import ExportConfig, adapted_layers
from export.planning.cost_model import Sizes, TierShape
from export.planning.memory_plan import Fixed
from export.planning.profiles import DeviceProfile, load_profile
from export.planning.tiers import TierRequest, choose
from export.shapes import GROUP, halves, trunk_of
from export.source import backbone as backbones
from export.source.backbone import BackboneInfo
from export.source.families import check_task
from export.source.sentence_model import check_pooling
from export.source.tokenizer_file import check_reader, read_tokenizer


@dataclass(frozen=True)
class TierPlan:
    """One tier of the package.

    Args:
        shape: its size.
        predicted: what it will cost the device.
        why: why its memory plan and no other.
        cut: its step begins above the frozen prefix, which is a method of its own.
    """

    shape: TierShape
    predicted: Cost
    why: str
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
    def trunk(self) -> MethodShape | None:
        """The method that computes the prefix of one text; None where ``train`` takes token ids."""
        return trunk_of(self.train) if self.cut else None

    @property
    def _step(self) -> tuple[MethodShape, ...]:
        """The methods of an optimizer step."""
        shape = self.shape
        whole = MethodShape(
            MethodKind.TRAIN, shape.trained, shape.frozen, shape.sequence, shape.batch, shape.recompute, cut=self.cut
        )
        return (whole,) if shape.micro_batches == 1 else halves(whole, shape.micro_batches)

    @property
    def methods(self) -> tuple[MethodShape, ...]:
        """Every method that this tier needs to train."""
        return (*self._step, self.trunk) if self.trunk else self._step


def predict_methods(tiers: Iterable[TierShape]) -> tuple[MethodShape, ...]:
    """Return the inference methods: one for the longest texts, with as many experts as the widest tier holds."""
    shapes = tuple(tiers)
    held = max(shape.trained + shape.frozen for shape in shapes)
    return (MethodShape(MethodKind.PREDICT, held, 0, max(shape.sequence for shape in shapes), 1),)


def program_methods(tiers: Iterable[TierPlan]) -> tuple[MethodShape, ...]:
    """Return every method of a program, each once: those of the tiers, largest tier first, then the inferences."""
    plans = tuple(tiers)
    training = [method for plan in plans for method in plan.methods]
    return tuple(dict.fromkeys([*training, *predict_methods(plan.shape for plan in plans)]))


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
    """

    config: ExportConfig
    profile: DeviceProfile
    job: Job
    tiers: tuple[TierPlan, ...]
    left_out: tuple[str, ...]


COMPILING: Final = 5
"""Stages of compiling a method: trace, simplify, convert, partition and delegate, emit."""


def plan(config: ExportConfig) -> PackagePlan:
    """Choose the tiers; reads files only.

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
    choice = choose(sizes, _request(config, profile, backbone), profile)
    tiers = tuple(TierPlan(tier.shape, tier.cost, tier.why, sizes.cut) for tier in choice.tiers)
    job = Job(backbone, model, program_methods(tiers), quantize)
    return PackagePlan(config, profile, job, tiers, choice.left_out)


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
            f"--task {config.task}: the app on {profile.title} does {', '.join(profile.tasks)} only; take a device that"
            " runs edge_runtime, as raspberrypi5 and linux-x86_64 do"
        )
    check_reader(tokenizer, profile.tokenizers, backbone.name, profile.title)


def _check_groups(sizes: Sizes, name: str) -> None:
    """Refuse a package that would call itself int4 and have no such weight."""
    inputs = sorted({inputs for _, _, inputs in sizes.backbone.linears})
    if sizes.quantize == Quantization.INT4 and not any(count % GROUP == 0 for count in inputs):
        raise ConfigError(
            f"--quantize int4: a scale is shared by {GROUP} inputs, and the linears of {name} have"
            f" {' or '.join(map(str, inputs))}; no one is a multiple: take int8"
        )


def _request(config: ExportConfig, profile: DeviceProfile, backbone: BackboneInfo) -> TierRequest:
    lengths = [*config.lengths, *(length for _, length in config.tiers)] or [profile.defaults.seq_len]
    if max(lengths) > backbone.sizes.positions:
        option = "--tiers" if config.tiers else "--seq-len"
        raise ConfigError(f"{option} {max(lengths)}: {backbone.name} takes at most {backbone.sizes.positions} tokens")
    return TierRequest(
        pairs=config.tiers,
        slots=config.slots,
        lengths=config.lengths,
        most=config.most_tiers,
        fewest=1 if config.held == "all" else config.routed or 1,
        hold_all=config.held == "all",
        batch=config.batch_size or profile.defaults.batch_size,
        fixed_batch=config.batch_size is not None,
        memory=Fixed(config.recompute, config.micro_batches or 0),
    )
