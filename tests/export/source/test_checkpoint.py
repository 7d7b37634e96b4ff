"""The weights' files as people have them: in several files, in half precision, or not there at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from checkpoints import changed

from export.errors import UnsupportedModelError
from export.source import backbone
from export.source.checkpoint import read_checkpoint

POINTER = "version https://git-lfs.example/spec/v1\noid sha256:00\nsize 90868376\n"


def _saved(tiny: Path, folder: Path, **options: object) -> Path:
    """Save the tiny model again in another way."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny, dtype=options.pop("dtype", torch.float32))
    model.save_pretrained(folder, **options)
    shutil.copyfile(tiny / "tokenizer.json", folder / "tokenizer.json")
    return folder


def _refused(folder: Path, said: str) -> None:
    with pytest.raises(UnsupportedModelError, match=said):
        backbone.find(str(folder))


def test_weights_in_several_files_are_the_same_weights(tiny: Path, tmp_path: Path) -> None:
    """A sharded checkpoint has the digest, the count and the values of the one in a single file."""
    folder = _saved(tiny, tmp_path / "model", max_shard_size="20KB")
    files = sorted(path.name for path in folder.glob("model-*.safetensors"))
    assert len(files) >= 3
    one, several = backbone.find(str(tiny)), backbone.find(str(folder))
    assert (several.digest, several.parameters) == (one.digest, one.parameters)
    first, second = (backbone.load(info).state_dict() for info in (one, several))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    (folder / files[1]).unlink()
    _refused(folder, rf"names {len(files)} files; missing: {files[1]}; copy the model again")
    (folder / "model.safetensors.index.json").write_text("{}")
    _refused(folder, "is no index of weights")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_float32(tiny: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    """Every value is the float32 of what the file has: widening is exact."""
    folder = _saved(tiny, tmp_path / "model", dtype=dtype)
    half, whole = backbone.load(backbone.find(str(folder))), backbone.load(backbone.find(str(tiny)))
    for name, value in half.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, whole.state_dict()[name].to(dtype).float())


def test_quantized_checkpoints_are_refused(tiny: Path, tmp_path: Path) -> None:
    """By what config.json says, or by weights that are no floats; buffers of old checkpoints are not meant."""
    said = {"quant_method": "gptq", "bits": 4}
    _refused(
        changed(tiny, tmp_path / "gptq", quantization_config=said), r"already quantized .*: gptq\); .* it was made"
    )
    name = "encoder.layer.0.output.dense.weight"
    int8 = changed(tiny, tmp_path / "int8", lambda weights: {**weights, name: weights[name].to(torch.int8)})
    _refused(int8, rf"{name} is I8: quantized weights; expected float32, float16 or bfloat16")
    ids = "embeddings.position_ids"
    old = changed(tiny, tmp_path / "old", lambda weights: {**weights, ids: torch.arange(40).unsqueeze(0)})
    assert torch.equal(*(backbone.load(backbone.find(str(one))).state_dict()[name] for one in (old, tiny)))


def test_pointers_of_git_lfs_are_refused(tiny: Path, tmp_path: Path) -> None:
    """A clone without git-lfs has notes in place of the large files."""
    folder = changed(tiny, tmp_path / "model")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        kept = (folder / name).read_bytes()
        (folder / name).write_text(POINTER)
        _refused(folder, rf"{name} is a Git LFS pointer, not the file itself; run `git lfs pull`")
        (folder / name).write_bytes(kept)
    shutil.copyfile(folder / "model.safetensors", folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"embeddings.word_embeddings.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_checkpoint(folder).digest() == read_checkpoint(tiny).digest()
    (folder / "model-00001-of-00001.safetensors").write_text(POINTER)
    _refused(folder, "model-00001-of-00001.safetensors is a Git LFS pointer")


def test_other_formats_are_refused_with_what_to_do(tiny: Path, tmp_path: Path) -> None:
    """Pickles, GGUF files, adapters without their model; a folder without a fast tokenizer."""
    folder = changed(tiny, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    _refused(folder, "has no model.safetensors; save the model with transformers' save_pretrained")
    for name, said in (
        ("tiny.Q4_K_M.gguf", "tiny.Q4_K_M.gguf is a GGUF file; save"),
        ("adapter_model.safetensors", r"is an adapter without its model: merge it into the model first"),
        (
            "pytorch_model-00001-of-00002.bin",
            r"00002.bin is a pickle, which can run code while it is read: if you trust",
        ),
    ):
        (folder / name).write_bytes(b"")
        _refused(folder, said)
        (folder / name).unlink()
    (folder / "tokenizer.json").unlink()
    _refused(folder, r"has no tokenizer.json; save it with transformers: AutoTokenizer\.from_pretrained")
