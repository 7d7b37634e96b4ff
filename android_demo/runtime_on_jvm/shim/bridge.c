/* Loads Android's libraries that lie beside this one before Java asks for them.
 *
 * RTLD_DEEPBIND: the java command has libstdc++ in the global scope, and the runtime brings another C++ library with
 * the same names (operator new, type_info); each must find its own. The runtime and its helpers come as one group, as
 * on Android: both look into the runtime first, so that they have one C++ library between them, and what the one
 * throws the other catches. Plain names such as libc.so are found because libraries of these names are loaded already.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>

static const char *const NAMES[] = {"libc.so", "libm.so", "libdl.so", "liblog.so", "libandroid.so", "libgroup.so"};

__attribute__((constructor)) static void load(void) {
  Dl_info own;
  char folder[4096], path[4096 + 64];
  if (!dladdr((void *)load, &own)) return;
  snprintf(folder, sizeof folder, "%s", own.dli_fname);
  dirname(folder);
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, NAMES[i]);
    if (!dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND)) {
      fprintf(stderr, "Android's %s cannot be loaded: %s\n", NAMES[i], dlerror());
      return; /* Java will say which class lacks it */
    }
  }
}
