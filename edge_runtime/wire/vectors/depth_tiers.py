"""Cases of tiers that train the upper layers alone: one beside a tier of all layers, and one lie each about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from edge_runtime.wire.program_interface import MethodKind, MethodShape, ModelShape, method_spec
from edge_runtime.wire.strict_json import plain_tree

Tree = dict[str, Any]
Change = Callable[[Tree], object]
_TRUNK: Final = MethodShape(MethodKind.TRUNK, 0, 0, 8, 5, 0)


def spec_tree(model: ModelShape, method: MethodShape) -> Tree:
    """Return a method's inputs and outputs as manifest.json has them."""
    spec: Tree = plain_tree(method_spec(model, method))
    return spec


@dataclass(frozen=True)
class DepthTiers:
    """Changes of a manifest of two adapted layers. Args: model: sizes; train: the method of its only tier."""

    model: ModelShape
    train: MethodShape

    def add(self, tree: Tree) -> None:
        """Add a tier of the upper layer, with its method and its trunk."""
        train, trunk = replace(self.train, cut=True, layers=1), replace(_TRUNK, layers=1)
        tree["tiers"].append({**tree["tiers"][0], "method": train.name, "layers": 1, "trunk_methods": [trunk.name]})
        self._list(tree, train, trunk)

    def faults(self) -> dict[str, tuple[str, Change]]:
        """Return a comment and a change by the name of the case."""
        return {
            "depth_other_method": ("a method of two layers in a tier of one", self._other_method),
            "depth_no_trunk": ("nothing runs the layer below", self._with(trunk_methods=[])),
            "depth_few_held": ("experts that nobody runs in the layer above", self._few_held),
            "depth_other_trunk": ("a trunk without the experts of the lower layer", self._other_trunk),
            "depth_two_of_a_trunk": ("one trunk for two depths", self._two_of_a_trunk),
            "depth_all": ("methods of one layer in a tier of two", self._with(layers=2)),
        }

    def _list(self, tree: Tree, *methods: MethodShape) -> None:
        tree["methods"] |= {method.name: spec_tree(self.model, method) for method in methods}

    def _with(self, **values: object) -> Change:
        """Return a change of the added tier."""

        def change(tree: Tree) -> None:
            self.add(tree)
            tree["tiers"][1].update(values)

        return change

    def _other_method(self, tree: Tree) -> None:
        self.add(tree)
        tree["methods"][tree["tiers"][1]["method"]] = spec_tree(self.model, replace(self.train, cut=True))

    def _few_held(self, tree: Tree) -> None:
        """Let the tier hold one of two experts, in a method that is right for it."""
        few = replace(self.train, frozen=0, cut=True, layers=1)
        self._with(method=few.name, frozen_slots=0)(tree)
        self._list(tree, few)

    def _other_trunk(self, tree: Tree) -> None:
        self._with(trunk_methods=[_TRUNK.name])(tree)
        self._list(tree, _TRUNK)

    def _two_of_a_trunk(self, tree: Tree) -> None:
        """Let tiers of both depths name one trunk, which cannot be right for both."""
        self.add(tree)
        first, second = tree["tiers"]
        first["trunk_methods"] = second["trunk_methods"]
        tree["methods"][first["method"]] = spec_tree(self.model, replace(self.train, cut=True))
