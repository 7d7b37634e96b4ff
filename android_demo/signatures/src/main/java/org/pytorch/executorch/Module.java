package org.pytorch.executorch;

/** Signature of the class of ExecuTorch's Android library; bodies are never run. */
public class Module {
  public static final int LOAD_MODE_MMAP = 1;

  public static native Module load(String modelPath, int loadMode, int numThreads);

  public native String[] getMethods();

  public native EValue[] execute(String methodName, EValue... inputs);

  public native void destroy();
}
