"""Own texts on this device: examples, windows, tokens, batches, and cached prefixes of the frozen layers."""
