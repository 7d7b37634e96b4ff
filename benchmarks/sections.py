"""The sections of docs/results.md, one function for each benchmark: from its records to Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from benchmarks import record
from benchmarks.federation import page as federations
from benchmarks.fleet import page as fleet
from benchmarks.fleet.costs import page as costs
from benchmarks.fleet.costs import units
from benchmarks.fleet.simulated import page as simulated
from benchmarks.language_model import ABOUT as LANGUAGE_ARMS
from benchmarks.longevity import page as longevity
from benchmarks.markdown import newest, percent, source, table
from benchmarks.real_text import page as real_texts
from benchmarks.train_step.arms import ABOUT
from benchmarks.usual_tools import page as usual_tools


def loop_table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the accuracy of each set's merged model beside its bounds."""
    head = ("data", "labels", "devices", "rounds", "untrained", "class means", "merged", "centralized", "alone (mean)")
    keys = [f"accuracy_{name}" for name in ("untrained", "class_means", "final", "centralized", "local_mean")]
    rows = [
        [
            run["data"],
            *(str(run[k]) for k in ("labels", "devices", "rounds")),
            *(percent(run[k]) for k in keys),
        ]
        for run in runs
    ]
    return table(head, rows)


def federation(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on accuracy of the merged model against its bounds."""
    runs = newest(lines, "data")
    sent = [
        [
            run["data"],
            f"{run['bytes_up'] / run['devices'] / 1e6:.2f}",
            f"{run['bytes_down'] / run['devices'] / 1e6:.2f}",
            f"{run['bytes_model'] / 1e6:.1f}",
            " → ".join(percent(value) for value in run["accuracy_by_round"]),
        ]
        for run in runs
    ]
    sources = [f"- {run['data']}: {source(run)}" for run in runs]
    return (
        "\n## The loop: accuracy on held-out text, %\n\n"
        "Devices alone: each trains the same number of steps on its own data. Centralized: the same experts on all\n"
        "data in one place, as many steps as all devices make together, so as many texts, but one step after the\n"
        "other, where a round merges what its devices did side by side (decision 0047). Accuracies of versions are\n"
        "computed by the gateway through ONNX Runtime, those of devices alone and centralized on the device runtime.\n"
        "One seed each. The federation's learning rate was chosen on texts held back from HWU64's training set and on\n"
        "the held-out text of the demo's own set (`assistant`), whose figures therefore flatter a little; the arms',\n"
        "half of it, on the former. The other sets were run with the same rates. Lines of commit 7d1790f are older:\n"
        "rate 2e-3, heads as the class means made them, and a weaker centralized arm.\n\n"
        + loop_table(runs)
        + "\n"
        + table(("data", "MB up per device", "MB down per device", "package, MB", "merged model by round, %"), sent)
        + "\n"
        + "\n".join(sources)
        + "\n"
    )


def real_federation(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on real runs beside the simulator's of the same plans."""
    runs = newest(lines, "set")
    rows = [
        [
            run["set"],
            f"{run['clients']} ({sum(layers < max(run['layers'].values()) for layers in run['layers'].values())})",
            f"{run['held_out']:,}",
            " → ".join(percent(value) for value in run["real"]),
            " → ".join(percent(value) for value in run["replayed"]),
            f"{100 * run['largest_difference']:.2f}",
            f"{100 * run['last_difference']:.2f}",
        ]
        for run in runs
    ]
    head = ("set", "devices (of the top layers only)", "held out", "real, %", "simulated, %", "largest, points", "last")
    sources = "".join(f"- {run['set']}: {source(run)}\n" for run in runs)
    return (
        "\n## A real federation beside the simulator\n\n"
        "A gateway, MQTT, and a process with an ExecuTorch program for each device, int8 both ways; then the same\n"
        "plans and orders of texts in the simulator. Accuracy on held-out text by round, one seed.\n\n"
        + table(head, rows)
        + "\n"
        + sources
    )


def train_step(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on the training step: the newest run on each machine."""
    parts = ["\n## One training step\n\n", f"{lines[-1]['work']} Each arm in its own process, in turns, medians.\n"]
    for run in newest(lines, "machine"):
        extensions = f" ({', '.join(run['extensions'])})" if run.get("extensions") else ""
        threads = f", {run['threads']} threads" if "threads" in run else ""
        parts += ["\n", step_table(run), f"\n- {source(run)}{extensions}{threads}\n"]
    return "".join(parts)


def step_table(run: dict[str, Any]) -> str:
    """Return the arms of one run, fastest first."""
    ours = run["arms"]["ours"]["ms_median"]
    rows = [
        [
            f"**{ABOUT[name]}**" if name == "ours" else ABOUT[name],
            f"{arm['ms_median']:,.1f}",
            f"{arm['ms_median'] / ours:.2f}",
            f"{arm['peak_rss_mib']:,.0f}",
            f"{arm['file_mb']:.1f}" if "file_mb" in arm else "",
        ]
        for name, arm in sorted(run["arms"].items(), key=lambda item: float(item[1]["ms_median"]))
    ]
    return table(("one step of training", "ms", "time ÷ ours", "peak memory, MiB", "file, MB"), rows)


def quantization(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on what rounding the frozen weights costs: the newest run of each set."""
    runs = {name: run for run in lines for name in run["sets"]}
    rows = [
        [
            name,
            "float32" if arm == "none" else arm,
            f"{percent(figures['mean'])} ± {percent(figures['spread'])}",
            "" if arm == "none" or figures["points_lost"] is None else f"{figures['points_lost']:.2f}",
            *(f"{run[key]:,}" for key in ("seeds", "steps", "test")),
        ]
        for name, run in runs.items()
        for arm, figures in run["sets"][name].items()
    ]
    return (
        "\n## Rounded frozen weights: accuracy on held-out text, %\n\n"
        "The same experts trained by the same steps of 8 texts on the device runtime, head from class means; mean and\n"
        "standard deviation over seeds.\n\n"
        + table(("data", "frozen weights", "accuracy", "points lost", "seeds", "steps", "held-out texts"), rows)
        + "\n"
        + "".join(f"- {name}: {source(run)}\n" for name, run in runs.items())
    )


def arm64(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on instructions of a step on 64-bit ARM."""
    run, kinds = lines[-1], ("instructions", "smmla", "sdot", "fmla", "load_store")
    rows = [[cpu, *(f"{counts[kind] / 1e6:,.1f}" for kind in kinds)] for cpu, counts in run["cpus"].items()]
    return (
        "\n## One training step on 64-bit ARM, millions of instructions\n\n"
        f"{run['work']} The second step, one thread, under emulation (`docs/arm64.md`).\n"
        "Counts repeat exactly, so they show what a change costs. They do not model cycles: cache,\n"
        "bandwidth, issue width and heat are left out.\n\n"
        + table(("processor", "all", "smmla", "sdot", "fmla", "load or store"), rows)
        + f"\n- `{run['command']}`, {run['date']}, commit {run['commit']}\n"
        + "".join(_arm64_examples(run) for run in [run for run in lines if "examples" in run][-1:])
    )


def _arm64_examples(run: dict[str, Any]) -> str:
    """Return the table of instructions for each text, packed and a text a row."""
    packed, padded = run["examples"]["packed"], run["examples"]["padded"]
    rows = [
        [cpu, *(f"{each / 1e6:,.1f}" for each in (padded["cpus"][cpu], count)), f"{padded['cpus'][cpu] / count:.2f}"]
        for cpu, count in packed["cpus"].items()
    ]
    return (
        f"\nFor each text of CLINC150, millions of instructions; {packed['texts']:.1f} texts a step packed, 16 of 32"
        " tokens padded:\n\n"
        + table(("processor", "padded", "packed", "padded ÷ packed"), rows)
        + f"\n- `{run['command']}`, {run['date']}, commit {run['commit']}\n"
    )


def language_model(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on training a language model: the newest run on each machine."""
    head = ("training a language model", "tokens/s", "ms a step", "time ÷ ours", "peak memory, MiB", "file, MB")
    parts = ["\n## Training a language model of 135 M parameters\n"]
    for run in newest(lines, "machine"):
        ours = run["arms"]["ours"]
        rows = [
            [
                LANGUAGE_ARMS[name],
                *(f"{arm[key]:,.0f}" for key in ("tokens_s", "ms_median")),
                f"{arm['ms_median'] / ours['ms_median']:.2f}",
                *(f"{arm[key]:,.0f}" for key in ("peak_rss_mib", "file_mb")),
            ]
            for name in LANGUAGE_ARMS
            if (arm := run["arms"].get(name))
        ]
        seconds, peak = f"{ours['export_s']:.0f}", f"{ours['export_peak_rss_mib']:,.0f}"
        making = f"The program was exported in {seconds} s with a peak of {peak} MiB."
        parts += [f"\n{run['work']}. Random weights, each arm in its own process, in turns, medians. {making}\n\n"]
        parts += [table(head, rows), f"\n- {source(run)}\n"]
    return "".join(parts)


def prefix_cache(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on training above cached prefixes: times on each machine, the newest accuracies."""
    text = (
        "\n## The frozen prefix, cached\n\n"
        f"{lines[-1]['work']}\n"
        "Whole steps of the device runtime, tokenizing and reading the cache included, in turns, medians.\n"
    )
    for run in newest(lines, "machine"):
        rows = [
            [about, f"{timing['ms_median']:.1f}", f"{run['ratios'][arm]:.2f}", f"{timing['peak_rss_mib']:.0f}"]
            for arm, about in _PREFIXES.items()
            if (timing := run["arms"].get(arm))
        ]
        text += "\n" + table(("experts in", "step, ms", "times as fast", "peak memory, MiB"), rows)
        text += f"\n- {source(run)}; {run['cache_bytes_per_text'] / 1000:.0f} kB of cache for a text of 64 tokens\n"
    return text + "".join(_prefix_accuracies(run) for run in [run for run in lines if run["sets"]][-1:])


_PREFIXES: Final = {
    "all": "all six layers, no cache",
    "first": "last two, first epoch",
    "cached": "last two, from the second epoch on",
    "int8": "last two, prefixes int8",
    "fp16": "last two, prefixes fp16",
}


def _prefix_accuracies(run: dict[str, Any]) -> str:
    rows = [
        [
            name,
            about,
            f"{percent(accuracies['mean'])} ± {percent(accuracies['spread'])}",
            "" if arm == "all" else f"{accuracies['points_lost']:.2f}",
        ]
        for name, arms in run["sets"].items()
        for arm, about in _PREFIXES.items()
        if (accuracies := arms.get(arm))
    ]
    return (
        f"\nAccuracy on held-out text, %: the same settings for all, {run['steps']} steps of 8 texts, head from class\n"
        f"means; mean and standard deviation of {run['seeds']} seeds, at most {run['test']:,} held-out texts.\n\n"
        + table(("data", "experts in", "accuracy", "points lost"), rows)
        + f"\n- {source(run)}\n"
    )


def fold(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on folding: the newest run with and without routers."""
    head = ("folding int8 deltas", "GB/s", "share of a copy, %", "copy, GB/s", "whole arrays, GB/s", "SHA-256, GB/s",
            "parsing, GB/s", "look at values, GB/s")  # fmt: skip
    runs = newest(lines, "topk")
    rows = [
        [
            f"{run['devices']} of {run['delta_mb']:.2f} MB, {'top-k' if run['topk'] else 'soft'} gates",
            f"{run['fold_gb_s']:.2f}", percent(run["share_of_copy"]),
            *(f"{run[key]:.2f}" for key in ("copy_gb_s", "fold_one_by_one_gb_s", "sha256_gb_s", "parse_gb_s")),
            f"{run['check_gb_s']:.2f}",
        ]
        for run in runs
    ]  # fmt: skip
    return (
        "\n## Folding\n\n"
        "Gigabytes of int8 deltas a second into float64 sums, beside a copy of memory as STREAM counts it (read and\n"
        "written), and what else a body costs a gateway.\n\n"
        + table(head, rows)
        + "\n"
        + "".join(f"- {source(run)}\n" for run in runs)
    )


def secure_aggregation(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on sums under masks: the newest run of each number of devices."""
    head = ("devices", "neighbours", "bits of a value", "kB up", "of int8", "shares and answer, kB", "kB down more",
            "device, ms", "dropped out", "gateway, ms")  # fmt: skip
    runs = sorted(newest(lines, "devices"), key=lambda run: int(run["devices"]))
    rows = [
        [
            str(run["devices"]), str(run["neighbours"]), str(run["bits"]), f"{run['bytes_up_all'] / 1e3:.0f}",
            f"{run['bytes_up_all'] / run['bytes_int8']:.2f}",
            f"{(run['bytes_up']['shares'] + run['bytes_up']['answer']) / 1e3:.1f}",
            f"{run['bytes_down_all'] / 1e3:.0f}", f"{run['ms_all']:.0f}", _outcome(run),
            f"{sum(run['gateway_ms'].values()):.0f}" if "exact" in run else "",
        ]
        for run in runs
    ]  # fmt: skip
    return (
        "\n## Sums under masks\n\n"
        "A device's part in a round whose deltas are summed under masks (decision 0050), four of eight bundles of the\n"
        "default bank, values as int8's, beside the same values as a plain int8 delta. Bytes without the framing of\n"
        "messages; one core. Rounds were carried out whole; 30 % of the devices dropped out after their shares.\n\n"
        + table(head, rows)
        + "\n"
        + "".join(f"- {one}\n" for one in dict.fromkeys(map(source, runs)))
    )


def shards(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on merging by shards of one machine: the newest run of each layout."""
    runs = sorted(newest(lines, "shards"), key=lambda run: int(run["shards"]))
    rows = [
        [
            f"{run['shards']} on Ray" if run["shards"] else "in process",
            *(f"{run[key]:,.1f}" for key in ("mb_s", "mb_s_sent_ahead")),
            "the same" if run["same_bytes"] else "**others**",
        ]
        for run in runs
    ]
    first = runs[0]
    return (
        "\n## Merging by shards of one machine\n\n"
        f"{first['devices']} int8 deltas of {first['delta_mb']:.2f} MB, from the spool to the next version's blocks,\n"
        f"int8 steps included; {first['cores']} cores, the best of three. A gateway sends a delta's parts to the\n"
        "shards while a round is open (the second column); in the first they are still to be sent when it closes.\n"
        "What limits shards is what the gateway does alone: it reads and cuts the deltas, which bounds the first\n"
        "column below what one process merges, and it takes in and hashes the next version's blocks. The shards share\n"
        "the memory and the cores of one machine, so they show what sharing out costs, not what machines add.\n\n"
        + table(("layout", "MB/s, parts to be sent", "MB/s, parts sent ahead", "bytes"), rows)
        + "\n"
        + "".join(f"- {one}\n" for one in dict.fromkeys(map(source, runs)))
    )


def _outcome(run: dict[str, Any]) -> str:
    """Return how many devices dropped out of a round that was carried out, and what became of its sums."""
    if "exact" not in run:
        return ""
    exact = run["sums"] - run["closed"] if run["exact"] else "not all"
    return f"{run['dropped_out']}: {exact} of {run['sums']} sums exact"


def install_table(runs: Sequence[dict[str, Any]]) -> str:
    """Return what each part costs to install, in the order of the runs."""
    head = ("extras", "packages", "MB added", "MB with the empty environment", "MB in the cache", "pip, s")
    rows = [
        [
            run["part"],
            str(run["packages"]),
            *(f"{each:,.1f}" for each in (run["mb"], run["mb"] + run["empty_mb"], run["cache_mb"], run["pip_s"])),
            f"{run['works_s']:.1f}",
        ]
        for run in runs
    ]
    return table((*head, "imports, helps, build, s"), rows)


def extras(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on installing each part."""
    runs = newest(lines, "part")
    return (
        "\n## Installing one part\n\n"
        "Each in a fresh virtual environment, from the package index, with nothing in pip's cache; `edge` from a\n"
        "wheel for boards, the others as from a checkout. `pip check` was content after each, what the part brings\n"
        "was imported, its commands printed their help. With `edge-source` the native driver was compiled, over\n"
        "ExecuTorch's wheel or, beside `export`, the installed package. Bytes are those right after pip, which\n"
        "compiled all to bytecode but for `edge` (`--no-compile`).\n\n"
        + install_table(runs)
        + "\n"
        + "".join(
            f"- {source(run)}; pip's seconds: median of {run['times']}, load average {run['load']:.1f} on"
            f" {run['cores']} cores\n"
            for run in runs
        )
    )


def sizes(_lines: Sequence[dict[str, Any]]) -> str:
    """Return the section on what a gateway needs by the number of devices, from the records of several benchmarks."""
    return costs.section({name: record.read(name) for name in units.FILES})


SECTIONS: Final = {
    "demo": federation,
    "federation": federations.section,
    "real_federation": real_federation,
    "train_step": train_step,
    "real_text": real_texts.section,
    "usual_tools": usual_tools.section,
    "quantization": quantization,
    "prefix_cache": prefix_cache,
    "language_model": language_model,
    "arm64": arm64,
    "fleet": fleet.section,
    "simulated_fleet": simulated.section,
    units.NAME: sizes,
    "fold": fold,
    "shards": shards,
    "secure_aggregation": secure_aggregation,
    "longevity": longevity.section,
    "extras": extras,
}
"""By benchmark, in the order of the page."""
