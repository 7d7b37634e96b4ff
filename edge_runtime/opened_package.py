"""A package opened for work: manifest, program, tokenizer. What every subcommand starts with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_runtime.data.examples import FileSource, open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.windows import WindowSource, open_windows
from edge_runtime.program.program import Program
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.manifest import Manifest, Package, Tier
from edge_runtime.wire.manifest_checks import CAUSAL_LM


@dataclass(frozen=True)
class Parts:
    """Args: package: every file of it agrees with its digest."""

    package: Package
    program: Program
    tokenizer: Tokenizer

    @property
    def manifest(self) -> Manifest:
        """The package's manifest."""
        return self.package.manifest

    @classmethod
    def open(cls, folder: Path, threads: int | None = None, maker: bytes = b"") -> Self:
        """Open a package folder.

        Args:
            folder: made by export.
            threads: for the program; None takes the profile's, as far as this machine has them.
            maker: public key that must have signed the package; empty asks for no signature.

        Raises:
            PackageError: when a file is missing or was changed, ``maker`` did not sign the package, or its tokenizer
                and its program do not fit.
            ProgramError: when the program cannot be run here.
        """
        package = Package.open(folder, maker=maker)
        tokenizer = Tokenizer(package.path("tokenizer.json"))
        manifest = package.manifest
        check_ids(tokenizer, manifest)
        count = threads or min(manifest.threads, os.cpu_count() or 1) or None
        program = Program.open(package.path("program.pte"), manifest.methods, threads=count)
        return cls(package, program, tokenizer)

    def source(self, path: Path, columns: Columns = USUAL) -> FileSource:
        """Index a file of texts with the package's labels."""
        return open_source(path, self.manifest.architecture.labels, columns)

    def examples(self, path: Path, tier: Tier, columns: Columns = USUAL) -> FileSource | WindowSource:
        """Index a file of what the package learns from: labelled texts, or windows of text as long as the tier's."""
        architecture = self.manifest.architecture
        if architecture.task == CAUSAL_LM:
            return open_windows(path, self.tokenizer, architecture.end_token, tier.seq_len, columns)
        return self.source(path, columns)

    def initial_bank(self) -> Bank:
        """Return version 0."""
        return self.package.bank()

    def close(self) -> None:
        """Free the program."""
        self.program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_ids(tokenizer: Tokenizer, manifest: Manifest) -> None:
    """Refuse a tokenizer with more ids than words, as far as the manifest tells them; ``doctor`` tries it with any.

    Raises:
        PackageError: with both numbers.
    """
    if manifest.architecture.task == CAUSAL_LM:
        outputs = {tensor.name: tensor.shape for tensor in manifest.methods[manifest.predict_methods[0]].outputs}
        words = outputs["probabilities"][-1]
        if tokenizer.highest_id >= words:
            raise PackageError(
                f"tokenizer.json gives ids up to {tokenizer.highest_id}, and the program has {words} words; export the"
                " package again"
            )
