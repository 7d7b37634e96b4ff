"""What a version is worth on held-out text: the ONNX model, the data, the background worker."""
