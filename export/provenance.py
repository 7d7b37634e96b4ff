"""Where a node of a traced graph comes from: the layer, the kind of operation, and whether it is the backward's.

Tracing sees operations, not modules. So while the model runs, the modules say what they are (``within``), and a
dispatch mode writes it on every node that appears. The backward is told by autograd's own numbers: an autograd node
has the number of the forward operation that made it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import TorchDispatchMode

KEY: Final = "place"
"""Of ``node.meta``."""
KINDS: Final = ("embedding", "attention", "feed-forward", "experts", "norms", "head", "optimizer", "other")


@dataclass(frozen=True)
class Place:
    """Where a node comes from.

    Args:
        kind: one of ``KINDS``.
        layer: number of the backbone's layer; None outside of the layers.
        backward: whether autograd made it.
    """

    kind: str = "other"
    layer: int | None = None
    backward: bool = False


NOWHERE: Final = Place()
_open: list[Place] = [NOWHERE]


def place_of(node: Node) -> Place:
    """Return where a node comes from; ``NOWHERE`` when nobody said."""
    place = node.meta.get(KEY, NOWHERE)
    assert isinstance(place, Place)  # noqa: S101 - a promised type
    return place


@contextmanager
def within(kind: str | None = None, layer: int | None = None) -> Iterator[None]:
    """Say what the operations made inside are; what is not given stays as it is around."""
    outer = _open[-1]
    _open.append(Place(kind or outer.kind, outer.layer if layer is None else layer))
    try:
        yield
    finally:
        _open.pop()


def watch(stack: nn.Module) -> None:
    """Let the layers of a model say where they are.

    Args:
        stack: the list of layers; a layer's attention is the child with "att" in its name, a norm is a module with
            "norm" in its class's name, and everything else in a layer is its feed-forward.
    """
    for number, layer in enumerate(stack.children()):
        _announce(layer, "other", number)
        for name, child in layer.named_children():
            _announce(child, "attention" if "att" in name.lower() else "feed-forward", number)
        for module in layer.modules():
            if "norm" in type(module).__name__.lower():
                _announce(module, "norms", number)


def _announce(module: nn.Module, kind: str, layer: int) -> None:
    inner: Callable[..., Any] = module.forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the module takes
        with within(kind, layer):
            return inner(*args, **kwargs)

    module.forward = forward


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call] # untyped library
    """Writes on every node that tracing adds where it comes from."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._by_number: dict[int, Place] = {}
        self._last: Node | None = None

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        here = self._here()
        result = func(*args, **(kwargs or {}))
        tracing = get_proxy_mode()
        if tracing is not None:
            self._stamp(tracing.tracer.graph, here)
        return result

    def _here(self) -> Place:
        running = torch._C._current_autograd_node()  # noqa: SLF001 - autograd's only way to say it
        if running is not None:
            return replace(self._by_number.get(running._sequence_nr(), NOWHERE), backward=True)  # noqa: SLF001
        here = _open[-1]
        self._by_number.setdefault(torch._C._autograd._get_sequence_nr() - 1, here)  # noqa: SLF001
        return here

    def _stamp(self, graph: torch.fx.Graph, here: Place) -> None:
        last = next(reversed(graph.nodes))
        node = last
        while node is not self._last and node.op != "root" and KEY not in node.meta:
            node.meta[KEY] = here
            node = node.prev
        self._last = last


def recorded(step: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """Return ``step`` so that tracing it records where its nodes come from."""

    def wrapped(*tensors: Tensor) -> tuple[Tensor, ...]:
        with Recorder():
            return step(*tensors)

    return wrapped


@contextmanager
def inherited(*modules: GraphModule) -> Iterator[None]:
    """Let every node that a pass adds inherit from the node that it is inserted before, which it replaces."""
    with ExitStack() as stack:
        for module in modules:
            module._register_create_node_hook(_inherit)  # noqa: SLF001 - torch.fx's way to see new nodes
            stack.callback(module._unregister_create_node_hook, _inherit)  # noqa: SLF001
        yield


def _inherit(node: Node) -> None:
    insert: Any = node.graph._insert  # noqa: SLF001 - a method of the node beside which it will stand
    neighbour: Node = insert.__self__
    if KEY in neighbour.meta:
        node.meta[KEY] = neighbour.meta[KEY]
