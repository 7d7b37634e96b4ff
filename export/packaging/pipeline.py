"""From a configuration to a package: plan, compile (or take from the cache), prove, measure, write.

Nothing heavy is imported until something must be compiled, so an unchanged rebuild takes a second.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.fill import Fill
from edge_runtime.wire.manifest import Manifest, Package
from edge_runtime.wire.program_interface import MethodShape
from export import cache
from export.compiling import explained
from export.errors import ExportError
from export.packaging import artifacts, manifest, package_folder
from export.packaging.artifacts import CachedArtifact
from export.packaging.bank_init import initial_bank
from export.packaging.manifest import Record
from export.packaging.workers import Task, run_tasks
from export.planning.config import ExportConfig
from export.planning.job import COMPILING, PackagePlan, TierPlan, plan
from export.planning.profiles import DeviceProfile
from export.planning.row_choice import RowChoice

Progress = Callable[[str], None]
JOINING: Final = 2
WRITING: Final = 1
"""Stages of putting the methods together, and of writing; beside them, each tier is measured."""


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Args:
        package: the package, opened.
        profile: the device's.
        from_cache: whether the program had been compiled before.
        outside: by method of the program, how many of which operations run outside XNNPACK.
        left_out: tiers (program sizes) that were asked for and do not fit the device, one sentence each.
        notes: what in the model's folder is not taken as it stands, one sentence each.
        memory_plans: by training method, the sentence that says why its memory was planned so.
        row_choice: by what the number of rows in a step was chosen.
        fills: by training method, how full its steps will be, where there were texts to count.
        texts: how tokenizer and backbone agree with the originals on test texts (``stock_texts.TextProof``).
        explained: by method, where its memory and time go (``explained.as_object``).
    """

    package: Package
    profile: DeviceProfile
    from_cache: bool
    outside: dict[str, dict[str, int]]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    memory_plans: dict[str, str]
    row_choice: RowChoice
    fills: dict[str, Fill]
    texts: dict[str, Any]
    explained: dict[str, dict[str, Any]]

    @property
    def folder(self) -> Path:
        """The package's folder."""
        return self.package.folder

    @property
    def manifest(self) -> Manifest:
        """The package's manifest: architecture, tiers with predicted and measured costs, proofs, files."""
        return self.package.manifest

    @property
    def file_bytes(self) -> dict[str, int]:
        """Size of each file of the package, in bytes, by its path in the folder."""
        return {name: entry.bytes for name, entry in self.manifest.files.items()}

    @property
    def errors(self) -> dict[str, float]:
        """How far the program is from eager PyTorch, by name: the largest error of any tier, relative to its scale."""
        tiers = self.manifest.tiers
        return {name: max(tier.proof[name] for tier in tiers) for name in tiers[0].proof} | dict(self.manifest.proof)


@dataclass(frozen=True)
class _Compiled:
    """Where both programs lie, the record of the first's proof and cost, and that of the proof on texts."""

    program: Path
    gateway: Path
    record: Record
    texts: dict[str, Any]
    from_cache: bool


def make_package(config: ExportConfig, progress: Progress, expect: Callable[[int], None] = lambda _: None) -> Built:
    """Make the package of a configuration.

    Args:
        config: what to make.
        progress: gets a sentence at the start of each stage.
        expect: gets the number of stages, once it is known.

    Raises:
        ExportError: one of its children, saying what came, what was expected and what to do.
    """
    package_folder.check_target(config.out)
    planned = plan(config, progress)
    counting = 1 if planned.row_choice.texts else 0
    with tempfile.TemporaryDirectory(prefix="export-") as scratch:
        kept = config.cache_dir or Path(scratch) / "cache"
        compiled = _Builder(planned, kept, Path(scratch), progress).compiled(lambda stages: expect(counting + stages))
        progress("write the package")
        written = _write(planned, compiled)
    figures = {
        name: explained.as_object(dict(record), planned.profile.compute)
        for name, record in compiled.record.methods.items()
    }
    plans = {tier.train.name: tier.why for tier in planned.tiers}
    outside = {name: dict(record["outside"]) for name, record in compiled.record.methods.items()}
    fills = {tier.train.name: tier.fill for tier in planned.tiers if tier.fill}
    return Built(
        package=written,
        profile=planned.profile,
        from_cache=compiled.from_cache,
        outside=outside,
        left_out=planned.left_out,
        notes=planned.job.backbone.notes,
        memory_plans=plans,
        row_choice=planned.row_choice,
        fills=fills,
        texts=compiled.texts,
        explained=figures,
    )


