"""``edge_runtime`` and ``python -m edge_runtime``: exit codes 0 done, 1 the work failed, 2 bad usage."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from edge_runtime.commands import doctor, predict, run, train
from edge_runtime.errors import ConfigError
from edge_runtime.wire.errors import FederationError, in_one_line

RENAMED: Final = {
    "checkpoint_s": "checkpoint_every",
    "csv": "data",
    "device": "device_id",
    "final_share": "lr_final",
    "head_learning_rate": "head_lr",
    "learning_rate": "lr",
    "save": "out",
    "shared_learning_rate": "shared_lr",
    "test_csv": "test",
}
"""Options by arguments of ``Model``'s methods, where they have different names."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    top = argparse.ArgumentParser(
        prog="edge_runtime",
        description="Private training and inference on a device, from a package made by export.build.",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (run, train, predict, doctor):
        command.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run one subcommand, and turn errors into one line on stderr."""
    parsed = parser().parse_args(arguments)
    try:
        code: int = parsed.main(parsed)
    except FederationError as error:
        print(f"edge_runtime: {in_one_line(error, vars(parsed), RENAMED)}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("edge_runtime: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
