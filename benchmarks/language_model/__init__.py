"""Training a language model: tokens a second, memory, file size, export time; against PyTorch."""
