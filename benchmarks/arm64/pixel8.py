"""A file tree in which an emulated program finds the processor of a Pixel 8 and Debian's ARM64 C library.

ExecuTorch's thread pool and XNNPACK read ``/proc/cpuinfo`` and ``/sys`` to learn how many cores of which kind there
are; QEMU's user emulation looks there first. Which instructions exist, the program learns from the emulated processor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

CORES: Final = ((4, 0xD46, 1_704_000, "0-3"), (4, 0xD4D, 2_367_000, "4-7"), (1, 0xD4E, 2_914_000, "8"))
"""Tensor G3: count, part number, kHz and cluster of Cortex-A510, A715 and X3."""
FEATURES: Final = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3"
    " sm4 asimddp sha512 asimdfhm dit uscat ilrcpc flagm ssbs sb dcpodp flagm2 frint i8mm bf16 bti"
)
_ARM: Final = 0x41


def make_root(folder: Path, libraries: Path) -> Path:
    """Write the tree to ``folder`` and return it. Args: libraries: the folder with ld-linux-aarch64.so.1."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "lib"
    if not link.is_symlink():
        link.symlink_to(libraries)
    cores = [(part, khz, cluster) for count, part, khz, cluster in CORES for _ in range(count)]
    last = len(cores) - 1
    cpus = "sys/devices/system/cpu"
    _write(folder / "proc/cpuinfo", "\n".join(_cpuinfo(number, part) for number, (part, _, _) in enumerate(cores)))
    for name in ("possible", "present"):
        _write(folder / cpus / name, f"0-{last}")
    for number, (part, khz, cluster) in enumerate(cores):
        facts = {
            "cpufreq/cpuinfo_max_freq": khz,
            "cpufreq/cpuinfo_min_freq": 324_000,
            "topology/core_siblings_list": f"0-{last}",
            "topology/package_cpus_list": f"0-{last}",
            "topology/cluster_cpus_list": cluster,
            "topology/physical_package_id": 0,
            "topology/core_id": number,
            "regs/identification/midr_el1": f"{_ARM << 24 | 1 << 20 | 0xF << 16 | part << 4:#018x}",
        }
        for name, value in facts.items():
            _write(folder / cpus / f"cpu{number}" / name, str(value))
    return folder


def _cpuinfo(number: int, part: int) -> str:
    lines = {
        "processor": number,
        "BogoMIPS": "49.15",
        "Features": FEATURES,
        "CPU implementer": f"{_ARM:#x}",
        "CPU architecture": 8,
        "CPU variant": "0x1",
        "CPU part": f"{part:#x}",
        "CPU revision": 0,
    }
    return "".join(f"{name}\t: {value}\n" for name, value in lines.items())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
