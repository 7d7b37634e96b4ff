"""One training step, ours against the ways there are: ``python -m benchmarks.train_step``.

Every arm is a command that runs in a process of its own (`arms`), because thread pools of PyTorch and XNNPACK in one
process fight for the cores. `compare` runs the commands in turns and makes medians; it and what the PyTorch arms need
import nothing of ours besides, so that `bundle` can carry them to another machine.
"""
