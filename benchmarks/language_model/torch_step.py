"""The process of the PyTorch arm: ``python -m benchmarks.language_model.torch_step --work work.json ...``.

The stock model in fp32, frozen, with experts beside each feed-forward; autograd and AdamW over what is trained. Needs
torch and transformers, and no part of this project but `benchmarks.eager`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.train_step import timing


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    timing.add_arguments(parser)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch loads

    import torch  # noqa: PLC0415
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    work = json.loads(arguments.work.read_text(encoding="utf-8"))
    model = LlamaForCausalLM.from_pretrained(work["model"], dtype=torch.float32).eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
    return timing.report(stepper(model, work["sizes"]), arguments)


def stepper(model: Any, work: dict[str, Any], rate: float = 1e-3) -> Callable[[], float]:  # noqa: ANN401 - transformers' own
    """Return a function that makes one AdamW step on a batch of random tokens and gives the loss."""
    import torch  # noqa: PLC0415

    from benchmarks.eager import Experts, Sizes  # noqa: PLC0415

    sizes = Sizes(**{**work, "layers": tuple(work["layers"])})
    experts = [_beside(model.model.layers[layer], Experts(model.config.hidden_size, sizes)) for layer in sizes.layers]
    trained = [weight for one in experts for weight in one.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    shape = (sizes.batch, sizes.sequence + 1)
    tokens = torch.randint(1000, 20000, shape, generator=torch.Generator().manual_seed(0))

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    return step


def _beside(layer: Any, experts: Any) -> Any:  # noqa: ANN401 - a stock layer, and its experts
    """Add what the experts make of the feed-forward's input to its output."""
    layer.mlp.register_forward_hook(lambda _module, inputs, out: out + experts(inputs[0]))
    return experts


if __name__ == "__main__":
    sys.exit(main())
