"""`python -m benchmarks.operating`: do what docs/operating.md or the tutorial says; tell what came of each line."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.operating.follow import FollowError, Outcome, empty_handed, follower
from benchmarks.operating.root_lines import ROOT

EXAMPLES = """examples:
  python -m benchmarks.operating --package packages/pixel8 --data texts.csv
  python -m benchmarks.operating --package packages/pixel8 --data texts.csv --bare     install the gateway anew as well
  python -m benchmarks.operating --tutorial                docs/tutorial.md, which begins from nothing

exit codes: 0 all is as the document says, 1 something is not, 2 bad usage"""


def main(argv: Sequence[str] | None = None) -> int:
    """Follow it; the last line is one JSON object."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operating", description=(__doc__ or "").partition(": ")[2], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--tutorial", action="store_true", help="follow docs/tutorial.md, without package and data")
    parser.add_argument("--package", type=Path, metavar="DIR", help="device package with labels")
    parser.add_argument("--data", type=Path, metavar="CSV", help="labelled texts, with a header")
    parser.add_argument("--bare", action="store_true", help="install the gateway into an environment of its own")
    parser.add_argument("--document", type=Path, metavar="FILE", help="default: docs/operating.md")
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    options = parser.parse_args(argv)
    if options.tutorial == bool(options.package and options.data):
        parser.error("give --package and --data, or --tutorial")
    folder = Path(tempfile.mkdtemp(prefix="operating-"))
    if options.tutorial:
        one = empty_handed(folder, {}, bare=options.bare)
    else:
        one = follower(folder, options.package, options.data, bare=options.bare)
    document = options.document or ROOT / "docs" / ("tutorial.md" if options.tutorial else "operating.md")
    if not options.json:
        one.tell = _print
    try:
        one.follow(document.read_text(encoding="utf-8"))
    except FollowError as error:
        sys.stderr.write(f"operating: {error}\noperating: what was done is in {folder}\n")
        return 1
    shutil.rmtree(folder)
    print(json.dumps(Counter(outcome.what for outcome in one.outcomes)))
    return 0


def _print(outcome: Outcome) -> None:
    print(f"{outcome.line:4}  {outcome.what:8}  {outcome.text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
