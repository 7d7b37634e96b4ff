package org.pytorch.executorch;

/** Signature of the class of ExecuTorch's Android library; bodies are never run. */
public enum DType {
  INT64,
  FLOAT
}
