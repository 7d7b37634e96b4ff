"""From a model with experts to program bytes: trace, simplify, fuse, quantize, recompute, cut, lower, link."""
