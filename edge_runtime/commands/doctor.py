"""``edge_runtime doctor``: what works on this machine, one line a check."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from edge_runtime.commands.common import Subcommands, add_command, add_threads, say
from edge_runtime.data.batches import Source
from edge_runtime.data.examples import Labels
from edge_runtime.data.lengths import SAMPLE, lengths_of
from edge_runtime.data.packed import tier_capacity
from edge_runtime.data.prefix_cache import DEFAULT_MB, PrefixCache
from edge_runtime.data.trunk import DEFAULT_ROUNDING, Trunk
from edge_runtime.errors import EdgeError, ProgramError
from edge_runtime.federation.config import credentials
from edge_runtime.federation.link import Broker
from edge_runtime.federation.mqtt.probe import probe
from edge_runtime.inference.continuation import Writer
from edge_runtime.inference.predictor import Predictor
from edge_runtime.interface.texts import suited
from edge_runtime.opened_package import Parts
from edge_runtime.program.drivers import inspect
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.program.slots import lower
from edge_runtime.store import Store
from edge_runtime.training.budget import Budget, choose_tier, cost_of, excess
from edge_runtime.training.sensors import read_sensors
from edge_runtime.training.tiers import short
from edge_runtime.training.trainer import Task, Tools, Trainer
from edge_runtime.training.watch import Watch, told
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.fill import fill_of
from edge_runtime.wire.manifest import Tier
from edge_runtime.wire.manifest_checks import CAUSAL_LM
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.text import counted

_PROBE_S = 5.0
_TIMED = 3
"""Steps of a tier that are timed."""
_BUSY_CORES = 0.3
"""Cores that other work kept busy where a package was made, before its times are doubtful."""
_SENTENCE = "a short sentence to measure"
_TEXT = f"{_SENTENCE} with"

EXAMPLES = """\
  edge_runtime doctor --package packages/pixel8
  edge_runtime doctor --package packages/pixel8 --data my.csv
  edge_runtime doctor --package packages/pixel8 --broker mqtt://localhost:1883 --json
