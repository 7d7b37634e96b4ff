"""The native driver: a C library over the executorch wheel's C++ SDK (`fl_runtime.h`), its build and its binding."""
