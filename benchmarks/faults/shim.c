// Faults at the border to the kernel, for a process that has this library preloaded (LD_PRELOAD).
//
// Calls that change files below a root are counted. At the armed one the process kills itself, or the call fails, or it
// writes half and then the process dies. Nothing else of the process is touched. The clock may be moved, too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { NOTHING, KILL, HALF, FAIL, SHORT };

static char root[4096];
static long count, first, last;  // calls so far; the armed range, both ends included; last < first: none
static enum kind kind;
static int failure;
static double clock_offset;  // seconds
static long clock_after;     // calls of the wall clock before it jumps

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

// For Python's ctypes. what: as enum kind; HALF writes half and dies, SHORT writes half and says so.
void fault_arm(const char *folder, long from, long to, int what, int error) {
  snprintf(root, sizeof root, "%s", folder);
  count = 0; first = from; last = to; kind = (enum kind)what; failure = error;
}
long fault_count(void) { return count; }
void fault_clock(double offset, long after) { clock_offset = offset; clock_after = after; }

__attribute__((constructor)) static void from_environment(void) {
  const char *folder = getenv("FAULT_ROOT"), *plan = getenv("FAULT_PLAN");
  long from, to; int what, error;
  if (folder && plan && sscanf(plan, "%ld %ld %d %d", &from, &to, &what, &error) == 4) fault_arm(folder, from, to, what, error);
}

static int below(const char *path) { return root[0] && path && !strncmp(path, root, strlen(root)); }

static int below_at(const char *path) {
  if (!root[0] || !path) return 0;
  if (path[0] == '/') return below(path);
  char here[4096];
  return getcwd(here, sizeof here) && below(here);
}

static int handle_below(int handle) {
  if (!root[0]) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size <= 0) return 0;
  path[size] = 0;
  return below(path);
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

// Returns -1 with errno set when the call is to fail, 1 or 2 when half is to be written, 0 when nothing happens.
static int strike(int counts) {
  if (!counts) return 0;
  long now = count++;
  if (now < first || now > last) return 0;
  if (kind == KILL) die();
  if (kind == HALF) return 1;
  if (kind == SHORT) return 2;
  if (kind == FAIL) { errno = failure; return -1; }
  return 0;
}

ssize_t write(int handle, const void *data, size_t size) {
  REAL(write);
  int hit = strike(handle_below(handle));
  if (hit < 0) return -1;
  if (hit == 1) { real(handle, data, size / 2); die(); }
  if (hit == 2 && size > 1) size /= 2;
  return real(handle, data, size);
}

static ssize_t write_at(ssize_t (*real)(int, const void *, size_t, off64_t), int handle, const void *data, size_t size, off64_t at) {
  int hit = strike(handle_below(handle));
  if (hit < 0) return -1;
  if (hit == 1) { real(handle, data, size / 2, at); die(); }
  if (hit == 2 && size > 1) size /= 2;
  return real(handle, data, size, at);
}
ssize_t pwrite(int handle, const void *data, size_t size, off_t at) { REAL(pwrite); return write_at((void *)real, handle, data, size, at); }
ssize_t pwrite64(int handle, const void *data, size_t size, off64_t at) { REAL(pwrite64); return write_at(real, handle, data, size, at); }

#define ON_HANDLE(name) int name(int handle) { REAL(name); int hit = strike(handle_below(handle)); \
  if (hit < 0) return -1; \
  if (hit == 1) die(); \
  return real(handle); }
ON_HANDLE(fsync)
ON_HANDLE(fdatasync)

int ftruncate(int handle, off_t size) { REAL(ftruncate); int hit = strike(handle_below(handle));
  if (hit < 0) return -1;
  if (hit == 1) die();
  return real(handle, size); }
int ftruncate64(int handle, off64_t size) { REAL(ftruncate64); int hit = strike(handle_below(handle));
  if (hit < 0) return -1;
  if (hit == 1) die();
  return real(handle, size); }

int rename(const char *old, const char *new) { REAL(rename); int hit = strike(below_at(old));
  if (hit < 0) return -1;
  if (hit == 1) die();
  return real(old, new); }
int unlink(const char *path) { REAL(unlink); int hit = strike(below_at(path));
  if (hit < 0) return -1;
  if (hit == 1) die();
  return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); int hit = strike(below_at(path));
  if (hit < 0) return -1;
  if (hit == 1) die();
  return real(path, mode); }

// Opening counts where it makes a file.
#define OPEN(name) int name(const char *path, int flags, ...) { REAL(name); mode_t mode = 0; \
  if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
  int hit = strike((flags & O_CREAT) && below_at(path)); \
  if (hit < 0) return -1; \
  if (hit == 1) die(); \
  return real(path, flags, mode); }
OPEN(open)
OPEN(open64)

static long clock_calls;
int clock_gettime(clockid_t which, struct timespec *at) {
  REAL(clock_gettime);
  int result = real(which, at);
  if (which == CLOCK_REALTIME && clock_offset != 0 && clock_calls++ >= clock_after) {
    double seconds = (double)at->tv_sec + clock_offset;
    at->tv_sec = (time_t)(seconds > 0 ? seconds : 0);
  }
  return result;
}
