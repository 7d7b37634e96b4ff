"""`python -m benchmarks.demo`: run the stages, print what was found, draw it; the last line is one JSON object."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.demo import chart, stages
from benchmarks.demo.figures import DeviceFigures, Figures
from benchmarks.demo.processes import Processes
from benchmarks.demo.settings import Settings, parse
from benchmarks.demo.split import skew
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.manifest import GATEWAY_FOLDER, Package

BARS: Final = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 done, 1 a stage failed, 2 bad usage."""
    settings = parse(argv)
    console = Console(stderr=settings.json, highlight=False)
    if not console.is_terminal:
        console.width = 110
    try:
        figures = run(settings, console)
    except FederationError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("demo: interrupted; every process was stopped\n")
        return 130
    result = figures.to_json()
    if settings.record:
        record.append("demo", settings.command, result)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


def run(settings: Settings, console: Console) -> Figures:
    """Run every stage in a fresh folder.

    Raises:
        FederationError: when a stage fails.
    """
    shutil.rmtree(settings.out, ignore_errors=True)
    settings.out.mkdir(parents=True)
    seconds: dict[str, float] = {}
    with Processes(settings.out / "logs") as processes:
        with _stage("data", console, seconds):
            data = stages.prepare(settings)
            top = skew(list(data.shares.values()))
            texts = sum(map(len, data.shares.values()))
            console.print(
                f"{texts} texts, {len(data.labels)} labels, {len(data.shares)} devices, {len(data.test)} held out;"
            )
            console.print(f"label skew: a device's three most frequent labels make up {top:.0%} of its texts")
        with _stage("export", console, seconds):
            packages = stages.export_packages(settings, data, processes, console)
            _print_packages(packages, console)
        alone = stages.devices_alone(data, packages, processes, settings)
        with _stage("rounds", console, seconds):
            # Where rounds leave a core idle, devices alone are trained already.
            federation = stages.federate(settings, data, packages, processes, console, look=lambda _: alone.look(1))
        with _stage("arms", console, seconds):
            compared = stages.compare(settings, data, packages, processes, console, alone=alone, state=federation.state)
        figures = gather(settings, Outcome(data, packages, federation, compared, seconds))
        report(figures, console)
        for path in chart.draw(figures, settings.out / "demo"):
            console.print(f"chart: {path}")
        if settings.serve:
            _serve(federation.page, console)
    return figures


def _serve(page: str, console: Console) -> None:
    """Leave the gateway and its page up until Ctrl-C."""
    console.print(f"[bold]the gateway and its page stay up: {page}[/bold]\nCtrl-C ends them")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1.0)


@contextmanager
def _stage(name: str, console: Console, seconds: dict[str, float]) -> Iterator[None]:
    console.rule(f"[bold]{name}", align="left")
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def _print_packages(packages: dict[str, Package], console: Console) -> None:
    rows = []
    for name, package in packages.items():
        tier, program = package.manifest.tiers[0], package.manifest.files["program.pte"].bytes / 1e6
        slots, up = f"{tier.trained_slots} of {tier.held_slots}", f"{tier.predicted.bytes_up / 1e3:.0f}"
        places = f"{tier.rows} x {tier.seq_len}"
        rows.append((name, slots, places, f"{program:.1f}", f"{tier.measured.step_ms:.0f}", up))
    columns = ("profile", "slots trained", "rows x tokens", "program, MB", "step here, ms", "kB up a round")
    _print_table(console, columns, rows)


@dataclass(frozen=True)
class Outcome:
    """What the stages left."""

    data: stages.RunData
    packages: dict[str, Package]
    federation: stages.Federation
    compared: stages.Compared
    seconds: dict[str, float]


