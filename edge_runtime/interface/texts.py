"""Which texts are meant: those that a caller has in memory, or those of a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from edge_runtime.data.batches import Source
from edge_runtime.data.examples import FileSource
from edge_runtime.data.lengths import SAMPLE, lengths_of
from edge_runtime.data.memory import MemorySource
from edge_runtime.data.windows import WindowSource
from edge_runtime.errors import ConfigError
from edge_runtime.opened_package import Parts
from edge_runtime.training.watch import Watch
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.manifest import Tier
from edge_runtime.wire.manifest_checks import CAUSAL_LM

PathLike = str | os.PathLike[str]
Taken = FileSource | MemorySource | WindowSource


@dataclass(frozen=True)
class Texts:
    """Either texts and labels, or a file.

    Args:
        texts: in memory.
        labels: of each.
        file: in their place.
        columns: of the file.
    """

    texts: Sequence[str] = ()
    labels: Sequence[str] = ()
    file: Path | None = None
    columns: Columns = USUAL

    @classmethod
    def of(
        cls, texts: Sequence[str] | None, labels: Sequence[str] | None, file: PathLike | None, columns: Columns
    ) -> Self:
        """Return what a caller gave.

        Raises:
            ConfigError: when it is both or neither, or one text where a sequence is expected.
        """
        if (texts is None) == (file is None) or (texts is None) != (labels is None):
            raise ConfigError("give texts with their labels, or csv=FILE, and not both")
        if isinstance(texts, str) or isinstance(labels, str):
            raise ConfigError("texts and labels are sequences of one string each for every text; put them into lists")
        return cls(tuple(texts or ()), tuple(labels or ()), Path(file) if file is not None else None, columns)

    def source(self, parts: Parts, tier: Tier) -> Taken:
        """Return them as a package learns from them: labelled texts, or windows as long as the tier's.

        Raises:
            ConfigError: for texts in memory where the package continues texts.
            DataError: when the file or a label cannot be used.
        """
        if self.file is not None:
            return parts.examples(self.file, tier, self.columns)
        if parts.manifest.architecture.task == CAUSAL_LM:
            raise ConfigError("this package continues texts and learns from a file of them; give csv=FILE")
        return MemorySource.of(self.texts, self.labels, parts.manifest.architecture.labels)


def suited(watch: Watch, parts: Parts, source: Source) -> Watch:
    """Return the watch without tiers of more rows than the first texts of the data need."""
    longest = watch.largest.seq_len
    return watch.for_texts(lambda: lengths_of(source, SAMPLE, parts.tokenizer, longest).tolist())
