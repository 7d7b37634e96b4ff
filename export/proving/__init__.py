"""Proof that programs compute what plain PyTorch computes, what they cost when run, and the gateway's ONNX program."""