def gather(settings: Settings, outcome: Outcome) -> Figures:
    """Put the figures together."""
    data, packages, arms = outcome.data, outcome.packages, outcome.compared.arms
    by_version = sorted(outcome.compared.versions, key=lambda version: int(version["version"]))
    heads = [version for version in by_version if version["reason"] == "head"]
    manifest = packages[next(iter(packages))].manifest
    experts = manifest.architecture.experts
    devices = {
        name: DeviceFigures(
            profile=row.profile,
            examples=len(data.shares[name]),
            labels=len({example.label for example in data.shares[name]}),
            trained_slots=row.trained_slots,
            rounds=row.accepted,
            bytes_up=row.bytes_up,
            bytes_down=row.bytes_down,
            trained=tuple(row.trained[index] for index in range(experts)),
            accuracy_alone=float(arms[name]["accuracy"]),
            step_ms=row.step_ms,
            peak_rss_mib=row.peak_rss_mib,
        )
        for name, row in outcome.federation.rows.items()
    }
    return Figures(
        data=settings.data.parent.name if settings.data.stem.startswith("train") else settings.data.stem,
        devices=devices,
        labels=len(data.labels),
        held_out=len(data.test),
        accuracy_untrained=float(by_version[0]["accuracy"]),
        accuracy_class_means=float(heads[0]["accuracy"]),
        accuracy_by_round=tuple(float(version["accuracy"]) for version in by_version if version["reason"] == "merge"),
        accuracy_centralized=float(arms[stages.CENTRALIZED]["accuracy"]),
        bytes_model=max(_device_bytes(package) for package in packages.values()),
        seconds=outcome.seconds,
        settings={
            "rounds": settings.rounds,
            "steps": settings.steps,
            "rate": settings.rate,
            "head_share": settings.head_share,
            "training_s": settings.training_s,
            "pooled_steps": settings.pooled_steps,
            "codec_down": settings.codec_down,
            "alpha": settings.alpha,
            "seq_len": manifest.tiers[0].seq_len,
            "rows": manifest.tiers[0].rows,
            "batch_size": settings.batch_size,
            "seed": settings.seed,
        },
    )


def _device_bytes(package: Package) -> int:
    return sum(file.bytes for name, file in package.manifest.files.items() if not name.startswith(GATEWAY_FOLDER))


def report(figures: Figures, console: Console) -> None:
    """Print the arms side by side, then the devices."""
    console.rule("[bold]what it was good for: accuracy on held-out text", align="left")
    arms = [("untrained head", figures.accuracy_untrained), ("class means alone", figures.accuracy_class_means)]
    arms += [(f"round {number}", value) for number, value in enumerate(figures.accuracy_by_round, 1)]
    arms += [("devices alone, mean", figures.accuracy_local_mean)]
    arms += [("centralized (pooled data)", figures.accuracy_centralized)]
    for name, value in arms:
        console.print(f"{name:28}{100 * value:6.1f} %  {'█' * round(BARS * value)}")
    each = figures.devices.items()
    what = [
        (name, d.profile, d.examples, d.labels, d.trained_slots, d.rounds, " ".join(map(str, d.trained)))
        for name, d in each
    ]
    columns = ("device", "profile", "texts", "labels", "slots", "rounds", "times trained: expert 0, 1, ...")
    _print_table(console, columns, what)
    cost = [
        (
            name,
            f"{100 * d.accuracy_alone:.1f}",
            f"{d.bytes_up / 1e6:.2f}",
            f"{d.bytes_down / 1e6:.2f}",
            f"{100 * d.bytes_up / figures.bytes_model:.0f} %",
            f"{d.step_ms:.0f}",
            f"{d.peak_rss_mib:.0f}",
        )
        for name, d in each
    ]
    columns = ("device", "alone, %", "MB up", "MB down", "up ÷ model", "step, ms", "memory, MiB")
    _print_table(console, columns, cost)
    console.print(f"the model: {figures.bytes_model / 1e6:.1f} MB, sent to nobody; each device had it in its package")


def _print_table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place == 0 or name == "profile" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
