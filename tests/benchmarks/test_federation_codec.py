"""Bytes and rounding on the wire of the simulator, for forms that are no bank."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.federation.arms.base import Form, Work
from benchmarks.federation.codec import Downlink, Uplink, picked, row_size
from edge_runtime.wire import wire_pb2 as pb


def work(rank: int) -> Work:
    """Return a client's LoRA of which the first ``rank`` of four ranks are trained and held."""
    on = (np.arange(4) < rank).astype(np.float32)
    masks = {"q_a": on[None, :, None], "q_b": on[None, None, :]}
    values = {"q_a": np.zeros((2, 4, 64), np.float32), "q_b": np.zeros((2, 64, 4), np.float32)}
    return Work(0, Form("lora"), values, masks, {"q_a": 1.0, "q_b": 1.0}, 1, 0, masks)


@pytest.mark.parametrize("feedback", [True, False])
def test_what_int8_left_is_added_to_the_next_delta_only_where_rounds_can_be_compared(*, feedback: bool) -> None:
    """100 sets the scale 100/127, so 0.3 is read as 0; with 0.3 of the round before it is 0.6, read as one step."""
    uplink = Uplink(pb.INT8, feedback)
    delta = np.zeros((2, 4, 64), np.float32)
    delta[0, 0, :2] = 100.0, 0.3
    told = {"q_a": delta, "q_b": np.zeros((2, 64, 4), np.float32)}
    assert uplink.send(work(1), told)["q_a"][0, 0, 1] == 0
    again = uplink.send(work(1), told)["q_a"][0, 0, 1]
    assert again == pytest.approx(100 / 127 if feedback else 0)


def test_short_rows_go_down_together() -> None:
    """Two layers of 64 x 4 values: 256 and 4 scales each, not 64 rows of a scale; half of that for half the ranks."""
    assert [row_size(shape) for shape in ((2, 64, 4), (2, 4, 384), (2, 3, 74, 74), (2, 20), (15,))] == [
        256,
        384,
        5476,
        20,
        15,
    ]
    downlink = Downlink(pb.INT8, ["q_b"])
    before = {"q_b": np.zeros((2, 64, 4), np.float32)}
    after = downlink.publish(before, {"q_b": np.ones((2, 64, 4), np.float32)})
    assert after["q_b"] == pytest.approx(np.ones((2, 64, 4)), abs=1e-6)
    assert downlink.fetch(work(4), after) == int(2 * (256 + 16) * 1.01)
    assert downlink.fetch(work(4), after) == 0
    assert Downlink(pb.INT8, ["q_b"], changes=downlink.changes).fetch(work(2), after) == int((256 + 16) * 1.01)


def test_a_mask_that_trains_nothing_sends_no_block() -> None:
    """A device whose bytes hold no expert sends none, and its values stay; blocks keep their length of 5."""
    mask = np.zeros((2, 3, 1), np.float32)
    values = np.ones((2, 3, 5), np.float32)
    assert picked(values, mask).shape == (0, 5)
    nothing = Work(0, Form("experts"), {"experts": values}, {"experts": mask}, {"experts": 1.0}, 1, 0)
    assert Uplink(pb.INT8).send(nothing, {"experts": values})["experts"] == pytest.approx(values)
