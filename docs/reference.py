"""Write docs/reference.md: ``python -m docs.reference``.

Settings of the gateway, device profiles and the layout of a package come from their dataclasses, docstrings and files.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from broker_server.config_text import argument_texts, keys
from broker_server.evaluation.onnx_model import MODEL
from broker_server.service import RELOADED
from edge_runtime.wire import manifest
from edge_runtime.wire.enrolment import ENROLMENT_FORMAT
from edge_runtime.wire.limits import WIRE_VERSION
from edge_runtime.wire.manifest_checks import NEEDED_FILES
from edge_runtime.wire.program_interface import PROGRAM_INTERFACE
from export.packaging.manifest import OLDEST_RUNTIME
from export.planning import profiles

PAGE: Final = Path(__file__).with_name("reference.md")
HEADER: Final = """# Reference

Written by `make reference` from the code; do not edit. [when.md](when.md) says when to use all this,
[choosing.md](choosing.md) what to set, [troubleshooting.md](troubleshooting.md) what messages mean. Every command has
`--help`.
"""
SETTINGS: Final = """
## Settings of the gateway

Keys of gateway.toml (TOML 1.0). `broker_server config` prints them with the values that hold in a folder, and
`broker_server config --check` says whether a file is right. As the default of a path, `""` means none. Options of
`broker_server run` go before the file. **SIGHUP**: a running gateway takes a new value when it gets that signal; all
others wait for the next start. [operating.md](operating.md#settings) shows some of them at work.

"""
PROFILES: Final = """## Device profiles

`python -m export.build --device NAME` takes a profile of `export/devices`, or the path of a TOML file of your own.
Every key has to be there but `tokenizers` and `tasks`; numbers are above 0; other keys are refused. The comments in the
shipped files say of each figure whether a vendor published it, we measured it, derived it, or assumed it.

"""
PACKAGE: Final = f"""## Layout of a device package

A folder that `python -m export.build` writes whole or not at all. Every file but the first two has its SHA-256 in
manifest.json, and is compared with it when the package is opened. Files that the manifest does not name are not read. A
device needs {", ".join(f"`{name}`" for name in NEEDED_FILES)}, and can do without `{manifest.GATEWAY_FOLDER}`.

"""
BEHIND_FILES: Final = """A package holds no texts, no keys and nothing that was learned: those are in a device's state
directory. [SPEC.md](../edge_runtime/wire/SPEC.md) has the form of the bank and of the program's inputs and outputs,
[architecture.md](architecture.md#what-one-program-holds) what the program's methods do.

### Versions

"""
UNITS: Final = (
    (r"_gmac_s$", "10⁹ multiply-accumulates a second"),
    (r"_gb_s$", "10⁹ bytes a second"),
    (r"_per_s$", "a second"),
    (r"_per_minute$", "a minute"),
    (r"_per_hour$", "an hour"),
    (r"_ms$", "milliseconds"),
    (r"_s$|seconds$", "seconds"),
    (r"_mib$", "MiB"),
    (r"_mb$", "10⁶ bytes"),
    (r"^bytes|_bytes$", "bytes"),
    (r"_share$|^trim$", "share, 0 to 1"),
    (r"^(steps|\w+_steps|steps_per_round)$", "steps"),
    (r"^(versions|keep_versions|max_staleness)$", "versions"),
    (r"^(rounds|keep_rounds|decay_rounds)$", "rounds"),
    (r"^(quorum|connections|idle_names)$", "devices"),
)
"""By what a name ends with; the first that fits."""
KINDS: Final = (
    (r"^int$", "whole number"),
    (r"^float$", "number"),
    (r"^bool$", "true or false"),
    (r"^str$", "text"),
    (r"^Path", "path"),
    (r"^tuple\[str", "list of texts"),
    (r"^tuple\[int", "list of whole numbers"),
    (r"^tuple", "list"),
    (r"^(dict|[A-Z])", "table"),
)
"""What a field takes in words, by its annotation; the first that fits."""
NUMBERS: Final = ("int", "float")
TABLES: Final = {
    "": "The top of the file",
    "listen": "where devices connect, and what one of them may do",
    "round": "when a round starts and ends",
    "train": "what devices are asked to do",
    "limits": "what the gateway puts up with, and what it keeps",
    "server": "how a mean update becomes a version",
    "robust": "merging where devices may lie",
    "gate": "which merged versions devices get",
    "privacy": "differential privacy of devices",
    "secure": "sums under masks, so that the gateway sees no single delta",
    "engine": "who merges",
    "upstream": "the gateway above, of a site",
    "web": "the page",
}
FILES: Final = {
    manifest.MANIFEST: ("what the program computes and costs, digests of all other files", "device, gateway, app"),
    manifest.SIGNATURE: (
        "64 bytes: the maker's Ed25519 signature of manifest.json; only in a signed package",
        "device, app",
    ),
    "program.pte": (
        "ExecuTorch program: a method for each size of training and inference; the frozen weights once",
        "device, app",
    ),
    "tokenizer.json": ("the tokenizer, as Hugging Face's tokenizers library writes it", "device, gateway, app"),
    "bank.safetensors": (
        "version 0 of the bank: experts, shared experts, head, mean, in float32",
        "device, gateway, app",
    ),
    MODEL: ("the frozen model in ONNX, for measuring versions", "gateway"),
}
"""Each file of a package: what is in it, and who reads it."""
PARTS: Final = (
    (manifest.Manifest, "manifest.json"),
    (manifest.Architecture, "`architecture`: its digest is the federation's identity"),
    (manifest.Backbone, "`architecture.backbone`"),
    (manifest.Tier, "each of `tiers`"),
    (manifest.Cost, "`predicted` and `measured` of a tier; 0 means not known"),
    (manifest.FileEntry, "each of `files`"),
)


def unit(name: str, annotation: str) -> str:
    """Return the unit of a field by its name; "" when it has none."""
    if annotation not in NUMBERS:
        return ""
    return next((text for pattern, text in UNITS if re.search(pattern, name)), "")


def kind(annotation: str) -> str:
    """Return what a field takes in words. Args: annotation: as its dataclass has it, "Path | None"."""
    return next(text for pattern, text in KINDS if re.search(pattern, annotation))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, an empty line behind it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines) + "\n"


def value(default: object) -> str:
    """Return a default as TOML has it; "" stands for no path."""
    plain = "" if default is None else str(default) if isinstance(default, Path) else default
    return f"`{json.dumps(plain)}`"


def settings() -> str:
    """Return the section on gateway.toml."""
    parts = [SETTINGS]
    for name, about in TABLES.items():
        parts.append(f"### {f'[{name}]: {about}' if name else about}\n\n")
        rows = [
            [
                f"`{key.name.rpartition('.')[2]}`",
                kind(key.kind),
                "none: must be given" if key.name == "package" else value(key.default),
                unit(key.name.rpartition(".")[2], key.kind),
                key.text,
                "yes" if key.name in RELOADED else "",
            ]
            for key in keys()
            if key.table == name
        ]
        parts.append(table(("key", "type", "default", "unit", "meaning", "SIGHUP"), rows))
    return "".join(parts)


def fields(owner: type[Any], without: Collection[str] = ()) -> list[list[str]]:
    """Return name, type, unit and meaning of each field of a dataclass.

    Raises:
        KeyError: when its docstring leaves a field out.
    """
    about = argument_texts(owner)
    return [
        [f"`{field.name}`", kind(str(field.type)), unit(field.name, str(field.type)), about[field.name]]
        for field in dataclasses.fields(owner)
        if field.name not in without
    ]


def device_profiles() -> str:
    """Return the section on export/devices/*.toml."""
    loaded = [profiles.load_profile(name) for name in profiles.profile_names()]
    top = fields(profiles.DeviceProfile, without=("budget", "compute", "defaults"))
    parts = [
        PROFILES,
        "### The top of a profile\n\n",
        table(("key", "type", "unit", "meaning"), top),
    ]
    for section, owner in (
        ("budget", profiles.Budget),
        ("compute", profiles.Compute),
        ("defaults", profiles.Defaults),
    ):
        parts.append(f"### [{section}] of a profile\n\n")
        rows = [
            [*row, *(f"{getattr(getattr(one, section), row[0].strip('`')):,.10g}" for one in loaded)]
            for row in fields(owner)
        ]
        parts.append(table(("key", "type", "unit", "meaning", *(one.name for one in loaded)), rows))
    return "".join(parts)


def package_layout() -> str:
    """Return the section on a device package."""
    versions = [
        [
            "package format",
            str(manifest.PACKAGE_FORMAT),
            "`package_format` in manifest.json",
            "another is refused: export again",
        ],
        [
            "wire",
            str(WIRE_VERSION),
            "`wire_version` in manifest.json, and in every message",
            "another is refused: UNSUPPORTED_WIRE",
        ],
        [
            "program interface",
            str(PROGRAM_INTERFACE),
            "`program_interface` in manifest.json",
            "another is refused: export again",
        ],
        [
            "oldest ExecuTorch",
            OLDEST_RUNTIME,
            "`oldest_runtime` in manifest.json",
            "older runtimes may compute wrong values",
        ],
        [
            "enrolment format",
            str(ENROLMENT_FORMAT),
            "an enrolment file, not a package",
            "another is refused: enrol again",
        ],
    ]
    parts = [
        PACKAGE,
        table(("file", "what is in it", "who reads it"), ([f"`{name}`", *cells] for name, cells in FILES.items())),
        BEHIND_FILES,
        table(("version", "of this release", "where it stands", "what a reader does with another"), versions),
    ]
    for owner, title in PARTS:
        parts.append(f"### {title}\n\n")
        parts.append(table(("key", "type", "unit", "meaning"), fields(owner)))
    return "".join(parts).rstrip("\n") + "\n"


def page() -> str:
    """Return docs/reference.md."""
    return HEADER + settings() + device_profiles() + package_layout()


def main(argv: Sequence[str] | None = None) -> int:
    """Write or compare the page; exit status 1 when ``--check`` finds another text."""
    parser = argparse.ArgumentParser(prog="python -m docs.reference", description="Write docs/reference.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is not current")
    if parser.parse_args(argv).check:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page()
        if not current:
            sys.stderr.write(f"{PAGE.name}: not what the code says; run: make reference\n")
        return 0 if current else 1
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
