"""What is assumed of devices, and why. Times are seconds, of the simulated clock; hours are of the day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400.0
START_HOUR: Final = 20.0
"""A run begins in the evening, as devices come to their chargers."""
LIGHT: Final = "light"
"""As ``profile``: devices of one kind without budgets, as those of the fleet over MQTT are."""


@dataclass(frozen=True)
class Assumed:
    """What befalls devices. Shares are of 1.

    Args:
        here_least, here_most: share of the devices that are connected at the quietest and at the busiest hour. Between
            them lies a factor of 4, which Bonawitz et al. (1902.01046, section 9) saw over a day; the level is assumed.
        busiest_hour: when most are here: at night, on chargers; assumed.
        session_s: mean of how long a device stays connected, exponential; assumed.
        churn: of the devices that leave, the share that never comes again; for each a new one comes. Assumed.
        drop: share of the plans during whose training the device leaves before its session is over. Bonawitz et al.
            saw 6 to 10 % of devices drop out of a round.
        away_s: how long it is away then, on average, exponential; it goes on with its work after that. Assumed.
        lost: share of transfers of a body in whose middle the connection is lost; assumed.
        back_s: after how long a device is there again whose connection was lost, at most; assumed.
        again: share of bodies whose last chunk comes twice, as MQTT's quality of service 1 allows; assumed.
        second: share of accepted deltas after which the device sends another of the same plan; assumed.
        unruly: share of deltas that are wrong: another digest, NaN, another plan.
        spread: sigma of the log-normal factor between a device and its profile, in training and on its links; assumed.
        latency_s: median of one way, log-normal with ``spread``; assumed.
        join_s: within so long all come that are here at the start.
        think_s: of light devices, how long training takes, at most.
    """

    here_least: float = 0.08
    here_most: float = 0.32
    busiest_hour: float = 2.0
    session_s: float = 7200.0
    churn: float = 0.002
    drop: float = 0.08
    away_s: float = 1800.0
    lost: float = 0.01
    back_s: float = 60.0
    again: float = 0.01
    second: float = 0.002
    unruly: float = 0.01
    spread: float = 0.5
    latency_s: float = 0.05
    join_s: float = 300.0
    think_s: float = 2.0

    def here(self, now: float) -> float:
        """Return the share of devices that are connected: a cosine over the day. Args: now: since the start."""
        hour = START_HOUR + 24.0 * now / DAY_S
        middle, swing = (self.here_most + self.here_least) / 2, (self.here_most - self.here_least) / 2
        return middle + swing * math.cos(2 * math.pi * (hour - self.busiest_hour) / 24.0)

    def arrivals(self, now: float) -> float:
        """Return how often a device that is away comes, per second, so that ``here`` of them are connected.

        In a balance as many come as go: (1 - here) * arrivals = here / session_s.
        """
        share = self.here(now)
        return share / ((1.0 - share) * self.session_s) if share < 1.0 else 1.0 / self.latency_s


CALM: Final = Assumed(
    here_least=1.0, here_most=1.0, session_s=math.inf, churn=0.0, drop=0.0, lost=0.0, again=0.0, second=0.0, unruly=0.0,
    join_s=0.0,
)  # fmt: skip
"""All devices are here all the time, and nothing happens to them."""