"""


@dataclass(frozen=True)
class Check:
    """One finding.

    Args:
        needed: without it this device cannot work.
        figures: how full training steps were, where some were made or counted (``Fill``).
    """

    name: str
    ok: bool
    detail: str
    needed: bool = True
    figures: dict[str, float] = field(default_factory=dict)


Finding = tuple[str, dict[str, float]]


class _Texts:
    """A sentence for each place of a batch, under the first label; no two alike, or a trunk would take one for all."""

    digest = b""

    def __init__(self, count: int) -> None:
        self.labels: Labels = np.zeros(count, np.int32)

    def __len__(self) -> int:
        return int(self.labels.size)

    def texts(self, rows: Sequence[int]) -> list[str]:
        """Return the sentence of each row."""
        return [f"{_SENTENCE} {row}" for row in rows]


def _source(parts: Parts, tier: Tier, folder: Path) -> Source:
    """Return examples for a step: a sentence under the first label, or windows of a file in ``folder``."""
    if parts.manifest.architecture.task != CAUSAL_LM:
        return _Texts(tier.batch_size)
    path = folder / "own.txt"
    path.write_text(f"{_TEXT}\n" * tier.seq_len, encoding="utf-8")
    return parts.examples(path, tier)


def add(commands: Subcommands) -> None:
    """Add the subcommand."""
    parser = add_command(
        commands,
        "doctor",
        "check what works on this machine",
        "Checks the driver, the package, one timed prediction and training step, and the broker.\n"
        "Exit code 1 when something fails that a device needs.",
        EXAMPLES,
    )
    parser.add_argument("--broker", metavar="URL", help="also check that it can be reached and serves this federation")
    parser.add_argument(
        "--federation", default="default", metavar="NAME", help="the federation's name (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-plaintext", action="store_true", help="allow mqtt:// to another machine, without encryption"
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="also check a state directory")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="also say how full training steps are with these texts",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    add_threads(parser)
    parser.set_defaults(main=main)


def main(arguments: argparse.Namespace) -> int:
    """Run every check; the exit code says whether the needed ones hold."""
    checks = []
    for check in _checks(arguments):
        checks.append(check)
        if not arguments.json:
            mark = "ok  " if check.ok else ("FAIL" if check.needed else "note")
            say(f"{mark}  {check.name:<10} {check.detail}")
    works = all(check.ok for check in checks if check.needed)
    if arguments.json:
        say(json.dumps({"ok": works, "checks": [asdict(check) for check in checks]}))
    elif not works:
        sys.stderr.write("edge_runtime: this machine cannot run a device yet; see FAIL above\n")
    return 0 if works else 1


def _checks(arguments: argparse.Namespace) -> Iterator[Check]:
    yield _check("driver", _driver)
    opened: list[Parts] = []
    yield _check("package", lambda: _package(arguments, opened))
    for parts in opened:
        yield from _package_checks(parts, arguments)
        parts.close()
    if arguments.state:
        yield _check("state", lambda: _state(arguments.state))


def _package_checks(parts: Parts, arguments: argparse.Namespace) -> Iterator[Check]:
    yield _check("bank", lambda: _bank(parts))
    yield _check("budget", lambda: _budget(parts))
    yield _check("tokenizer", lambda: _words(parts))
    yield _check("predict", lambda: _predict(parts))
    for tier in parts.manifest.tiers:
        yield _tier(parts, tier)
    if arguments.data:
        yield _measured("texts", lambda: _texts(parts, arguments.data))
    for tier in _trunks(parts.manifest.tiers):
        yield _check("prefixes", partial(_prefixes, parts, tier))
    if arguments.broker:
        yield _check("broker", lambda: _broker(arguments, parts.manifest.architecture.digest()))


def _check(name: str, look: Callable[[], str]) -> Check:
    return _measured(name, lambda: (look(), {}))


def _measured(name: str, look: Callable[[], Finding]) -> Check:
    try:
        detail, figures = look()
        return Check(name, ok=True, detail=detail, figures=figures)
    except (FederationError, OSError) as error:
        return Check(name, False, " ".join(str(error).split()))  # noqa: FBT003 - the outcome


def _driver() -> str:
    runtime = inspect()
    if not runtime.has_xnnpack:
        raise EdgeError(f"{runtime.driver} driver without XNNPACK (has {', '.join(runtime.backends) or 'no backend'})")
    text = f"{runtime.driver}, executorch {runtime.executorch}, {runtime.kernels} kernels, {runtime.threads} threads"
    return "; ".join(filter(None, (text, runtime.origin, runtime.notice)))


def _package(arguments: argparse.Namespace, opened: list[Parts]) -> str:
    parts = Parts.open(arguments.package, arguments.threads)
    opened.append(parts)
    manifest = parts.manifest
    size = sum(entry.bytes for name, entry in manifest.files.items() if not name.startswith("gateway/")) / 1e6
    architecture = manifest.architecture
    purpose = f"{len(architecture.labels)} labels" if architecture.labels else architecture.task
    return (
        f"{manifest.device}: {architecture.backbone.name}, {purpose}, "
        f"{counted(len(manifest.tiers), 'tier')}, {size:.1f} MB, every digest right; "
        f"federation {architecture.digest().hex()[:12]}"
    )


def _bank(parts: Parts) -> str:
    digest = parts.initial_bank().digest().hex()
    if digest != parts.manifest.architecture.bank_digest:
        raise EdgeError(f"the package's bank is version {digest[:12]}, the manifest says another; export it again")
    return f"version 0, {digest[:12]}"


def _budget(parts: Parts) -> str:
    tier = choose_tier(parts.manifest, Budget.from_profile(parts.manifest.profile))
    return f"{short(tier)} fits the profile of {parts.manifest.device}; now {told(read_sensors())}"


def _tier(parts: Parts, tier: Tier) -> Check:
    """Say what a tier costs, whether it fits, and how long a step of it takes here."""
    over = excess(tier, Budget.from_profile(parts.manifest.profile))
    if over:
        return Check(f"tier {short(tier)}", ok=False, detail=f"needs {'; '.join(over)}", needed=False)
    return _measured(f"tier {short(tier)}", lambda: _train(parts, tier))


def _predict(parts: Parts) -> str:
    predict = _predictor(parts)
    predict()
    began = time.perf_counter()
    probabilities = predict()
    took = (time.perf_counter() - began) * 1000
    if not np.isfinite(probabilities).all() or abs(float(probabilities.sum()) - 1) > 1e-3:
        raise EdgeError(f"the program's probabilities sum to {float(probabilities.sum()):.3f}, expected 1")
    language = parts.manifest.architecture.task == CAUSAL_LM
    return f"{took:.1f} ms a {'token' if language else 'text'}"


def _words(parts: Parts) -> str:
    """Run the tokenizer's largest id: a program with fewer words fails on it, and else would on some texts only."""
    highest = parts.tokenizer.highest_id
    model = (parts.program, parts.manifest, parts.tokenizer, parts.initial_bank())
    try:
        if parts.manifest.architecture.task == CAUSAL_LM:
            Writer(*model).next([highest])
        else:
            Predictor(*model).of_tokens([highest])
    except ProgramError as error:
        raise EdgeError(
            f"tokenizer.json gives ids up to {highest}, on which the program fails ({error}); export the package again"
        ) from error
    return f"ids up to {highest}, all of them words of the program"


def _predictor(parts: Parts) -> Callable[[], Array]:
    """Return what predicts a sentence's label, or its next token."""
    model = (parts.program, parts.manifest, parts.tokenizer, parts.initial_bank())
    if parts.manifest.architecture.task == CAUSAL_LM:
        writer = Writer(*model)
        return partial(writer.next, writer.tokens(_TEXT))
    predictor = Predictor(*model)
    return lambda: predictor(_TEXT)[0]


def _trunks(tiers: Sequence[Tier]) -> list[Tier]:
    """Return a tier for each set of trunks: those of one depth share them."""
    return list({tier.trunk_methods: tier for tier in reversed(tiers) if tier.trunk_methods}.values())[::-1]


