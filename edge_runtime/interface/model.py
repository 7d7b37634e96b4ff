"""``Model``: a device package that predicts, learns from this machine's texts, and takes part in a federation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from edge_runtime.data.prefix_cache import DEFAULT_MB, PrefixCache
from edge_runtime.data.trunk import DEFAULT_ROUNDING, ROUNDINGS
from edge_runtime.federation.config import CODECS, RunConfig, default_device, default_prefixes
from edge_runtime.federation.link import Mqtt
from edge_runtime.federation.report import DeviceEvent
from edge_runtime.interface.arguments import check_amounts, check_choice, key_bytes, limited
from edge_runtime.interface.local_training import Course, Head, LocalRun, unload_training
from edge_runtime.interface.opened_model import OpenedModel
from edge_runtime.interface.participation import Participation, check_alone, take_part, way_to
from edge_runtime.interface.results import JoinReport, Progress, TrainReport, never, nobody
from edge_runtime.interface.texts import PathLike, Texts
from edge_runtime.training.budget import Budget
from edge_runtime.training.tiers import AUTO
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.enrolment import Enrolment
from edge_runtime.wire.label_prior import STRENGTHS


class Model(OpenedModel):
    """A device package opened for work, with the bank that predicts.

    ``Model.open(...)`` makes one; use it as a context manager, or ``close`` it. One thread at a time may call it; two
    models may work on two threads. What cannot be done raises a ``FederationError``, one line of text for people: what
    came, what was expected, what to do.
    """

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

        Afterwards the model predicts with the trained bank.

        Args:
            texts: in memory; or else ``csv``.
            labels: one of the package's for each text, for a classifier; a language model takes none.
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
            prefix_cache_mb: its largest size in MB (10^6 bytes); 0: no cache.
            prefix_rounding: precision of what is kept there, "int8" or "fp16".
            save: folder to which the bank is written as soon as it is trained, before it is measured.
            progress: called with how far it is, before and after each step and in the stages around training.
            stopped: asked between steps; once it returns true, training ends and what was reached is kept.

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
        """Take part in a federation until the gateway has done all rounds, or this device as many as it was asked for.

        What leaves the device: what changed in its experts (deltas), counts of examples, losses, step times, its
        budget and, once, the sums of features by label; never text. If the program is killed, the same call goes on
        from there. Afterwards the model predicts with the newest version that came.

        Args:
            where: enrolment file that ``broker_server enroll`` wrote, or the broker's URL (mqtts://HOST:PORT).
            texts: in memory, as for ``train``; or else ``csv``.
            labels: one of the package's for each text, for a classifier; a language model takes none.
            csv: a file of both.
            text_column: of the file; "": text.
            label_column: of the file; "": label.
            device: name in the federation; "": this machine's. An enrolment says it, and federation, keys and
                certificates, too: beside one they are refused.
            federation: its name; "": default.
            state: directory for progress; None: one below ~/.local/state, named after federation and device.
            rounds: return after so many rounds, each when the gateway has decided on this device's delta; 0: when the
                gateway is done.
            ca: PEM file of the authority that signed the broker's certificate; None: the system's authorities.
            certificate: PEM file of this device's certificate.
            key: PEM file of its private key.
            gateway_key: the gateway's public key in hex; messages that it did not sign are refused. "": all are taken.
            allow_plaintext: allow mqtt:// to another machine, where anyone on the way can read and change what is sent.
            mqtt: version of MQTT: "3" (3.1.1), "5", or "auto".
            codec: offer only "float32" or only "int8" for deltas; "": both.
            budget: limits in place of those in the device profile: memory_mib, storage_mb, bytes_up and bytes_down (of
                a round), round_seconds; 0: no limit.
            tier: name of a program size, as for ``train``.
            checkpoint_s: a kill loses at most so many seconds of training.
            label_prior: kept in ``state`` for later predictions, as for ``predict``; never sent.
            prefix_cache: as for ``train``; None: in the state directory.
            prefix_cache_mb: as for ``train``.
            prefix_rounding: as for ``train``.
            events: called with what happens, when it happens, on the thread that called ``join``.
            progress: called with how far the sums of features are.
            stopped: asked between steps and at least twice a second; once it returns true, ``join`` returns.

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
