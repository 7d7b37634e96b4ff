"""The gateway's program: the same inference as ONNX, the bank as inputs, any number of texts of any length.

Outputs: ``probabilities`` [N, C] of the labels, or [N, V] of the token after each text; a language model also gives
``losses`` [N, T-1], -log p of each token but the first (0 at padding), which the gateway makes perplexities of.

The frozen weights are those that a rounded program holds, stored as int8 with ``DequantizeLinear`` (levels of 4 bits,
too: ``onnx_blocks``): the gateway judges the model that devices run, and the file is a quarter.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import ModelShape
from export.proving.onnx_blocks import Blocks
from export.proving.reference import Reference, quantize_in_place
from export.source.families import Family

Floats = npt.NDArray[np.float32]
OPSET: Final = 18
POSITIONS: Final = 512
"""Longest text."""
_SMALLEST: Final = 1 << 14
"""Values of the smallest weight that is worth storing as int8."""


class _Inference(nn.Module):
    """Positional arguments in the order of the ONNX program's inputs."""

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self.reference = reference

    # The exporter's file depends on this argument's name: another one computes the same from other bytes.
    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Map bank tensors, ids [N, T] and mask [N, T] to the outputs."""
        names = [name for name in input_names(self.reference.model) if name not in (ports.IDS, ports.MASK)]
        bank = dict(zip(names, given[:-2], strict=True))
        bank[ports.GATE_SCALE] = torch.ones(bank[ports.EXPERTS].shape[:2])
        if self.reference.model.vocabulary:
            return _continued(self.reference.token_logits(bank, given[-2], given[-1]), given[-2], given[-1])
        return (torch.softmax(self.reference.logits(bank, given[-2], given[-1]), dim=-1),)


def _continued(logits: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities [N, V] after the last real token and the losses [N, T-1] from logits [N, T, V]."""
    log_probabilities = torch.log_softmax(logits, dim=-1)
    losses = -log_probabilities[:, :-1].gather(2, ids[:, 1:].unsqueeze(-1)).squeeze(-1) * mask[:, 1:]
    last = (mask.sum(1, keepdim=True) - 1).clamp(min=0).to(torch.int64)  # [N, 1]
    chosen = log_probabilities.gather(1, last.unsqueeze(-1).expand(-1, 1, log_probabilities.shape[2])).squeeze(1)
    return torch.exp(chosen), losses


def input_names(model: ModelShape) -> tuple[str, ...]:
    """Return the names of the program's inputs, in order."""
    head = (ports.HEAD, ports.MEAN) if model.bank.labels else ()
    return (ports.EXPERTS, *((ports.SHARED,) if model.bank.shared_rank else ()), *head, ports.IDS, ports.MASK)


def output_names(model: ModelShape) -> tuple[str, ...]:
    """Return the names of the program's outputs, in order."""
    return (ports.PROBABILITIES, ports.LOSSES) if model.vocabulary else (ports.PROBABILITIES,)


def write_onnx(
    backbone: nn.Module,
    family: Family,
    model: ModelShape,
    quantize: Quantization,
    path: Path,
) -> None:
    """Export a stock backbone (changed in place) and check the file with onnx's own checker."""
    int4, rounded = quantize == Quantization.INT4, quantize != Quantization.NONE
    blocks = Blocks(backbone) if int4 else None
    if rounded:
        quantize_in_place(backbone, family, int4=int4)
    module = _Inference(Reference(backbone, family, model.bank.layers, model)).eval()
    texts = (3, 7)
    shapes = {
        ports.EXPERTS: (len(model.bank.layers), model.bank.experts, model.bank.expert_size),
        ports.SHARED: (len(model.bank.layers), model.bank.shared_size),
        ports.HEAD: (model.bank.head_size,),
        ports.MEAN: (model.bank.width,),
    }
    names = input_names(model)
    samples = [torch.zeros(shapes[name]) for name in names[:-2]]
    samples += [torch.ones(texts, dtype=torch.int64), torch.ones(texts)]
    axes = {0: torch.export.Dim("texts", max=4096), 1: torch.export.Dim("tokens", max=POSITIONS)}
    dynamic = tuple(axes if name in (ports.IDS, ports.MASK) else None for name in names)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            tuple(samples),
            dynamo=True,
            input_names=list(names),
            output_names=list(output_names(model)),
            dynamic_shapes=(dynamic,),
            opset_version=OPSET,
        )
    assert program is not None  # noqa: S101 - a program is returned when no file is given
    for node in program.model.graph:
        for value in node.outputs:
            if value.name in names:  # a decoder's norm makes a value "mean", which is a name of ours
                value.name = f"inner_{value.name}"
    proto = program.model_proto
    if blocks:
        blocks.store(proto)
    if rounded:
        _store_int8(proto)
    for place in (*proto.graph.node, *proto.graph.value_info):
        place.doc_string = ""
        del place.metadata_props[:]
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def _store_int8(proto: onnx.ModelProto) -> None:
    """Replace float32 weights that are exactly int8 times a scale along one axis by int8 and a DequantizeLinear."""
    graph = proto.graph
    for place, tensor in enumerate(list(graph.initializer)):
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALLEST:
            continue
        for axis in (0, 1):
            levels, scales = _levels(values, axis)
            if np.allclose(levels * np.expand_dims(scales, 1 - axis), values, rtol=1e-6, atol=0):
                _replace(graph, place, (levels.astype(np.int8), scales), axis)
                break


def _levels(values: Floats, axis: int) -> tuple[Floats, Floats]:
    scales = np.maximum(np.abs(values).max(axis=1 - axis), 1e-8).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(values / np.expand_dims(scales, 1 - axis)), -127, 127).astype(np.float32), scales


def _replace(graph: onnx.GraphProto, place: int, quantized: tuple[npt.NDArray[np.int8], Floats], axis: int) -> None:
    name, (levels, scales) = graph.initializer[place].name, quantized
    graph.initializer[place].CopyFrom(numpy_helper.from_array(levels, f"{name}.int8"))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}.scale"))
    node = helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=axis)
    graph.node.insert(0, node)


def probabilities(path: Path, bank: Bank, ids: Tensor, mask: Tensor) -> Floats:
    """Run the program by onnxruntime: probabilities [N, C]."""
    import onnxruntime  # noqa: PLC0415 - heavy

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tensors = {ports.EXPERTS: bank.experts, ports.SHARED: bank.shared, ports.HEAD: bank.head, ports.MEAN: bank.mean}
    wanted = {entry.name for entry in session.get_inputs()}
    feeds = {name: array for name, array in tensors.items() if name in wanted}
    (result,) = session.run([ports.PROBABILITIES], {**feeds, ports.IDS: ids.numpy(), ports.MASK: mask.numpy()})
    return np.asarray(result)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
