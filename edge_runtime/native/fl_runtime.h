/* fl_runtime: runs the programs of a device package, without Python and without torch.
 *
 * One C ABI over ExecuTorch's C++ runtime, the same for ctypes, JNI and JNA. It opens a .pte file, tells what its
 * methods take and give, and executes one on the caller's buffers.
 *
 * Conventions
 *   - Every function that can fail returns an fl_status (0 is success). What went wrong, in words, is then what
 *     fl_last_error gives in the same thread, until that thread's next call that can fail.
 *   - A program is known by a handle, a number that is never reused: 0, a closed handle and an invented one are
 *     refused with FL_BAD_HANDLE.
 *   - Text comes out in two ways with one rule: `capacity` bytes are written at most, always ending in NUL when
 *     capacity > 0, and `needed` is the size of the whole text with its NUL. Lists have one item a line.
 *   - Tensors are dense and row-major, in the machine's byte order, with the shape that the program was made for.
 *   - Nothing here keeps a pointer of the caller's after it returned.
 *
 * Threads: every function may be called from any thread. Calls on one handle take turns. Closing a handle while
 * another thread executes on it is safe: the program goes when that call has returned.
 *
 * Memory: the methods of one program share one set of scratch arenas, as large as the largest method needs and
 * resident only as far as they were touched. So methods must be pure functions, as all methods of a package are:
 * a program with mutable state of its own loses it when another of its methods runs.
 *
 * Trust: a truncated or damaged file is opened and described safely, or refused. Loading or executing one may end the
 * process: what a delegate's own blob says of its tensors is checked by the delegate alone, and not all of it, and
 * ExecuTorch's verifier passes over fields that may be absent (tests/fuzz/README.md). So compare a package's digests
 * before opening what is in it.
 *
 * After fork(): a child may go on using a handle that its parent opened; its methods are loaded anew.
 */
#ifndef FL_RUNTIME_H_
#define FL_RUNTIME_H_

#include <stdint.h>

#if defined(_WIN32)
#define FL_API __declspec(dllexport)
#else
#define FL_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a caller built for an older header would misread this library. */
#define FL_ABI_VERSION 1
#define FL_MAX_RANK 16

typedef int64_t fl_handle;

enum fl_status {
  FL_OK = 0,
  FL_BAD_ARGUMENT = 1,  /* null pointer, overlapping buffers, a number out of range */
  FL_BAD_HANDLE = 2,    /* never opened, or closed */
  FL_NOT_FOUND = 3,     /* no such file, method or tensor */
  FL_BAD_PROGRAM = 4,   /* truncated, damaged, or made for another runtime */
  FL_WRONG_COUNT = 5,   /* another number of tensors than the method takes or gives */
  FL_WRONG_DTYPE = 6,
  FL_WRONG_SHAPE = 7,   /* rank, a dimension, or the bytes behind them */
  FL_UNSUPPORTED = 8,   /* a kernel, backend or kind of value that is not here */
  FL_OUT_OF_MEMORY = 9,
  FL_FAILED = 10,       /* the method stopped with an error */
  FL_INTERNAL = 11      /* a broken assumption in this library or in the runtime */
};

/* Element types, numbered as ExecuTorch and its Android library number them. */
enum fl_dtype {
  FL_UINT8 = 0,
  FL_INT8 = 1,
  FL_INT16 = 2,
  FL_INT32 = 3,
  FL_INT64 = 4,
  FL_FLOAT16 = 5,
  FL_FLOAT32 = 6,
  FL_FLOAT64 = 7,
  FL_BOOL = 11,
  FL_BFLOAT16 = 15
};

enum fl_open_flags {
  FL_OPEN_MMAP = 0, /* map the file: weights cost memory only while they are read */
  FL_OPEN_READ = 1  /* read what is needed: for a file that may change or vanish while it is open */
};

typedef struct fl_method_info {
  int32_t inputs;
  int32_t outputs;
  uint64_t planned_bytes; /* scratch arenas of this method; shared with the program's other methods */
  int32_t loaded;         /* 1 when its weights are packed and ready */
  int32_t reserved;
} fl_method_info;

typedef struct fl_tensor_info {
  int64_t shape[FL_MAX_RANK];
  uint64_t nbytes;
  int32_t rank;
  int32_t dtype;   /* fl_dtype */
  int32_t planned; /* 1: the runtime copies it through its arena; 0: the method works on the caller's buffer */
  int32_t reserved;
} fl_tensor_info;

/* One tensor of the caller's. */
typedef struct fl_buffer {
  void *data; /* may be null when nbytes is 0 */
  uint64_t nbytes;
  const int64_t *shape; /* rank numbers; may be null when rank is 0 */
  int32_t rank;
  int32_t dtype; /* fl_dtype */
} fl_buffer;

/* --- about the library ------------------------------------------------------------------------------------- */

FL_API int32_t fl_abi_version(void);

/* Version of the ExecuTorch that this library was built against, such as "1.5.1+cpu"; static text. */
FL_API const char *fl_executorch_version(void);

/* Names of the registered backends (XNNPACK's is "XnnpackBackend"). */
FL_API int32_t fl_backends(char *text, uint64_t capacity, uint64_t *needed);

/* Names of the registered kernels (such as "aten::add.out"), sorted, each once. */
FL_API int32_t fl_kernels(char *text, uint64_t capacity, uint64_t *needed);

/* Threads that kernels and XNNPACK use, over the whole process. Setting waits for running calls and unloads every
 * loaded method (each is loaded again when it is next executed), so set it before the first one. 1 <= n <= 256. */
FL_API int32_t fl_threads(int32_t *count);
FL_API int32_t fl_set_threads(int32_t count);

/* Text of the last failure in this thread; empty after a success. Returns the size of the whole text with its NUL. */
FL_API uint64_t fl_last_error(char *text, uint64_t capacity);

/* --- a program --------------------------------------------------------------------------------------------- */

/* Opens and checks a program; no method is loaded yet. `flags` is one of fl_open_flags. */
FL_API int32_t fl_open(const char *path, int32_t flags, fl_handle *handle);
FL_API int32_t fl_close(fl_handle handle);

/* Names of the methods, in the order of the file. */
FL_API int32_t fl_methods(fl_handle handle, char *text, uint64_t capacity, uint64_t *needed);
FL_API int32_t fl_method(fl_handle handle, const char *method, fl_method_info *info);
FL_API int32_t fl_method_backends(fl_handle handle, const char *method, char *text, uint64_t capacity,
                                  uint64_t *needed);
FL_API int32_t fl_input(fl_handle handle, const char *method, int32_t index, fl_tensor_info *info);
FL_API int32_t fl_output(fl_handle handle, const char *method, int32_t index, fl_tensor_info *info);

/* Packs a method's weights now instead of at its first execution. Loading a loaded method does nothing. */
FL_API int32_t fl_load(fl_handle handle, const char *method);

/* Frees a method's packed weights, and of the arenas what no loaded method needs. Unloading what is not loaded does
 * nothing. */
FL_API int32_t fl_unload(fl_handle handle, const char *method);

/* Runs a method: reads all inputs, fills all outputs, in the order of fl_input and fl_output. No output buffer may
 * overlap another buffer of the call. After a failure the contents of the output buffers are undefined. */
FL_API int32_t fl_execute(fl_handle handle, const char *method, const fl_buffer *inputs, int32_t input_count,
                          const fl_buffer *outputs, int32_t output_count);

#ifdef __cplusplus
}
#endif
#endif /* FL_RUNTIME_H_ */
