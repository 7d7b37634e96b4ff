"""A device package opened for work, with one bank: what it is, what it answers, how good it is; banks on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edge_runtime.errors import ConfigError
from edge_runtime.inference.continuation import Sampling
from edge_runtime.interface.answering import Answering
from edge_runtime.interface.arguments import key_bytes
from edge_runtime.interface.banks import read_bank, received_bank, write_bank
from edge_runtime.interface.local_training import PACKAGES_OWN
from edge_runtime.interface.results import Evaluation, Prediction, Progress, nobody
from edge_runtime.interface.texts import PathLike, Texts
from edge_runtime.opened_package import Parts
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.manifest import Manifest

_LOG: Final = logging.getLogger("edge_runtime")


class OpenedModel:
    """What ``Model`` is before it learns: a package, and the bank that predicts."""

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
        """Measure the bank: accuracy on labelled texts, or perplexity of a language model on texts.

        Args:
            texts: in memory; or else ``csv``.
            labels: one of the package's for each text, for a classifier; a language model takes none.
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
