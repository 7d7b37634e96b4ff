"""`python -m export.build --device pixel8`: compile a backbone into a device package."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from edge_runtime.wire.data_files import HELP
from edge_runtime.wire.errors import FederationError, in_one_line
from edge_runtime.wire.manifest_checks import CLASSIFICATION, RECOMPUTE
from edge_runtime.wire.signatures import SigningKeyError
from export.errors import ConfigError
from export.interface import build_package
from export.packaging.pipeline import Built
from export.planning.memory_plan import AUTO
from export.planning.profiles import load_profile, profile_names
from export.report.display import display
from export.report.report import as_json, print_table
from export.report.tables import print_explained
from export.source.families import FAMILIES, TASKS

EXAMPLES = """examples:
  python -m export.build --device pixel8
  python -m export.build --device raspberrypi5 --train-slots 1,2,4,8 --seq-len 32,64
  python -m export.build --device lowend-phone --data my.csv --out packages/small
  python -m export.build --device pixel8 --labels spam,ham --seq-len 32 --tokens 128,256
  python -m export.build --device raspberrypi5 --model ./my-bert --labels spam,ham --gate topk --top-k 2
  python -m export.build --device my-board.toml --task causal-lm -m ./SmolLM2-135M --max_seq_len 128 -o packages/writer
  python -m export.build --list-devices

--device names the device that the package is for (optimum-executorch's --device is where it computes; here that is
always this machine's CPU). optimum-executorch's other options work under their names there, too: -m, -o/--output_dir,
--task, --recipe xnnpack, --max_seq_len, and --qlinear with 8da8w and 8da4w, our int8 and int4.


exit codes: 0 done, 1 the work failed (one line on stderr says why), 2 bad usage"""

RENAMED: Final = {"most_tiers": "tiers", "trunk": "no_trunk"}
"""Options by arguments of ``build_package``, where they have different names."""
QLINEAR = {"8da8w": "int8", "8da4w": "int4"}
"""optimum-executorch's names of quantizations, and ours."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m export.build",
        description="Compile a pretrained language model and a bank of trainable sparse experts into a package that a"
        " device runs and trains with ExecuTorch. Families: " + ", ".join(sorted(FAMILIES)) + ".",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="the target device: a profile (see --list-devices), or the path of a TOML file",
    )
    parser.add_argument(
        "--list-devices", action="store_true", help="list the device profiles and their budgets, and stop"
    )
    parser.add_argument(
        "-m", "--model", metavar="DIR|ID", help="Hugging Face folder or hub id (default: all-MiniLM-L6-v2 from pip)"
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        default=CLASSIFICATION,
        help="classification: a text's label; causal-lm: a text's next words, with decoders only (default %(default)s)",
    )
    parser.add_argument(
        "--recipe",
        choices=("xnnpack",),
        default="xnnpack",
        help="what runs the program, by optimum-executorch's name; there is %(default)s only",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--labels", metavar="A,B|FILE", help="label names joined by commas, or a file with one a line, no comments"
    )
    source.add_argument(
        "--data",
        metavar="FILE",
        type=Path,
        help=f"take labels and sizes of a step from examples: {HELP} (docs/data.md)",
    )
    parser.add_argument(
        "--text-column", default="", metavar="NAME", help="column of the texts in --data (default: text)"
    )
    parser.add_argument(
        "--label-column", default="", metavar="NAME", help="column of the labels in --data (default: label)"
    )
    bank = parser.add_argument_group("experts")
    bank.add_argument("--experts", type=int, default=8, metavar="M", help="experts in each adapted layer (default 8)")
    bank.add_argument(
        "--train-slots",
        type=_numbers,
        metavar="N,..",
        help="experts trained at a time, one tier each (default: what the budget allows)",
    )
    bank.add_argument(
        "--held", choices=("all", "slots"), default="all", help="run all experts, or only those trained (default all)"
    )
    bank.add_argument("--rank", type=int, default=8, metavar="R", help="rank of an expert (default 8)")
    bank.add_argument(
        "--shared-rank", type=int, default=8, metavar="R", help="rank of the always-on expert; 0: none (default 8)"
    )
    bank.add_argument("--gate", choices=("soft", "topk"), default="soft", help="how experts are mixed (default soft)")
    bank.add_argument(
        "--top-k", type=int, default=2, metavar="K", help="experts for a token with --gate topk (default 2)"
    )
    bank.add_argument(
        "--layers", default="all", metavar="WHICH", help="adapted layers: all, last:N or 0,3,5 (default all)"
    )
    bank.add_argument(
        "--no-trunk",
        action="store_true",
        help="run the frozen layers below the lowest adapted one in every step, instead of once a text for a cache",
    )
    program = parser.add_argument_group("program")
    program.add_argument(
        "--seq-len",
        "--max_seq_len",
        type=_numbers,
        metavar="S,..",
        help="tokens of a text, one tier each; what is longer is cut (default: what 999 of 1,000 texts of --data have"
        " at most, or the profile's)",
    )
    program.add_argument(
        "--tokens",
        type=_numbers,
        metavar="N,..",
        help="places for tokens in a step, one tier each; they are rows of S, and a row takes several whole texts"
        " (default: what suits the texts of --data, or half of B x S; with a tier of half as many to step down to, and"
        " for a classifier one of the upper two layers)",
    )
    program.add_argument(
        "--tiers",
        type=_tiers,
        metavar="NxS[xK],..",
        help="slots x tokens of a text of every tier, such as 8x64,4x32; for one that trains fewer adapted layers, how"
        " many, counted from the top: 8x64,8x64x2; or one number: make at most that many tiers",
    )
    program.add_argument(
        "--batch-size", type=int, metavar="B", help="texts in a step at most (default: the profile's, or what fits)"
    )
    program.add_argument(
        "--quantize",
        "--qlinear",
        type=lambda text: QLINEAR.get(text, text),
        choices=("int8", "int4", "none"),
        default="int8",
        help="frozen weights: int8, int4 (smaller and slower), or none for float32 (default int8)",
    )
    program.add_argument(
        "--recompute",
        choices=(AUTO, *RECOMPUTE),
        default=AUTO,
        help="compute twice instead of keeping for the backward: nothing; light: norms, attention and experts; layers:"
        " whole layers (default auto: the fastest that fits the memory budget)",
    )
    program.add_argument(
        "--micro-batches", type=int, metavar="K", help="make a step of K smaller batches (default: 1, or what fits)"
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o", "--out", "--output_dir", type=Path, metavar="DIR", help="package folder (default packages/DEVICE)"
    )
    output.add_argument(
        "--sign",
        type=Path,
        metavar="PEM",
        help="sign the package with this Ed25519 key (export.sign makes one)",
    )
    output.add_argument(
        "--explain",
        action="store_true",
        help="tell where memory and time go, by layer and by kind of operation, and what is not delegated",
    )
    output.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    output.add_argument(
        "--cache-dir", type=Path, metavar="DIR", help="folder of compiled programs (default: the XDG cache folder)"
    )
    output.add_argument("--no-cache", action="store_true", help="compile even what was compiled before")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers joined by commas."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        msg = f"came {text!r}; expected whole numbers joined by commas, such as 32,64"
        raise argparse.ArgumentTypeError(msg) from None


