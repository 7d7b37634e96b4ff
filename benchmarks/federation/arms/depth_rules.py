"""FedAdapter (Cai et al., 2205.10162): adapters of the top layers first, deeper ones as training goes on. Pure.

The paper starts with one small adapter at the top. Groups of devices try the present, a deeper and a wider setting
for a span of time, and the server goes on with the one that was most accurate. Kept here: the depth that grows, the
cached activations below it (that is the prefix cache), and one setting for all devices. Left out: trials, for which
devices would train what is thrown away; depth grows after a fixed number of rounds, chosen on validation data.
"""

from __future__ import annotations


def depth_in_round(number: int, layers: int, start: int, period: int, step: int) -> int:
    """Return how many layers, counted from the top, are trained in round ``number``, from 1.

    Args:
        number: of the round, from 1.
        layers: L, adapted layers of the backbone.
        start: depth in the first round.
        period: rounds after which the depth grows.
        step: layers by which it grows.

    Raises:
        ValueError: for a number below 1.
    """
    if min(number, layers, start, period, step) < 1:
        msg = f"round, layers, start, period and step count from 1, got {(number, layers, start, period, step)}"
        raise ValueError(msg)
    return min(layers, start + step * ((number - 1) // period))
