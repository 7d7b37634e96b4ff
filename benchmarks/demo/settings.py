"""What a run of the demo is asked to do: arguments, as one frozen value."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_server.config import CODECS_DOWN
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.data_files import HELP

PROFILES: Final = ("lowend-phone", "pixel8", "raspberrypi5")
FEDERATION: Final = "demo"
OWN_DATA: Final = Path(__file__).parent / "assistant.csv"

EXAMPLES: Final = """\
examples:
  make demo
  make demo DATA=path/to/texts.csv                     docs/data.md says which files
  make demo DATA=ag_news/train.csv.gz DEMO_ARGS='--alpha 1 --rounds 20'
  make demo DEMO_ARGS=--serve                          leaves the gateway and its page up until Ctrl-C
  make demo DEMO_ARGS='--quick --json'
"""


@dataclass(frozen=True)
class Settings:
    """One run.

    Args:
        data: labelled texts; columns user and split are used where they are.
        columns: that hold text and label.
        devices: processes at most (a file with fewer users gets one each).
        rounds: federated rounds.
        steps: optimizer steps of a device in a round.
        rate: learning rate of the first round.
        head_share: the head's learning rate, as a share of ``rate``; 0: it stays as the class means made it.
        training_s: seconds that every device trains in a round, as in the gateway's settings; 0: ``steps`` steps.
        codec_down: how versions go down, as in the gateway's settings.
        pooled_steps: of the centralized bound; 0: as many as all devices make together.
        alpha: of the Dirichlet split; ignored for data with users.
        seq_len: tokens of a text, longer ones are cut; 0: export chooses from the data.
        batch_size: texts in a step.
        limit: texts of one device at most; 0: all.
        test: held-out texts at most.
        seed: of every draw.
        out: folder of this run.
        serve: measure versions as they come, and leave gateway and page up at the end, until Ctrl-C.
        json: print the JSON line only.
        record: keep the result in benchmarks/results/demo.jsonl.
        command: as it was typed, for the record.
    """

    data: Path
    columns: Columns
    devices: int
    rounds: int
    steps: int
    rate: float
    head_share: float
    training_s: float
    codec_down: str
    pooled_steps: int
    alpha: float
    seq_len: int
    batch_size: int
    limit: int
    test: int
    seed: int
    out: Path
    serve: bool
    json: bool
    record: bool
    command: str

    @property
    def federation(self) -> str:
        """The federation's name: the gateway draws the order of each device's texts from it, so it says the seed."""
        return f"{FEDERATION}-{self.seed}" if self.seed else FEDERATION


def parse(argv: Sequence[str] | None) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demo",
        description="The whole loop on this machine: export for three device profiles, a gateway with its embedded\n"
        "broker, one process for each device with its own texts, rounds, and what it was good for.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=OWN_DATA,
        metavar="FILE",
        help=f"{HELP}, also .gz; a column user says who wrote what (default: our own)",
    )
    parser.add_argument("--text-column", default="", metavar="NAME", help="column or key of the texts (default: text)")
    parser.add_argument(
        "--label-column", default="", metavar="NAME", help="column or key of the labels (default: label)"
    )
    parser.add_argument("--devices", type=int, default=12, metavar="N", help="device processes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=8, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, metavar="N", help="steps of a device in a round (%(default)s)")
    parser.add_argument("--rate", type=float, default=3e-3, metavar="LR", help="first learning rate (%(default)s)")
    parser.add_argument(
        "--head-share",
        type=float,
        default=0.1,
        metavar="X",
        help="the head's learning rate as a share of --rate (%(default)s)",
    )
    parser.add_argument(
        "--training-s",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds that every device trains in a round, the slow in the top layers alone (%(default)s: --steps)",
    )
    parser.add_argument(
        "--codec-down",
        choices=CODECS_DOWN,
        default="int8",
        help="how versions go down to devices: as they were merged, or in steps of int8 (%(default)s)",
    )
    parser.add_argument(
        "--pooled-steps",
        type=int,
        default=0,
        metavar="N",
        help="steps of the centralized bound (default: as many as all devices together)",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.3,
        help="Dirichlet parameter of the split by label, where the data has no users (%(default)s)",
    )
    parser.add_argument(
        "--seq-len", type=int, default=0, metavar="TOKENS", help="tokens of a text (default: export chooses)"
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="TEXTS", help="texts in a step (%(default)s)")
    parser.add_argument(
        "--limit", type=int, default=0, metavar="TEXTS", help="use at most so many texts of a device (default: all)"
    )
    parser.add_argument(
        "--test", type=int, default=1000, metavar="TEXTS", help="hold out at most so many texts (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of split and order (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), metavar="DIR", help="output folder (%(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="six devices and two rounds, to see whether everything works here"
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="let the gateway measure versions as they come, and leave it and its page up at the end, until Ctrl-C",
    )
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results/")
    options = parser.parse_args(argv)
    if options.quick:
        options.devices, options.rounds = min(options.devices, 6), min(options.rounds, 2)
    if options.devices < 2 or options.rounds < 1 or options.steps < 1:
        parser.error(
            f"{options.devices} devices, {options.rounds} rounds, {options.steps} steps: expected at least 2, 1 and 1"
        )
    own = options.data == OWN_DATA
    data = "" if own else f" DATA={options.data}"
    changed = [
        f"--{name.replace('_', '-')} {getattr(options, name)}"
        for name in (
            "text_column",
            "label_column",
            "devices",
            "rounds",
            "steps",
            "rate",
            "head_share",
            "training_s",
            "codec_down",
            "pooled_steps",
            "alpha",
            "seq_len",
            "batch_size",
            "limit",
            "test",
            "seed",
        )
        if getattr(options, name) != parser.get_default(name)
    ]
    command = f"make demo{data}" + (f" DEMO_ARGS='{' '.join(changed)}'" if changed else "")
    return Settings(
        data=options.data,
        columns=Columns(options.text_column, options.label_column),
        devices=options.devices,
        rounds=options.rounds,
        steps=options.steps,
        rate=options.rate,
        head_share=options.head_share,
        training_s=options.training_s,
        codec_down=options.codec_down,
        pooled_steps=options.pooled_steps or options.devices * options.rounds * options.steps,
        alpha=options.alpha,
        seq_len=options.seq_len,
        batch_size=options.batch_size,
        limit=options.limit,
        test=options.test,
        seed=options.seed,
        out=options.out,
        serve=options.serve,
        json=options.json,
        record=options.record,
        command=command,
    )