@dataclass
class _Builder:
    """Takes artifacts from the cache, has the others made, and puts each into the cache as soon as it is there.

    So what was finished before an interrupt is never made again.
    """

    plan: PackagePlan
    cache_dir: Path
    scratch: Path
    progress: Progress

    def compiled(self, expect: Callable[[int], None]) -> _Compiled:
        """Return both programs."""
        gateway = artifacts.gateway_key(self.plan.job)
        program = artifacts.program_key(self._keys().values(), gateway)
        texts = self._found(artifacts.texts_key(self.plan.job), "")
        joined_program = self._found(program, artifacts.PROGRAM_FILE)
        onnx = self._found(gateway, artifacts.GATEWAY_FILE)
        if joined_program and onnx and texts:
            expect(WRITING)
            return _result(joined_program, onnx, texts, from_cache=True)
        missing = [method for method in self.plan.job.methods if not self._method(method)]
        unproved = [tier for tier in self.plan.tiers if not self._proof(tier)]
        stages = (0 if texts else 1) + len(missing) * COMPILING + (0 if onnx else 1) + len(unproved)
        expect(stages + JOINING + len(self.plan.tiers) + WRITING)
        texts = texts or self._prove_texts()
        self._compile(missing, "" if onnx else gateway)
        joined = self._prove_and_join(unproved, self._present(gateway, artifacts.GATEWAY_FILE))
        self._compare(joined["outputs"])
        records = self._records()
        for name, timing in self._timings().items():
            records[name] |= timing
        record = {"methods": records, "proof": joined["proof"]}
        cache.store(self.cache_dir, program, {artifacts.PROGRAM_FILE: self.scratch / artifacts.PROGRAM_FILE}, record)
        return _result(
            self._present(program, artifacts.PROGRAM_FILE),
            self._present(gateway, artifacts.GATEWAY_FILE),
            texts,
            from_cache=False,
        )

    def _prove_texts(self) -> CachedArtifact:
        """See that texts are read as the model's folder says; first, since it takes seconds and the rest minutes."""
        key = artifacts.texts_key(self.plan.job)
        task = Task("the texts", "prove_backbone", (self.plan.job, self.plan.job.longest))

        def finished(_: int, record: dict[str, Any]) -> None:
            cache.store(self.cache_dir, key, {}, record)

        run_tasks([task], self.progress, finished)
        return self._present(key, "")

    def _compile(self, missing: Sequence[MethodShape], gateway: str) -> None:
        """Make methods and, unless its key is empty, the gateway's program; the longest tasks start first."""
        entries = [(self._keys()[method.name], artifacts.METHOD_FILE) for method in missing]
        targets = [self.scratch / f"{method.name}.pte" for method in missing]
        tasks = [
            Task(method.name, "make_method", (self.plan.job, method, target))
            for method, target in zip(missing, targets, strict=True)
        ]
        if gateway:  # second, because it takes as long as a training method
            entries.insert(1, (gateway, artifacts.GATEWAY_FILE))
            onnx = self.scratch / artifacts.GATEWAY_FILE
            targets.insert(1, onnx)
            tasks.insert(1, Task("the gateway's program", "make_gateway_program", (self.plan.job, onnx)))

        def finished(place: int, record: dict[str, Any]) -> None:
            key, name = entries[place]
            cache.store(self.cache_dir, key, {name: targets[place]}, record)

        run_tasks(tasks, self.progress, finished)

    def _prove_and_join(self, unproved: Sequence[TierPlan], onnx: CachedArtifact) -> dict[str, Any]:
        """Prove each tier by itself and join the methods of all; return what joining found."""
        job, files = self.plan.job, self._artifacts()
        tasks = [Task("the program", "join_methods", (job, files, onnx.file, self.scratch))]
        for tier in unproved:
            own = [files[method.name] for method in tier.methods]
            tasks.append(Task(tier.train.name, "prove_training", (job, tier.train, own, self.scratch)))
        joined: dict[str, Any] = {}

        def finished(place: int, result: dict[str, Any]) -> None:
            if place == 0:
                joined.update(result)
            else:
                cache.store(self.cache_dir, self._proof_key(unproved[place - 1]), {}, {"methods": result})

        run_tasks(tasks, self.progress, finished)
        return joined

    def _compare(self, outputs: Mapping[str, str]) -> None:
        """See that every training method computes in company what it was proved to compute by itself.

        Equal digests say so; a proof that another machine put into the cache may have others.
        """
        records = self._records()
        names = [name for name, digest in outputs.items() if records[name]["outputs"] != digest]
        tiers = [tier for tier in self.plan.tiers if tier.train.name in names]
        if tiers:
            files = self._artifacts()
            groups = [(tier.train, [files[method.name] for method in tier.methods]) for tier in tiers]
            task = Task("the program", "compare_methods", (self.plan.job, groups, self.scratch))
            run_tasks([task], self.progress, lambda *_: None)

    def _timings(self) -> dict[str, dict[str, Any]]:
        """Return how long a step of each tier takes here, by method: alone, when nothing is compiled any more."""
        timings: dict[str, dict[str, Any]] = {}
        task = Task("the program", "measure_steps", (self.plan.job, self.scratch))
        run_tasks([task], self.progress, lambda _, measured: timings.update(measured))
        return timings

    def _records(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each method: of its compiling, and of its proof where it takes part in one."""
        records = {
            method.name: dict(self._present(key, artifacts.METHOD_FILE).record) for method, key in self._with_keys()
        }
        for tier in self.plan.tiers:
            for name, record in self._present(self._proof_key(tier), "").record["methods"].items():
                records[name] |= record
        return records

    def _keys(self) -> dict[str, str]:
        return {method.name: artifacts.method_key(self.plan.job, method) for method in self.plan.job.methods}

    def _with_keys(self) -> list[tuple[MethodShape, str]]:
        return [(method, artifacts.method_key(self.plan.job, method)) for method in self.plan.job.methods]

    def _proof_key(self, tier: TierPlan) -> str:
        return artifacts.proof_key([artifacts.method_key(self.plan.job, method) for method in tier.methods])

    def _method(self, method: MethodShape) -> CachedArtifact | None:
        return self._found(artifacts.method_key(self.plan.job, method), artifacts.METHOD_FILE)

    def _proof(self, tier: TierPlan) -> CachedArtifact | None:
        return self._found(self._proof_key(tier), "")

    def _artifacts(self) -> dict[str, Path]:
        return {method.name: self._present(key, artifacts.METHOD_FILE).file for method, key in self._with_keys()}

    def _found(self, key: str, name: str) -> CachedArtifact | None:
        entry = cache.lookup(self.cache_dir, key)
        return CachedArtifact(entry[0] / name, entry[1]) if entry else None

    def _present(self, key: str, name: str) -> CachedArtifact:
        artifact = self._found(key, name)
        if artifact is None:
            raise ExportError(f"the cache {self.cache_dir} lost an entry while it was used; start again")
        return artifact


def _result(program: CachedArtifact, gateway: CachedArtifact, texts: CachedArtifact, *, from_cache: bool) -> _Compiled:
    record = Record(program.record["methods"], program.record["proof"])
    return _Compiled(program.file, gateway.file, record, dict(texts.record), from_cache)


def _write(planned: PackagePlan, compiled: _Compiled) -> Package:
    folder = package_folder.staging(planned.config.out)
    try:
        package_folder.place(compiled.program, folder / "program.pte")
        package_folder.place(compiled.gateway, folder / "gateway" / "model.onnx")
        package_folder.place(planned.job.backbone.folder / "tokenizer.json", folder / "tokenizer.json")
        bank = initial_bank(planned.job.model.bank)
        architecture = manifest.architecture(planned, folder, bank.digest().hex())
        (folder / "bank.safetensors").write_bytes(bank.to_bytes(architecture.digest()))
        whole = manifest.manifest(planned, compiled.record, folder, architecture)
        return package_folder.commit(folder, whole, planned.config.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
