"""A device that comes back with other data in the middle of a round, over real processes and a real broker."""

from __future__ import annotations

from loop_federation import Federation, url_of
from loop_packages import Packages, write_data
from loop_story import Data

STEPS = 3000
LOSS_OF_AN_ABSENT_LABEL = 60.0
"""Its logit is 5 scales of 20 below 0, any other at most 2 above: less than this is no loss of an unknown label."""


def test_a_device_with_new_labels_trains_from_a_head_that_knows_them(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """Its plan of the open round is taken back; another comes from a version with its class sums, in the same round."""
    before = write_data(federation.folder / "before.csv", {"alarm": 10, "music": 9}, 4)
    after = write_data(federation.folder / "after.csv", {"light": 20}, 5)
    gateway = federation.gateway(packages["one"], "--rounds", 2, "--steps", STEPS)
    url = url_of(gateway)
    ada = federation.device("ada", packages["one"], data.ada, url)
    bo = federation.device("bo", packages["two"], before, url)
    told = bo.event("step")
    bo.kill()
    assert (told["round"], told["step"] < STEPS) == (1, True), "training was over before the kill: give it more steps"
    again = federation.device("bo", packages["two"], after, url)
    for running in (ada, again, gateway):
        running.done()
    assert [(event["device"], event["round"]) for event in gateway.events("withdrawn")] == [("bo", 1)]
    rounds = again.events("round")
    assert [(event["round"], event["step"]) for event in rounds] == [(1, 0), (2, 0)]
    assert rounds[0]["base_version"] > gateway.events("round")[0]["version"]
    assert max(event["loss_first"] for event in again.events("trained")) < LOSS_OF_AN_ABSENT_LABEL
    assert [event["accepted"] for event in gateway.events("version", reason="merge")] == [2, 2]
