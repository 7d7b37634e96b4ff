"""The loop in its other modes, and errors as users meet them, through the real command lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from loop_federation import Federation, Running, call, deltas, port_of, url_of
from loop_packages import Packages
from loop_story import Data

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.manifest import Package

QUICK = ("--rounds", "2", "--steps", "6")


def play(federation: Federation, gateway: Running, one: Path, two: Path, data: Data, *options: object) -> None:
    """Run two devices to the federation's end."""
    url = url_of(gateway)
    devices = [
        federation.device("ada", one, data.ada, url, *options),
        federation.device("bo", two, data.bo, url, *options),
    ]
    for running in (*devices, gateway):
        running.done()


def test_topk_devices_report_use_and_get_the_servers_statistics(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """With the top-k gate, deltas tell how often each expert was routed to, and the next plan tells everybody's use."""
    gateway = federation.gateway(packages["topk"], *QUICK)
    wire = federation.wire(gateway)
    devices = [
        federation.device("ada", packages["topk"], data.ada, wire.url),
        federation.device("bo", packages["topk"], data.bo, url_of(gateway)),
    ]
    for running in (*devices, gateway):
        running.done()
    first, second = deltas(wire)
    for delta in (first, second):
        assert delta.use
        assert all(0 <= use.routed <= use.seen for use in delta.use)
        assert sum(use.routed for use in delta.use) > 0
    plans = [pb.Plan.FromString(heard.payload) for heard in wire.heard("plan") if heard.payload]
    last = max(plans, key=lambda plan: plan.round)
    assert last.round == 2
    assert [len(layer.use) for layer in last.use] == [4, 4]
    assert last.balance_pressure > 0
    assert [row["round"] for row in federation.ask("versions")["versions"] if row["round"]] == [1, 2]


def test_number_formats_share_a_federation_and_deltas_may_be_int8(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """A device without quantization and one with int8 merge, and int8 deltas cost about a quarter."""
    gateway = federation.gateway(packages["one"], *QUICK, "--codec", "int8")
    wire = federation.wire(gateway)
    devices = [
        federation.device("ada", packages["float"], data.ada, wire.url),
        federation.device("bo", packages["two"], data.bo, url_of(gateway)),
    ]
    for running in (*devices, gateway):
        running.done()
    first = deltas(wire)[0]
    assert first.codec == pb.INT8
    sizes = {len(expert.values) for expert in first.experts if expert.index != 0xFFFF}
    values = 2 * 3 * 32 + 2  # 2 (r + 1) d + r
    assert sizes == {values + 4 * -(-values // 64)}
    assert len(federation.digests()) == 4


def test_a_device_of_the_upper_layer_and_one_of_both_merge_what_each_trained(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """Plans go as deep as a device says that it can; each version, prefixes are computed anew and old ones removed.

    ada has 15 texts, and 6 steps of 4 look at all of them at once.
    """
    package = packages["float"]
    gateway = federation.gateway(package, *QUICK)
    wires = {name: federation.wire(gateway) for name in ("ada", "bo")}
    upper = Package.open(package, part="manifest").manifest.tiers[-1].method
    ada = federation.device("ada", package, data.ada, wires["ada"].url, "--tier", upper)
    bo = federation.device("bo", package, data.bo, wires["bo"].url)
    for running in (ada, bo, gateway):
        running.done()
    reaches = {name: pb.Hello.FromString(wire.heard("hello")[0].payload).reaches for name, wire in wires.items()}
    assert {name: [reach.layers for reach in told] for name, told in reaches.items()} == {"ada": [1], "bo": [1, 2]}
    layers = {
        name: [{expert.layer for expert in delta.experts} for delta in deltas(wire)] for name, wire in wires.items()
    }
    assert layers == {"ada": [{1}, {1}], "bo": [{0, 1}, {0, 1}]}
    prefixes = ada.event("prefixes")
    assert (prefixes["misses"], prefixes["hits"]) == (30, 0)
    assert len(list((federation.folder / "ada" / "prefixes").iterdir())) == 15
    assert len(set(federation.digests())) == 4


def test_an_exported_version_predicts_on_a_device_as_the_gateway_measures_it(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """`broker_server export`, then `edge_runtime predict --bank`: the accuracy is what `evaluate` says, to a text."""
    gateway = federation.gateway(packages["one"], *QUICK)
    play(federation, gateway, packages["one"], packages["two"], data)
    bank = federation.folder / "bank"
    federation.ask("export", "--version", "3", "--out", bank)
    measured = federation.ask("evaluate", "--data", data.held_out, "--version", "3")[0]["accuracy"]
    done = call(
        "edge_runtime", "predict", "--package", packages["one"], "--bank", bank, "--data", data.held_out,
        folder=federation.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    right = round(measured * 45)
    # A device rounds what enters its linears to 8 bits, the gateway does not: a close call may differ.
    assert any(f"accuracy {100 * count / 45:.1f}%" in done.stdout for count in (right - 1, right, right + 1))
    one = call(
        "edge_runtime",
        "predict",
        "--package",
        packages["one"],
        "--bank",
        bank,
        folder=federation.folder,
        text="play jazz\n",
    )
    assert one.returncode == 0
    assert len(one.stdout.splitlines()) == 1


def refused(federation: Federation, expected: str, module: str, *arguments: object, code: int = 1) -> None:
    """Assert that a command ends with one line on stderr that says what is wrong."""
    done = call(module, *arguments, folder=federation.folder)
    lines = done.stderr.splitlines()
    assert done.returncode == code, done.stderr
    assert expected in lines[-1], done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_shared_is_refused_by_name(federation: Federation, packages: Packages, data: Data) -> None:
    """A port, a gateway's state directory and a device's state directory belong to one process each."""
    gateway = federation.gateway(packages["one"], *QUICK)
    port = port_of(gateway)
    run = ("run", "--package", packages["one"])
    refused(federation, "in use", "broker_server", *run, "--state", federation.folder / "other", "--port", port)
    refused(federation, str(federation.state), "broker_server", *run, "--state", federation.state, "--port", 0)
    ada = federation.device("ada", packages["one"], data.ada, url_of(gateway))
    ada.event("joined")
    again = (
        "--broker",
        url_of(gateway),
        "--data",
        data.ada,
        "--device-id",
        "ada",
        "--state",
        federation.folder / "ada",
    )
    refused(federation, str(federation.folder / "ada"), "edge_runtime", *run, *again)


def test_a_device_of_another_federation_learns_what_it_met(
    federation: Federation, packages: Packages, data: Data
) -> None:
    """The device sees at once that the gateway serves another bank, says so and keeps silent; the gateway goes on."""
    gateway = federation.gateway(packages["one"], *QUICK)
    stranger = federation.device("stranger", packages["topk"], data.ada, url_of(gateway))
    reason = stranger.event("error")["reason"]
    assert "the gateway serves another federation" in reason
    assert "use a package exported for it" in reason
    assert stranger.ask_to_stop() == 0
    assert not gateway.events("hello")
    gateway.ask_to_stop()
    refused(
        federation,
        "federation",
        "broker_server",
        "run",
        "--package",
        packages["topk"],
        "--state",
        federation.state,
        "--port",
        0,
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("utterance,intent\nhello,alarm\n", "utterance"),
        ("text,label\n", "no "),
        ("text,label\nhello,greeting\n", "greeting"),
    ],
    ids=["columns", "empty", "unknown label"],
)
def test_data_that_cannot_be_used_is_refused_with_what_it_holds(
    federation: Federation, packages: Packages, content: str, expected: str
) -> None:
    """Missing columns, no rows, labels that the package does not know."""
    path = federation.folder / "mine.csv"
    path.write_text(content)
    refused(federation, expected, "edge_runtime", "train", "--package", packages["one"], "--data", path)
