// fl_run: executes one method of a program from the shell, over the C ABI alone, for measurements and for machines
// without Python.
//
//   fl_run PROGRAM METHOD [--inputs FILE] [--outputs FILE] [--steps N] [--warm-up N] [--threads N]
//          [--carry OUTPUT:INPUT]... [--smaps FILE]
//
// Tensors are raw bytes, one after another in the method's order; without --inputs all are zero. --carry says which
// output replaces which input of the next step, so that a training method trains. --outputs is written after the last
// step. --warm-up makes steps before those that count. --smaps keeps the system's account of this process's memory
// after the last step (Linux). Prints one JSON object: the processor's features that matter, threads, milliseconds of
// the load and of each step (wall, and processor time of all threads), the first value of output 0 after each step
// when it is float32, planned memory, and the peak of the resident memory.
// Exit status: 0 done, 1 the work failed (one line on stderr), 2 bad usage.
#include <sys/resource.h>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fl_runtime.h"

// A step stands between two hints that no core acts on, where an emulator that counts instructions sees them.
#if defined(__aarch64__)
#define FL_MARK_BEGIN() asm volatile("hint #64" ::: "memory")
#define FL_MARK_END() asm volatile("hint #65" ::: "memory")
#else
#define FL_MARK_BEGIN()
#define FL_MARK_END()
#endif

namespace {

struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Request {
  std::string program, method, inputs, outputs, smaps;
  int steps = 1;
  int warm_up = 0;
  int threads = 0;  // 0: as many as the runtime takes by itself
  std::vector<std::pair<size_t, size_t>> carried;  // output, input
};

// The tensors of one side of a method: their descriptions, their memory, and how the library is told of them.
struct Side {
  std::vector<fl_tensor_info> infos;
  std::vector<std::vector<char>> data;
  std::vector<fl_buffer> buffers;
};

void check(int32_t status) {
  if (status == FL_OK) return;
  char text[1024];
  fl_last_error(text, sizeof text);
  throw std::runtime_error(text);
}

size_t number(const std::string& text, const char* what, size_t least) {
  char* end = nullptr;
  const unsigned long value = std::strtoul(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || text[0] == '-' || value < least || value > 1000000) {
    throw Usage("got " + text + " for " + what + ", expected a number from " + std::to_string(least) + " to 1000000");
  }
  return value;
}

Request read_arguments(int count, char** arguments) {
  Request request;
  std::vector<std::string> places;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name.rfind("--", 0) != 0) {
      places.push_back(name);
      continue;
    }
    if (++i == count) throw Usage(name + " needs a value");
    const std::string value = arguments[i];
    if (name == "--inputs") request.inputs = value;
    else if (name == "--outputs") request.outputs = value;
    else if (name == "--steps") request.steps = static_cast<int>(number(value, "--steps", 1));
    else if (name == "--warm-up") request.warm_up = static_cast<int>(number(value, "--warm-up", 0));
    else if (name == "--smaps") request.smaps = value;
    else if (name == "--threads") request.threads = static_cast<int>(number(value, "--threads", 1));
    else if (name == "--carry") {
      const size_t colon = value.find(':');
      if (colon == std::string::npos) throw Usage("got --carry " + value + ", expected OUTPUT:INPUT");
      request.carried.emplace_back(number(value.substr(0, colon), "--carry", 0),
                                   number(value.substr(colon + 1), "--carry", 0));
    } else throw Usage("unknown option " + name);
  }
  if (places.size() != 2) throw Usage("got " + std::to_string(places.size()) + " names, expected PROGRAM and METHOD");
  request.program = places[0];
  request.method = places[1];
  return request;
}

template <class Describe>
Side allocate(int32_t count, Describe describe) {
  Side side;
  side.infos.resize(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) check(describe(i, &side.infos[static_cast<size_t>(i)]));
  for (const fl_tensor_info& info : side.infos) {
    side.data.emplace_back(info.nbytes);
    side.buffers.push_back({side.data.back().data(), info.nbytes, info.shape, info.rank, info.dtype});
  }
  return side;
}

void read_tensors(const std::string& path, Side& side) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  uint64_t wanted = 0;
  for (const fl_tensor_info& info : side.infos) wanted += info.nbytes;
  const auto size = static_cast<uint64_t>(file.tellg());
  if (size != wanted) {
    throw std::runtime_error(path + ": " + std::to_string(size) + " bytes, the method's inputs have " +
                             std::to_string(wanted));
  }
  file.seekg(0);
  for (std::vector<char>& tensor : side.data) file.read(tensor.data(), static_cast<std::streamsize>(tensor.size()));
  if (!file) throw std::runtime_error(path + ": cannot be read to its end");
}

void write_tensors(const std::string& path, const Side& side) {
  std::ofstream file(path, std::ios::binary);
  for (const std::vector<char>& one : side.data) file.write(one.data(), static_cast<std::streamsize>(one.size()));
  if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}

// The next step reads what this one wrote: the two tensors change places, nothing is copied.
void carry(const Request& request, Side& inputs, Side& outputs) {
  for (const auto& [from, to] : request.carried) {
    outputs.data[from].swap(inputs.data[to]);
    std::swap(outputs.buffers[from].data, inputs.buffers[to].data);
  }
}

