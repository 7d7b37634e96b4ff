/* Android's log, on the standard error output: warnings and worse, as `adb logcat *:W` shows them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { WARN = 5, FATAL = 7, LEVELS = 8 };

int __android_log_vprint(int level, const char *tag, const char *format, va_list values) {
  if (level < WARN) return 0;
  fprintf(stderr, "%c/%s: ", level < LEVELS ? "??VDIWEF"[level] : '?', tag ? tag : "");
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  return 1;
}

int __android_log_print(int level, const char *tag, const char *format, ...) {
  va_list values;
  va_start(values, format);
  int written = __android_log_vprint(level, tag, format, values);
  va_end(values);
  return written;
}

int __android_log_write(int level, const char *tag, const char *text) {
  return __android_log_print(level, tag, "%s", text);
}

void __android_log_assert(const char *failed, const char *tag, const char *format, ...) {
  if (failed) __android_log_print(FATAL, tag, "assertion failed: %s", failed);
  if (format) {
    va_list values;
    va_start(values, format);
    __android_log_vprint(FATAL, tag, format, values);
    va_end(values);
  }
  abort();
}