def _tiers(text: str) -> int | tuple[tuple[int, int, int], ...]:
    """Read ``8x64,4x32x2`` (of all layers, and of two), or a number of tiers."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    try:
        return tuple(map(_tier, text.split(",")))
    except ValueError:
        msg = (
            f"came {text!r}; expected slots x tokens, or slots x tokens x layers, joined by commas, such as 8x64,4x32"
            " or 8x64,8x64x2, or the number of tiers"
        )
        raise argparse.ArgumentTypeError(msg) from None


def _tier(text: str) -> tuple[int, int, int]:
    slots, tokens, *layers = map(int, text.split("x"))
    if len(layers) > 1 or any(number < 1 for number in layers):
        raise ValueError(text)
    return slots, tokens, layers[0] if layers else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    usage = parser()
    options = usage.parse_args(arguments)
    if options.list_devices:
        return _list_devices(as_object=options.json)
    if not options.device:
        usage.error(f"--device is needed; known: {', '.join(profile_names())}")
    try:
        built = _build(options)
    except FederationError as error:
        print(f"export: {in_one_line(error, vars(options), RENAMED)}", file=sys.stderr)
        return 2 if isinstance(error, (ConfigError, SigningKeyError)) else 1
    except KeyboardInterrupt:
        print("export: interrupted; no package was written, finished parts stay in the cache", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"export: {error.filename or 'file system'}: {error.strerror}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(as_json(built, explain=options.explain)))
    else:
        print_table(built, Console())
        for method, figures in built.explained.items() if options.explain else ():
            print_explained(method, figures, Console())
        print(f"done: {built.package.folder}")
    return 0


def _warn(sentence: str) -> None:
    print(f"export: warning: {sentence}", file=sys.stderr)


def _build(options: argparse.Namespace) -> Built:
    most, tiers = (options.tiers, ()) if isinstance(options.tiers, int) else (0, options.tiers or ())
    with display() as shown:
        return build_package(
            options.device,
            model=options.model,
            task=options.task,
            labels=options.labels,
            data=options.data,
            text_column=options.text_column,
            label_column=options.label_column,
            out=options.out,
            sign=options.sign,
            cache_dir=options.cache_dir,
            no_cache=options.no_cache,
            stage=shown.stage,
            expect=shown.expect,
            warn=_warn,
            experts=options.experts,
            train_slots=options.train_slots,
            held=options.held,
            rank=options.rank,
            shared_rank=options.shared_rank,
            gate=options.gate,
            top_k=options.top_k,
            layers=options.layers,
            seq_len=options.seq_len,
            tokens=options.tokens,
            batch_size=options.batch_size,
            quantize=options.quantize,
            tiers=tiers,
            most_tiers=most,
            trunk=not options.no_trunk,
            recompute=options.recompute,
            micro_batches=options.micro_batches,
        )


def _list_devices(*, as_object: bool) -> int:
    profiles = [load_profile(name) for name in profile_names()]
    if as_object:
        print(json.dumps([profile.to_dict() for profile in profiles]))
        return 0
    for profile in profiles:
        budget = profile.budget
        print(
            f"{profile.name:14} {profile.title}: {budget.memory_mib:.0f} MiB memory,"
            f" {budget.storage_mb:.0f} MB storage, {budget.bytes_up / 1e6:.2f} MB up and"
            f" {budget.bytes_down / 1e6:.1f} MB down a round, {profile.compute.threads} threads"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
