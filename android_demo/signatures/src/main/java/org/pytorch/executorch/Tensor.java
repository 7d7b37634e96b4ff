package org.pytorch.executorch;

/** Signature of the class of ExecuTorch's Android library; bodies are never run. */
public abstract class Tensor {
  public static native Tensor fromBlob(float[] data, long[] shape);

  public static native Tensor fromBlob(long[] data, long[] shape);

  public abstract DType dtype();

  public native long[] shape();

  public native float[] getDataAsFloatArray();

  public native long[] getDataAsLongArray();
}
