"""What a bank makes of texts: probabilities of labels, and the feature that they come from.

Axes: C labels, d width, S tokens that the program takes, H experts that it holds, M of the bank.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.program.signature import Executor
from edge_runtime.program.slots import predict_inputs
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.manifest import Manifest
from edge_runtime.wire.tensors import Array


class Predictor:
    """Texts to probabilities and features with one bank.

    Args:
        program: of the package.
        manifest: of the package.
        tokenizer: of the package.
        bank: whose experts run; the first H of them where the program holds fewer than M.

    ``length`` is S, the tokens that the program takes.
    """

    def __init__(self, program: Executor, manifest: Manifest, tokenizer: Tokenizer, bank: Bank) -> None:
        self._program, self._tokenizer, self._method = program, tokenizer, manifest.predict_method
        shapes = {tensor.name: tensor.shape for tensor in manifest.methods[self._method].inputs}
        self.length = shapes[ports.IDS][1]
        self._inputs: dict[str, npt.NDArray[Any]] = dict(
            predict_inputs(bank, manifest.architecture, shapes[ports.EXPERTS][1])
        )

    def __call__(self, text: str) -> tuple[Array, Array]:
        """Return probabilities [C] and the L2-normalized feature [d] of one text."""
        return self.of_ids(*self._tokenizer.encode([text], self.length))

    def of_ids(self, ids: npt.NDArray[np.int64], mask: Array) -> tuple[Array, Array]:
        """Return probabilities [C] and feature [d] for ids [1, S] and mask [1, S]."""
        outputs = self._program.execute(self._method, {**self._inputs, ports.IDS: ids, ports.MASK: mask})
        return outputs[ports.PROBABILITIES][0], outputs[ports.FEATURES][0]
