package org.pytorch.executorch;

/** Signature of the class of ExecuTorch's Android library; bodies are never run. */
public class EValue {
  public static native EValue from(Tensor value);

  public native Tensor toTensor();
}