void check_carried(const Request& request, const Side& inputs, const Side& outputs) {
  for (const auto& [from, to] : request.carried) {
    if (from >= outputs.infos.size() || to >= inputs.infos.size() ||
        outputs.infos[from].nbytes != inputs.infos[to].nbytes || outputs.infos[from].dtype != inputs.infos[to].dtype) {
      throw Usage("--carry " + std::to_string(from) + ":" + std::to_string(to) +
                  ": no such tensors, or they are not of one type and size");
    }
  }
}

double milliseconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - since).count();
}

// Processor time of all threads so far.
double cpu_milliseconds() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return 1e3 * static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-3 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// Of this program alone: what getrusage tells on Linux began with the process that started it.
double peak_rss_mib() {
#if defined(__linux__)
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("VmHWM:", 0) == 0) return std::strtod(line.c_str() + 6, nullptr) / 1024;
  }
#endif
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return static_cast<double>(usage.ru_maxrss) / (1024 * 1024);
#else
  return static_cast<double>(usage.ru_maxrss) / 1024;
#endif
}

// What decides which kernels XNNPACK takes; bits as in the kernel's arch/arm64/include/uapi/asm/hwcap.h.
std::string features() {
  std::string names;
#if defined(__aarch64__) && defined(__linux__)
  const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  const struct { const char* name; unsigned long word; int bit; } known[] = {
      {"asimd", first, 1},    {"asimdhp", first, 10}, {"dotprod", first, 20}, {"sve", first, 22},
      {"sve2", second, 1},    {"i8mm", second, 13},   {"bf16", second, 14},   {"sme", second, 23}};
  for (const auto& one : known) {
    if (one.word >> one.bit & 1) names += (names.empty() ? "\"" : ", \"") + std::string(one.name) + "\"";
  }
#endif
  return names;
}

std::string joined(const std::vector<double>& values) {
  std::string text;
  for (const double value : values) {
    char one[32];
    std::snprintf(one, sizeof one, "%.9g", value);
    text += (text.empty() ? "" : ", ") + (value - value == 0 ? std::string(one) : "null");  // JSON has no NaN
  }
  return text;
}

void run(const Request& request) {
  if (request.threads > 0) check(fl_set_threads(request.threads));
  const char* method = request.method.c_str();
  fl_handle handle = 0;
  fl_method_info about{};
  check(fl_open(request.program.c_str(), FL_OPEN_MMAP, &handle));
  check(fl_method(handle, method, &about));
  Side inputs = allocate(about.inputs, [&](int32_t i, fl_tensor_info* info) { return fl_input(handle, method, i, info); });
  Side outputs =
      allocate(about.outputs, [&](int32_t i, fl_tensor_info* info) { return fl_output(handle, method, i, info); });
  check_carried(request, inputs, outputs);
  if (!request.inputs.empty()) read_tensors(request.inputs, inputs);

  const auto began = std::chrono::steady_clock::now();
  check(fl_load(handle, method));
  const double load = milliseconds(began);
  std::vector<double> times, work, first;
  for (int step = -request.warm_up; step < request.steps; ++step) {
    if (step > -request.warm_up) carry(request, inputs, outputs);
    const double used = cpu_milliseconds();
    const auto start = std::chrono::steady_clock::now();
    FL_MARK_BEGIN();
    const int32_t status = fl_execute(handle, method, inputs.buffers.data(), about.inputs, outputs.buffers.data(),
                                      about.outputs);
    FL_MARK_END();
    const double took = milliseconds(start);
    check(status);
    if (step < 0) continue;
    times.push_back(took);
    work.push_back(cpu_milliseconds() - used);
    if (about.outputs == 0 || outputs.infos[0].dtype != FL_FLOAT32 || outputs.infos[0].nbytes == 0) continue;
    float value = 0;
    std::memcpy(&value, outputs.data[0].data(), sizeof value);
    first.push_back(value);
  }
  if (!request.outputs.empty()) write_tensors(request.outputs, outputs);
  if (!request.smaps.empty()) std::ofstream(request.smaps) << std::ifstream("/proc/self/smaps").rdbuf();
  int32_t threads = 0;
  check(fl_threads(&threads));
  std::printf("{\"features\": [%s], \"threads\": %d, \"load_ms\": %.3f, \"ms\": [%s], \"cpu_ms\": [%s], "
              "\"first\": [%s], \"planned_mib\": %.2f, \"peak_rss_mib\": %.1f}\n",
              features().c_str(), threads, load, joined(times).c_str(), joined(work).c_str(), joined(first).c_str(),
              static_cast<double>(about.planned_bytes) / (1 << 20), peak_rss_mib());
  check(fl_close(handle));
}

}  // namespace

int main(int count, char** arguments) {
  try {
    run(read_arguments(count, arguments));
    return 0;
  } catch (const Usage& error) {
    std::fprintf(stderr, "fl_run: %s\nusage: fl_run PROGRAM METHOD [--inputs FILE] [--outputs FILE] [--steps N] "
                         "[--warm-up N] [--threads N] [--carry OUTPUT:INPUT]... [--smaps FILE]\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fl_run: %s\n", error.what());
    return 1;
  }
}