def _prefixes(parts: Parts, tier: Tier) -> str:
    """Put one text through a tier's trunk and a cache of its own, twice."""
    with tempfile.TemporaryDirectory() as folder:
        complaints: list[str] = []
        cache = PrefixCache(Path(folder), DEFAULT_MB, complaints.append)
        below = lower(parts.initial_bank(), tier.layers)
        trunk = Trunk(parts.program, parts.manifest, tier, cache, DEFAULT_ROUNDING, lower=below)
        times, prefixes = [], []
        for _ in range(2):
            began = time.perf_counter()
            prefixes += trunk.of_texts([_TEXT], parts.tokenizer)
            times.append((time.perf_counter() - began) * 1000)
    use = cache.use
    if complaints or use.hits != 1:
        raise EdgeError(" ".join(complaints) or "a prefix that was kept is not found again")
    if prefixes[0] != prefixes[1]:
        raise EdgeError("a prefix that was kept came back as another; this disk cannot be trusted")
    return (
        f"{times[0]:.1f} ms for a text of {prefixes[0].count} tokens by {tier.trunk_methods[0]}, {times[1]:.2f} ms from"
        f" the cache; {use.bytes} bytes of it"
    )


def _train(parts: Parts, tier: Tier) -> Finding:
    adapted = parts.manifest.architecture.adapted_layers
    layers = adapted[len(adapted) - tier.layers :]
    task = Task(tuple(ExpertId(layer, 0) for layer in layers), steps=1 + _TIMED, learning_rate=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        source = _source(parts, tier, Path(folder))
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier)
        trainer = Trainer(tools, parts.initial_bank(), task)
        losses, times = [trainer.step()], []  # the first also prepares the method
        while not trainer.done:
            losses.append(trainer.step())
            times.append(trainer.last_ms)
    parts.program.unload(tier.method)  # the next tier has the memory to itself
    if not np.isfinite(losses).all():
        raise EdgeError(f"a training step gave the loss {losses[-1]}")
    depth = "all" if tier.layers == len(adapted) else f"the top {tier.layers} of"
    said = (
        f"{depth} {counted(len(adapted), 'layer')}, {tier.trained_slots} of {tier.held_slots} slots trained,"
        f" {tier.batch_size} texts in"
        f" {tier.rows} x {tier.seq_len} places:"
        f" {median(times):.0f} ms a step here ({min(times):.0f} to {max(times):.0f}), {_there(tier)};"
        f"{_trunk(trainer)} {trainer.fill}; peak {peak_rss_mib():.0f} MiB"
    )
    return said, trainer.fill.figures()


def _trunk(trainer: Trainer) -> str:
    """Say what a step takes more in its first epoch, while no cache has the prefixes of its texts."""
    pace = trainer.pace
    return f" {pace.trunk_ms:.1f} ms more while its texts are new;" if pace is not None and pace.trunk_ms else ""


def _texts(parts: Parts, path: Path) -> Finding:
    """Say which tier these texts are trained in, and how full its steps are."""
    watch = Watch.of(parts.manifest, Budget.from_profile(parts.manifest.profile))
    source = parts.examples(path, watch.largest)
    tier = suited(watch, parts, source).largest
    fill = fill_of(lengths_of(source, SAMPLE, parts.tokenizer, tier.seq_len).tolist(), tier_capacity(tier))
    return f"{counted(len(source), 'example')}, to be trained in {short(tier)}: {fill}", fill.figures()


def _there(tier: Tier) -> str:
    """Say what export told of a tier's step: measured where it ran, or else predicted for the profile's device."""
    timing, memory = tier.timing, f"{cost_of(tier, 'memory_mib'):.0f} MiB"
    if not tier.measured.step_ms:
        return f"{tier.predicted.step_ms:.0f} ms and {memory} predicted for its device"
    spread = f" ({timing['least_ms']:.0f} to {timing['most_ms']:.0f})" if timing else ""
    busy = timing.get("other_cores", 0.0)
    doubt = f", with {busy:.1f} cores busy with other work" if busy >= _BUSY_CORES else ""
    return f"{tier.measured.step_ms:.0f} ms{spread} and {memory} where it was exported{doubt}"


def _broker(arguments: argparse.Namespace, federation_digest: bytes) -> str:
    broker = Broker.parse(arguments.broker, allow_plaintext=arguments.allow_plaintext).with_user(*credentials())
    try:
        payload = probe(broker, arguments.federation, _PROBE_S)
    except OSError as error:
        raise EdgeError(f"cannot reach {broker}: {error.strerror or error}") from error
    if not payload:
        return f"{broker} answers; no gateway serves federation {arguments.federation} there yet"
    state = messages.decode(pb.GatewayState, payload)
    if state.federation_digest != federation_digest:
        raise EdgeError(f"the gateway serves federation {state.federation_digest.hex()[:12]}, not this package's")
    return f"{broker} answers; gateway {'online' if state.online else 'away'}, version {state.version}"


def _state(folder: Path) -> str:
    with Store(folder) as store:
        left = [name for name in ("plan", "checkpoint", "delta") if store.recall(name) is not None]
    return f"{folder} can be written to" + (f"; holds {', '.join(left)}" if left else "")
