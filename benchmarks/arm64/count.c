/* Counts what an emulated 64-bit ARM program executes between two marks: a plugin for QEMU 7.1 to 8.x (qemu-user).
 *
 *   qemu-aarch64 -plugin count.so,out=FILE PROGRAM
 *
 * HINT #64 begins a stretch and HINT #65 ends it (fl_run.cpp puts them around each step); the last stretch is written
 * to FILE as one JSON object. One thread only. QEMU's header is not in Debian's packages, hence the declarations.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*on_execution)(unsigned int cpu, void *data);
enum { NO_REGISTERS = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t place);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, on_execution call, int registers, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                           void (*call)(qemu_plugin_id_t id, struct qemu_plugin_tb *block));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t id, void *data), void *data);

#define SHOWN __attribute__((visibility("default")))
SHOWN int qemu_plugin_version = 1;

/* Encodings from the Arm Architecture Reference Manual (C4.1); the first that fits counts. Vector forms only. */
static const struct {
  const char *name;
  uint32_t mask, value;
} kinds[] = {
    {"smmla", 0xFFE0FC00, 0x4E80A400},  /* int8 matrix product, 32 multiply-accumulates (i8mm) */
    {"sdot", 0xBFE0FC00, 0x0E809400},   /* int8 dot products, 16 in a full register (dotprod) */
    {"sdot", 0xBFC0F400, 0x0F80E000},   /* the same by element */
    {"fmla", 0xBFA0FC00, 0x0E20CC00},   /* float32 and float64, 4 in a full register of float32 */
    {"fmla", 0xBF80F400, 0x0F801000},   /* the same by element */
    {"sve", 0x1E000000, 0x04000000},    /* any */
    {"sme", 0x9E000000, 0x80000000},    /* any */
    {"load_store", 0x0A000000, 0x08000000},
};
enum { KINDS = sizeof kinds / sizeof *kinds };
static const uint32_t kBegin = 0xD503281F, kEnd = 0xD503283F;

/* A translated block: how often it ran in this stretch, and what is in it. */
struct block {
  struct block *next;
  uint64_t runs;
  uint32_t instructions;
  uint16_t of_kind[KINDS];
};

static struct block *blocks;
static int counting;
static uint64_t stretches;
static char path[4096];

static void begin(unsigned int cpu, void *data) {
  (void)cpu, (void)data;
  for (struct block *one = blocks; one; one = one->next) one->runs = 0;
  counting = 1;
}

static void end(unsigned int cpu, void *data) {
  (void)cpu, (void)data;
  stretches += counting;
  counting = 0;
}

static void executed(unsigned int cpu, void *data) {
  (void)cpu;
  if (counting) ((struct block *)data)->runs++;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *code) {
  (void)id;
  struct block *made = calloc(1, sizeof *made);
  if (made == NULL) abort();
  const size_t count = qemu_plugin_tb_n_insns(code);
  made->instructions = (uint32_t)count;
  for (size_t i = 0; i < count; ++i) {
    uint32_t word;
    memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(code, i)), sizeof word);
    if (word == kBegin) qemu_plugin_register_vcpu_tb_exec_cb(code, begin, NO_REGISTERS, NULL);
    if (word == kEnd) qemu_plugin_register_vcpu_tb_exec_cb(code, end, NO_REGISTERS, NULL);
    for (int kind = 0; kind < KINDS; ++kind) {
      if ((word & kinds[kind].mask) != kinds[kind].value) continue;
      made->of_kind[kind]++;
      break;
    }
  }
  made->next = blocks;
  blocks = made;
  qemu_plugin_register_vcpu_tb_exec_cb(code, executed, NO_REGISTERS, made);
}

static void finish(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  uint64_t total = 0, of_kind[KINDS] = {0};
  for (const struct block *one = blocks; one; one = one->next) {
    total += one->runs * one->instructions;
    for (int kind = 0; kind < KINDS; ++kind) of_kind[kind] += one->runs * one->of_kind[kind];
  }
  FILE *file = fopen(path, "w");
  if (file == NULL) abort();
  fprintf(file, "{\"stretches\": %llu, \"instructions\": %llu", (unsigned long long)stretches,
          (unsigned long long)total);
  for (int kind = 0; kind < KINDS; ++kind) {
    uint64_t sum = of_kind[kind];
    while (kind + 1 < KINDS && strcmp(kinds[kind].name, kinds[kind + 1].name) == 0) sum += of_kind[++kind];
    fprintf(file, ", \"%s\": %llu", kinds[kind].name, (unsigned long long)sum);
  }
  fprintf(file, "}\n");
  if (fclose(file) != 0) abort();
}

SHOWN int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments) {
  (void)info;
  if (count != 1 || strncmp(arguments[0], "out=", 4) != 0 || strlen(arguments[0] + 4) >= sizeof path) {
    fprintf(stderr, "count.so: expected one argument, out=FILE\n");
    return 1;
  }
  strcpy(path, arguments[0] + 4);
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finish, NULL);
  return 0;
}
