"""`python -m android_demo.apk`: build the app's APK, or check the one that was built."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from android_demo.apk.build import APK, BUILD, Built, Order, build, check_reproducible
from android_demo.apk.parts import Say
from android_demo.apk.sign import PASSWORD_VARIABLE
from android_demo.apk.verify import Report, verify
from android_demo.errors import BuildError

EXAMPLES = f"""examples:
  python -m android_demo.apk
  python -m android_demo.apk --package packages/pixel8
  python -m android_demo.apk --aar executorch-android-1.4.1.aar
  python -m android_demo.apk --no-runtime
  {PASSWORD_VARIABLE}=... python -m android_demo.apk --keystore release.jks --alias upload
  python -m android_demo.apk --check --json

exit codes: 0 done, 1 the work failed (one line on stderr says why), 2 bad usage"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    command = argparse.ArgumentParser(
        prog="python -m android_demo.apk",
        description="Build a signed APK of the Android app from Maven's, npm's and Debian's packages; no Android SDK"
        " and no Gradle are needed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    engine = command.add_mutually_exclusive_group()
    engine.add_argument("--aar", type=Path, metavar="FILE", help="take ExecuTorch from this executorch-android AAR")
    engine.add_argument(
        "--no-runtime",
        action="store_true",
        help="leave ExecuTorch out: the app then shows that it cannot predict or train",
    )
    command.add_argument("--package", type=Path, metavar="DIR", help="put a device package into the APK")
    command.add_argument(
        "--keystore", type=Path, metavar="FILE", help="sign with this store's key (default: debug key)"
    )
    command.add_argument("--alias", default="", metavar="NAME", help="the key's alias in the store")
    command.add_argument(
        "--folder", type=Path, default=BUILD, metavar="DIR", help="output folder (default %(default)s)"
    )
    command.add_argument(
        "--check",
        action="store_true",
        help="verify the APK that was built, and that a second build has the same bytes before signing",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    return command


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    usage = parser()
    options = usage.parse_args(arguments)
    if options.alias and options.keystore is None:
        usage.error("--alias names a key of --keystore; give both")
    order = Order(options.folder, options.aar, options.no_runtime, options.package, options.keystore, options.alias)
    try:
        result = _checked(order, _timed()) if options.check else _built(build(order, _timed()))
    except BuildError as error:
        print(f"apk: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"apk: {error.filename or 'file system'}: {error.strerror}", file=sys.stderr)
        return 1
    print(json.dumps(result) if options.json else _text(result))
    return 0


def _built(built: Built) -> dict[str, object]:
    return built.report.to_dict() | {"unsigned_sha256": built.unsigned_sha256, "runtime": built.runtime}


def _checked(order: Order, say: Say) -> dict[str, object]:
    report: Report = verify(order.folder / APK)
    return report.to_dict() | {"unsigned_sha256": check_reproducible(order, say), "reproducible": True}


def _text(result: dict[str, object]) -> str:
    size = int(str(result["size"])) / 1e6
    what = (
        f"{result['package']} {result['version']}, API {result['min_api']} and later, made for {result['target_api']}"
    )
    lines = [
        f"{result['path']}: {size:.1f} MB, {what}",
        f"SHA-256 {result['sha256']}; before signing {result['unsigned_sha256']}",
        f"signed by the certificate {result['signer']}",
    ]
    libraries = result["libraries"]
    lines += [
        f"{one['name']}: {one['size']} bytes at {one['offset']}, segments on {one['segments']}"
        for one in (libraries if isinstance(libraries, tuple) else ())
    ]
    if result.get("reproducible"):
        lines.append("two builds have the same bytes before signing")
    return "\n".join(lines)


def _timed() -> Say:
    start = time.monotonic()

    def say(stage: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {stage}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
