"""Android's ExecuTorch (x86-64), unmodified, on the desktop's Java: what a phone would compute, without a phone."""
