"""Whether training gained anything: a merged version against the class means that it began from. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker_server.evaluation.onnx_model import Figures, TextFigures
from broker_server.state.rows import VersionRow


def class_means_version(versions: Sequence[VersionRow]) -> int | None:
    """Return the version whose head is class means and whose experts nobody has trained yet: the last before a merge.

    Args:
        versions: oldest first.
    """
    start = None
    for row in versions:
        if row.reason == "merge":
            break
        start = row.version if row.reason == "head" else start
    return start


def no_better_than(
    version: int, figures: Figures | TextFigures, versions: Sequence[VersionRow], accuracies: Mapping[int, float]
) -> int | None:
    """Return the version of class means when a later, trained one labels no more texts right, and not all.

    Args:
        version: that was measured.
        figures: its own; a language model has no class means.
        versions: up to the first merge at least, oldest first.
        accuracies: on the same texts, of the versions that were measured.
    """
    start = class_means_version(versions)
    if isinstance(figures, TextFigures) or start is None or start not in accuracies:
        return None
    trained = any(row.version <= version and row.reason == "merge" for row in versions)
    return start if trained and figures.accuracy <= accuracies[start] and figures.accuracy < 1 else None
