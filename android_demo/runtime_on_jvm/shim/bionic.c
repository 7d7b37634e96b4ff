/* Android's C library for a runtime that was linked against it, on top of this machine's glibc.
 *
 * Almost all of what the runtime imports has the same interface in both libraries and is passed on as it is (the
 * jumps are made by symbols.py). Here is what differs: numbers of sysconf and pathconf, the size of sigset_t, the
 * format of long double, the names of the standard streams, and functions that only Android has. Memory functions are
 * not here: malloc, free, mmap and munmap are glibc's and the kernel's, so what the runtime frees is freed.
 *
 * bionic_NAME becomes NAME@LIBC; x86-64 only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <wchar.h>

/* Standard streams. Older builds name them by their place in an array of FILE, 152 bytes each on 64 bits. */
enum { BIONIC_FILE = 152, STREAMS = 3 };
#define SEEN __attribute__((visibility("default")))
SEEN char bionic_streams[STREAMS * BIONIC_FILE];
SEEN FILE *bionic_stdin, *bionic_stdout, *bionic_stderr;
__asm__(".symver bionic_streams, __sF@LIBC");
__asm__(".symver bionic_stdin, stdin@LIBC");
__asm__(".symver bionic_stdout, stdout@LIBC");
__asm__(".symver bionic_stderr, stderr@LIBC");

__attribute__((constructor)) static void open_streams(void) {
  bionic_stdin = stdin;
  bionic_stdout = stdout;
  bionic_stderr = stderr;
}

static FILE *stream(void *file) {
  char *place = file;
  if (place < bionic_streams || place >= bionic_streams + sizeof bionic_streams) return file;
  FILE *real[STREAMS] = {stdin, stdout, stderr};
  return real[(place - bionic_streams) / BIONIC_FILE];
}

int bionic_fclose(void *f) { return fclose(stream(f)); }
int bionic_ferror(void *f) { return ferror(stream(f)); }
int bionic_fflush(void *f) { return fflush(f ? stream(f) : NULL); }
int bionic_fputc(int c, void *f) { return fputc(c, stream(f)); }
int bionic_fputs(const char *s, void *f) { return fputs(s, stream(f)); }
wint_t bionic_fputwc(wchar_t c, void *f) { return fputwc(c, stream(f)); }
size_t bionic_fread(void *to, size_t size, size_t count, void *f) { return fread(to, size, count, stream(f)); }
size_t bionic_fwrite(const void *from, size_t size, size_t count, void *f) {
  return fwrite(from, size, count, stream(f));
}
int bionic_fseek(void *f, long offset, int from) { return fseek(stream(f), offset, from); }
int bionic_fseeko(void *f, off_t offset, int from) { return fseeko(stream(f), offset, from); }
off_t bionic_ftello(void *f) { return ftello(stream(f)); }
int bionic_getc(void *f) { return getc(stream(f)); }
wint_t bionic_getwc(void *f) { return getwc(stream(f)); }
int bionic_ungetc(int c, void *f) { return ungetc(c, stream(f)); }
wint_t bionic_ungetwc(wint_t c, void *f) { return ungetwc(c, stream(f)); }
int bionic_setvbuf(void *f, char *buffer, int mode, size_t size) { return setvbuf(stream(f), buffer, mode, size); }
int bionic_vfprintf(void *f, const char *format, va_list values) { return vfprintf(stream(f), format, values); }
int bionic_fprintf(void *f, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int written = vfprintf(stream(f), format, values);
  va_end(values);
  return written;
}

/* What only Android has. */
int *bionic___errno(void) { return &errno; }
int bionic___system_property_get(const char *name, char *value) {
  (void)name;
  *value = 0; /* a machine without properties */
  return 0;
}
void bionic_android_set_abort_message(const char *message) { fprintf(stderr, "abort: %s\n", message ? message : ""); }
void bionic___assert2(const char *file, int line, const char *function, const char *failed) {
  fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, function, failed);
  abort();
}
size_t bionic___strlen_chk(const char *s, size_t size) {
  (void)size;
  return strlen(s);
}
char *bionic___strchr_chk(const char *s, int c, size_t size) {
  (void)size;
  return strchr(s, c);
}
char *bionic___strrchr_chk(const char *s, int c, size_t size) {
  (void)size;
  return strrchr(s, c);
}
ssize_t bionic___write_chk(int file, const void *from, size_t count, size_t size) {
  (void)size;
  return write(file, from, count);
}
char *bionic___gnu_strerror_r(int code, char *text, size_t size) { return strerror_r(code, text, size); }
int bionic_strerror_r(int code, char *text, size_t size) {
  const char *found = strerror_r(code, text, size);
  if (found != text) snprintf(text, size, "%s", found);
  return 0;
}

/* Numbers of sysconf and pathconf. */
long bionic_sysconf(int asked) {
  switch (asked) {
    case 0x27: /* PAGESIZE */
    case 0x28: return sysconf(_SC_PAGESIZE);
    case 0x60: return sysconf(_SC_NPROCESSORS_CONF);
    case 0x61: return sysconf(_SC_NPROCESSORS_ONLN);
    case 0x62: return sysconf(_SC_PHYS_PAGES);
    case 0x63: return sysconf(_SC_AVPHYS_PAGES);
    default: break;
  }
  fprintf(stderr, "sysconf(%d): this number of Android's is not translated\n", asked);
  errno = EINVAL;
  return -1;
}
long bionic_pathconf(const char *path, int asked) {
  static const int known[] = {_PC_FILESIZEBITS, _PC_LINK_MAX, _PC_MAX_CANON, _PC_MAX_INPUT,
                              _PC_NAME_MAX,     _PC_PATH_MAX, _PC_PIPE_BUF};
  if (asked >= 0 && asked < (int)(sizeof known / sizeof *known)) return pathconf(path, known[asked]);
  errno = EINVAL;
  return -1;
}

/* sigset_t has 8 bytes there and 128 here; the kernel's has 8. */
int bionic_sigfillset(unsigned long *set) {
  *set = ~0ul;
  return 0;
}
int bionic_pthread_sigmask(int how, const unsigned long *set, unsigned long *old) {
  /* Signals 32 and 33 belong to glibc. */
  unsigned long wanted = set ? *set & ~(3ul << 31) : 0;
  return syscall(SYS_rt_sigprocmask, how, set ? &wanted : NULL, old, sizeof wanted) ? errno : 0;
}

/* long double is a quad there and an x87 number here. */
typedef __float128 quad;
quad bionic_strtold(const char *text, char **end) { return strtold(text, end); }
quad bionic_strtold_l(const char *text, char **end, locale_t where) { return strtold_l(text, end, where); }
quad bionic_wcstold(const wchar_t *text, wchar_t **end) { return wcstold(text, end); }
quad bionic_ldexpl(quad value, int power) { return ldexpl((long double)value, power); }
quad bionic_frexpl(quad value, int *power) { return frexpl((long double)value, power); }
