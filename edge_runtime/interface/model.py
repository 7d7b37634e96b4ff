"""``Model``: a device package that predicts, learns from this machine's texts, and takes part in a federation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edge_runtime.data.prefix_cache import DEFAULT_MB, PrefixCache
from edge_runtime.data.trunk import DEFAULT_ROUNDING, ROUNDINGS
from edge_runtime.errors import ConfigError
from edge_runtime.federation.config import CODECS, RunConfig, default_device, default_prefixes
from edge_runtime.federation.link import Mqtt
from edge_runtime.federation.report import DeviceEvent
from edge_runtime.inference.continuation import Sampling
from edge_runtime.interface.answering import Answering
from edge_runtime.interface.arguments import check_amounts, check_choice, key_bytes, limited
from edge_runtime.interface.banks import read_bank, received_bank, write_bank
from edge_runtime.interface.local_training import PACKAGES_OWN, Course, Head, LocalRun, unload_training
from edge_runtime.interface.participation import Participation, check_alone, take_part, way_to
from edge_runtime.interface.results import (
    Evaluation,
    JoinReport,
    Prediction,
    Progress,
    TrainReport,
    never,
    nobody,
)
from edge_runtime.interface.texts import PathLike, Texts
from edge_runtime.opened_package import Parts
from edge_runtime.training.budget import Budget
from edge_runtime.training.tiers import AUTO
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.enrolment import Enrolment
from edge_runtime.wire.label_prior import STRENGTHS
from edge_runtime.wire.manifest import Manifest

_LOG: Final = logging.getLogger("edge_runtime")


class Model:
    """A device package opened for work, with the bank that predicts.

    ``Model.open(...)`` makes one; use it as a context manager, or ``close`` it. One thread at a time may call it. What
    is refused is raised as a ``FederationError`` whose text is one line: what came, what was expected, what to do.
    """

    def __init__(self, parts: Parts, warn: Callable[[str], None]) -> None:
        self._parts, self._warn = parts, warn
        self._bank, self._bank_name = parts.initial_bank(), PACKAGES_OWN
        self._answering = Answering(parts, self._bank)

    @classmethod
    def open(
        cls,
        package: PathLike,
        *,
        bank: PathLike | None = None,
        state: PathLike | None = None,
        threads: int | None = None,
        maker: str = "",
        warn: Callable[[str], None] = _LOG.warning,
    ) -> Self:
        """Open a package folder; every file of it is compared with its digest.

        Args:
            package: folder that ``export.build_package`` made.
            bank: to start from, as for ``load``; without it and ``state`` the package's own, which has learned nothing.
            state: directory of a device that took part in a federation, in place of ``bank``: its newest version.
            threads: for computing, over the whole process; None takes what the device profile says.
            maker: public key in hex (64 digits) that must have signed the package; "" asks for no signature.
            warn: takes a line about what was got around, such as a cache that cannot be written.

        Raises:
            PackageError: when a file is missing or was changed, or ``maker`` did not sign it.
            ProgramError: when the program cannot be run on this machine.
            BankError: when the bank is of another federation.
            ConfigError: for a bank and a state, or a state that is none.
        """
        if bank is not None and state is not None:
            raise ConfigError("a bank and a state came; give one of them")
        parts = Parts.open(Path(package), threads, key_bytes("maker", maker))
        try:
            model = cls(parts, warn)
            if bank is not None:
                model.load(bank)
            elif state is not None:
                received, version = received_bank(parts, Path(state))
                model._take(received, f"version {version}")
        except BaseException:
            parts.close()
            raise
        return model

    # --- what it is ----------------------------------------------------------------------------------------------

    @property
    def manifest(self) -> Manifest:
        """The package's manifest: what was exported, for which device, with which costs."""
        return self._parts.manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a classifier tells apart; none of a language model."""
        return self.manifest.architecture.labels

    @property
    def learned(self) -> bool:
        """Whether the bank has learned labels; until then all are equally likely."""
        return self._bank.learned

    @property
    def bank_name(self) -> str:
        """Where the bank is from, for people."""
        return self._bank_name

    # --- predict -------------------------------------------------------------------------------------------------

    def predict(
        self, texts: Iterable[str], *, label_counts: Sequence[float] = (), label_prior: float = 0.0
    ) -> list[Prediction]:
        """Return what the bank makes of each text, in order.

        Args:
            texts: any number; a single string is refused, since it would be taken letter by letter.
            label_counts: texts of each label that this device has, in the order of ``labels``; with ``label_prior``.
            label_prior: 0 (off), 0.5 or 1: how far predictions follow ``label_counts``, as Bayes' rule does.

        Raises:
            ConfigError: where the package continues texts.
            DataError: for a single string, or counts that do not fit.
            ProgramError: when the program fails.
        """
        return list(self.predictions(texts, label_counts=label_counts, label_prior=label_prior))

    def predictions(
        self, texts: Iterable[str], *, label_counts: Sequence[float] = (), label_prior: float = 0.0
    ) -> Iterator[Prediction]:
        """Yield what ``predict`` returns, each as soon as it is known; a program's call takes several texts."""
        return self._answering.predictions(texts, label_counts, label_prior)

    def continuation(
        self, text: str, *, max_new_tokens: int = 32, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[str]:
        """Yield the continuation of a text piece by piece, by a language model.

        Args:
            text: to continue; of a long one the end is seen.
            max_new_tokens: at most so many.
            temperature: 0 takes the likeliest token; more samples.
            seed: of the sampling.

        Raises:
            ConfigError: where the package labels texts.
            DataError: for a text without a token.
        """
        return self._answering.continuer().pieces(text, max_new_tokens, Sampling(temperature, seed))

    def suggest(self, text: str, count: int = 3) -> list[tuple[str, float]]:
        """Return the ``count`` likeliest next tokens of a text with their probabilities, by a language model.

        Raises:
            ConfigError: where the package labels texts.
            DataError: for a text without a token.
        """
        return self._answering.continuer().suggest(text, count)

    def evaluate(
        self,
        texts: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        *,
        csv: PathLike | None = None,
        text_column: str = "",
        label_column: str = "",
        label_counts: Sequence[float] = (),
        label_prior: float = 0.0,
        progress: Callable[[Progress], None] = nobody,
    ) -> Evaluation:
        """Measure the bank: accuracy on labelled texts, or perplexity of a language model on a file.

        Args:
            texts: in memory; or else ``csv``.
            labels: one of the package's labels for each text.
            csv: a file of both, CSV or JSON lines (docs/data.md).
            text_column: of the file; "": text.
            label_column: of the file; "": label.
            label_counts: as for ``predict``.
            label_prior: as for ``predict``.
            progress: told how far it is.

        Raises:
            ConfigError: for texts and a file, or neither.
            DataError: when the file or a label cannot be used.
        """
        asked = Texts.of(texts, labels, csv, Columns(text_column, label_column))
        return self._answering.evaluate(asked, label_counts, label_prior, progress)

    # --- learn ---------------------------------------------------------------------------------------------------

    def train(
        self,
        texts: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        *,
        csv: PathLike | None = None,
        test_csv: PathLike | None = None,
        text_column: str = "",
        label_column: str = "",
        epochs: float = 1.0,
        steps: int | None = None,
        learning_rate: float = 4e-3,
        shared_learning_rate: float | None = None,
        head_learning_rate: float = 0.0,
        final_share: float = 0.1,
        weight_decay: float = 0.0,
        experts: Sequence[int] = (),
        rotate_every: int = 0,
        head: Head = "auto",
        seed: int = 0,
        tier: str = AUTO,
        prefix_cache: PathLike | None = None,
        prefix_cache_mb: float = DEFAULT_MB,
        prefix_rounding: str = DEFAULT_ROUNDING,
        save: PathLike | None = None,
        progress: Callable[[Progress], None] = nobody,
        stopped: Callable[[], bool] = never,
    ) -> TrainReport:
        """Train experts of the bank on this machine's texts; nothing is sent anywhere.

        The model then predicts with what came of it.

        Args:
            texts: in memory; or else ``csv``.
            labels: one of the package's labels for each text.
            csv: a file of both, CSV or JSON lines, for a language model also plain lines (docs/data.md).
            test_csv: held-out texts, for accuracy (or perplexity) before and after.
            text_column: of both files; "": text.
            label_column: of both files; "": label.
            epochs: passes over the texts, 0.5 is half of one; not used with ``steps``.
            steps: optimizer steps.
            learning_rate: of experts, at the first step.
            shared_learning_rate: of shared experts; None: the same.
            head_learning_rate: of the head; 0 leaves it as class means.
            final_share: share of the learning rates that is left at the last step.
            weight_decay: decoupled, as in AdamW.
            experts: indices to train; (): as many as the program has slots, and with ``rotate_every`` all.
            rotate_every: train the next experts after so many steps; 0: no rotation.
            head: where the head starts: "class-means" of frozen features of the texts, or "bank" as it is; "auto": from
                class means unless the bank has learned labels.
            seed: of the order of texts.
            tier: name of a program size as `edge_runtime doctor` lists them; "auto": the largest that suits.
            prefix_cache: folder for what frozen layers compute (packages of ``layers="last:N"``); None: below ~/.cache.
            prefix_cache_mb: its largest size in MB (10^6 bytes); 0: none.
            prefix_rounding: precision of what is kept there.
            save: folder to write the bank to as soon as it is trained, before it is measured.
            progress: told before and after each step, and how far the stages around training are.
            stopped: asked between steps; once it is true, what was reached is kept.

        Raises:
            ConfigError: for arguments that cannot work together.
            DataError: when a file or a label cannot be used.
            BudgetError: when no program size fits.
        """
        course = Course(
            Texts.of(texts, labels, csv, Columns(text_column, label_column)), Path(test_csv) if test_csv else None,
            epochs, steps, learning_rate, shared_learning_rate, head_learning_rate, final_share, weight_decay,
            tuple(experts), rotate_every, head, seed, tier,
        )  # fmt: skip
        check_choice("prefix_rounding", prefix_rounding, ROUNDINGS)
        check_amounts(prefix_cache_mb=prefix_cache_mb)
        folder = Path(prefix_cache) if prefix_cache is not None else default_prefixes()
        cache = partial(PrefixCache, folder, prefix_cache_mb, self._warn)
        self._answering.release()
        run = LocalRun(self._parts, course, cache, prefix_rounding, progress)
        try:
            before = run.prepare(self._bank, self._bank_name)
            self._take(run.train(stopped), "the bank that was trained here")
            if save is not None:
                self.save(save)
            return run.report(before)
        finally:
            unload_training(self._parts)

    # --- banks on disk -------------------------------------------------------------------------------------------

    def save(self, path: PathLike) -> None:
        """Write the bank to ``bank.safetensors`` in a folder, whole or not at all; the folder is made if need be.

        Raises:
            EdgeError: when the disk refuses.
        """
        write_bank(self._bank, Path(path), self.manifest.architecture.digest())

    def load(self, path: PathLike) -> None:
        """Take a bank: that of a folder (of ``save`` or `broker_server export`), or a file; else nothing changes.

        Raises:
            BankError: when it cannot be read, is for another federation, or is not the version that stands beside it.
        """
        self._take(read_bank(self._parts, Path(path)), str(path))

    # --- take part -----------------------------------------------------------------------------------------------

    def join(
        self,
        where: PathLike,
        texts: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        *,
        csv: PathLike | None = None,
        text_column: str = "",
        label_column: str = "",
        device: str = "",
        federation: str = "",
        state: PathLike | None = None,
        rounds: int = 0,
        ca: PathLike | None = None,
        certificate: PathLike | None = None,
        key: PathLike | None = None,
        gateway_key: str = "",
        allow_plaintext: bool = False,
        mqtt: str = Mqtt.AUTO,
        codec: str = "",
        budget: Mapping[str, float] | None = None,
        tier: str = AUTO,
        checkpoint_s: float = 5.0,
        label_prior: float = 0.0,
        prefix_cache: PathLike | None = None,
        prefix_cache_mb: float = DEFAULT_MB,
        prefix_rounding: str = DEFAULT_ROUNDING,
        events: Callable[[DeviceEvent], None] = nobody,
        progress: Callable[[Progress], None] = nobody,
        stopped: Callable[[], bool] = never,
    ) -> JoinReport:
        """Take part in a federation, until the gateway has done its rounds or this device its own.

        What leaves the device: deltas of experts, counts, losses, step times, class sums; never text. The same call
        goes on where a killed one was. Afterwards the model predicts with the newest version that came.

        Args:
            where: enrolment file that ``broker_server enroll`` wrote, or the broker's URL (mqtts://HOST:PORT).
            texts: in memory, as for ``train``; or else ``csv``.
            labels: one of the package's labels for each text.
            csv: a file of both.
            text_column: of the file; "": text.
            label_column: of the file; "": label.
            device: name in the federation; "": this machine's. An enrolment says it, and federation, keys and
                certificates, too: beside one they are refused.
            federation: its name; "": default.
            state: directory for progress; None: below ~/.local/state, by federation and device.
            rounds: end after so many deltas were decided on; 0: when the gateway is done.
            ca: PEM file of the authority that signed the broker's certificate; None: the system's.
            certificate: PEM file of this device's certificate.
            key: PEM file of its private key.
            gateway_key: public key in hex; what the gateway did not sign with it is refused. "": takes all.
            allow_plaintext: take mqtt:// to another machine, where anyone on the way can read and change what is sent.
            mqtt: version that is spoken: "3" (3.1.1), "5", or "auto".
            codec: offer only "float32" or "int8" for deltas; "": both.
            budget: limits in place of the device profile's, 0 for none: memory_mib, storage_mb, bytes_up and
                bytes_down (a round), round_seconds.
            tier: name of a program size, or "auto".
            checkpoint_s: at most so many seconds of training are lost by a kill.
            label_prior: 0, 0.5 or 1: how far predictions with this state follow this device's labels; never sent.
            prefix_cache: as for ``train``; None: in the state directory.
            prefix_cache_mb: as for ``train``.
            prefix_rounding: as for ``train``.
            events: takes what happens, as it happens, on this thread.
            progress: told how far the class sums are.
            stopped: asked between steps and at least twice a second; once it is true, the call returns.

        Raises:
            ConfigError: for arguments that cannot work together, or an enrolment of another package.
            EnrolmentError: when the file is no enrolment.
            StoreError: when the state directory belongs to another device, or is in use.
            DataError: when a file or a label cannot be used.
            ExpelledError: when the gateway refuses this device for good.
        """
        files = {"ca": ca, "certificate": certificate, "key": key}
        way = way_to(where, files, allow_plaintext=allow_plaintext)
        if isinstance(way, Enrolment):
            also = {"device": device, "federation": federation, **files, "allow_plaintext": allow_plaintext}
            check_alone({**also, "gateway_key": gateway_key})
            device, federation, gateway_key = way.device, way.federation, way.gateway_key
        check_choice("mqtt", mqtt, [*Mqtt])
        check_choice("codec", codec, ["", *CODECS])
        check_choice("label_prior", label_prior, STRENGTHS)
        check_choice("prefix_rounding", prefix_rounding, ROUNDINGS)
        check_amounts(checkpoint_s=checkpoint_s, prefix_cache_mb=prefix_cache_mb)
        limits = limited(Budget.from_profile(self.manifest.profile), budget or {})
        config = RunConfig(
            device or default_device(),
            federation or "default",
            rounds,
            codecs=(CODECS[codec],) if codec else tuple(sorted(CODECS.values())),
            budget=limits,
            checkpoint_s=checkpoint_s,
            gateway_key=key_bytes("gateway_key", gateway_key),
            label_prior=label_prior,
        )

        def prefixes(folder: Path) -> PrefixCache:
            return PrefixCache(Path(prefix_cache) if prefix_cache else folder, prefix_cache_mb, self._warn)

        how = Participation(
            way, config, Texts.of(texts, labels, csv, Columns(text_column, label_column)),
            Path(state) if state else None, tier, Mqtt(mqtt), prefixes, prefix_rounding, stopped, events, progress,
        )  # fmt: skip
        self._answering.release()
        try:
            report, bank = take_part(self._parts, how)
        finally:
            unload_training(self._parts)
        if bank is not None:
            self._take(bank, f"version {report.version}")
        return report

    # --- the end -------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the program; what was learned and not saved is lost. Closing twice does nothing."""
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, bank: Bank, name: str) -> None:
        """Predict with another bank from now on."""
        self._answering.release()
        self._bank, self._bank_name, self._answering = bank, name, Answering(self._parts, bank)
