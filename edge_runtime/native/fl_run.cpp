// Runs one method of a program again and again and tells what it cost: time, memory. No Python, no torch.
//
//   fl_run PROGRAM METHOD [--inputs FILE] [--outputs FILE] [--feed OUT:IN]... [--steps N] [--warm-up N] [--threads N]
//          [--smaps FILE]
//
// Inputs are raw bytes, one tensor after the other in the method's order (zeros without a file); outputs of the last
// step are written alike. --feed makes an output the next step's input, as a training step's new values are. --smaps
// keeps the kernel's account of this process's memory after the last step. One JSON object comes out on stdout.
// Exit status: 0 done, 1 the work failed (one line on stderr), 2 bad usage.
#include <sys/resource.h>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
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

constexpr uintptr_t kLine = 64;    // bytes: alignment of a tensor, and what vector kernels may read past its end
constexpr uintptr_t kPage = 4096;  // bytes

struct Options {
  std::string program, method, inputs, outputs, smaps;
  std::vector<std::pair<int, int>> feeds;  // output, input
  int steps = 10, warm_up = 2, threads = 0;
};

void check(int32_t status) {
  if (status == FL_OK) return;
  std::string text(fl_last_error(nullptr, 0), '\0');
  fl_last_error(&text[0], text.size());
  throw std::runtime_error(text.c_str());
}

int number(const char* text, const char* name, int least) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (end == text || *end != '\0' || value < least || value > 1000000) {
    throw std::invalid_argument(std::string(name) + ": got " + text + ", expected a number from " +
                                std::to_string(least));
  }
  return static_cast<int>(value);
}

std::pair<int, int> feed(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) throw std::invalid_argument("--feed: got " + text + ", expected OUTPUT:INPUT");
  return {number(text.substr(0, colon).c_str(), "--feed", 0), number(text.substr(colon + 1).c_str(), "--feed", 0)};
}

Options parse(int count, char** words) {
  Options options;
  std::vector<std::string> places;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word.rfind("--", 0) != 0) {
      places.push_back(word);
      continue;
    }
    if (i + 1 >= count) throw std::invalid_argument(word + " needs a value");
    const char* value = words[++i];
    if (word == "--inputs") options.inputs = value;
    else if (word == "--outputs") options.outputs = value;
    else if (word == "--smaps") options.smaps = value;
    else if (word == "--feed") options.feeds.push_back(feed(value));
    else if (word == "--steps") options.steps = number(value, "--steps", 1);
    else if (word == "--warm-up") options.warm_up = number(value, "--warm-up", 0);
    else if (word == "--threads") options.threads = number(value, "--threads", 1);
    else throw std::invalid_argument("unknown option " + word);
  }
  if (places.size() != 2) throw std::invalid_argument("expected PROGRAM METHOD; see the head of fl_run.cpp");
  options.program = places[0];
  options.method = places[1];
  return options;
}

// A tensor in memory of its own, placed so that the library works on it where it is (see kOverread in program.cpp).
class Slot {
 public:
  explicit Slot(const fl_tensor_info& info) : info_(info), memory_(new uint8_t[info.nbytes + 4 * kLine]()) {
    uintptr_t start = (reinterpret_cast<uintptr_t>(memory_.get()) + kLine - 1) / kLine * kLine;
    const uintptr_t end = start + info.nbytes;
    if ((end - 1) / kPage != (end + kLine - 1) / kPage) start += kLine;
    data_ = reinterpret_cast<uint8_t*>(start);
  }
  fl_buffer buffer() const { return {data_, info_.nbytes, info_.shape, info_.rank, info_.dtype}; }
  uint8_t* data() const { return data_; }
  uint64_t bytes() const { return info_.nbytes; }
  bool alike(const Slot& other) const {
    return info_.nbytes == other.info_.nbytes && info_.dtype == other.info_.dtype;
  }
  void exchange(Slot& other) {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
  }

 private:
  fl_tensor_info info_;
  std::unique_ptr<uint8_t[]> memory_;
  uint8_t* data_ = nullptr;
};

std::vector<fl_buffer> buffers(const std::vector<Slot>& slots) {
  std::vector<fl_buffer> found;
  for (const Slot& slot : slots) found.push_back(slot.buffer());
  return found;
}

void read_inputs(const std::string& path, std::vector<Slot>& slots) {
  std::ifstream file(path, std::ios::binary);
  for (Slot& slot : slots) file.read(reinterpret_cast<char*>(slot.data()), static_cast<std::streamsize>(slot.bytes()));
  if (!file || file.peek() != std::ifstream::traits_type::eof()) {
    throw std::runtime_error(path + ": not exactly the bytes of the method's inputs");
  }
}

void write_outputs(const std::string& path, const std::vector<Slot>& slots) {
  std::ofstream file(path, std::ios::binary);
  for (const Slot& slot : slots) {
    file.write(reinterpret_cast<const char*>(slot.data()), static_cast<std::streamsize>(slot.bytes()));
  }
  if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}

void check_feeds(const Options& options, const std::vector<Slot>& inputs, const std::vector<Slot>& outputs) {
  for (const auto& [from, to] : options.feeds) {
    const auto out = static_cast<size_t>(from), in = static_cast<size_t>(to);
    if (out < outputs.size() && in < inputs.size() && outputs[out].alike(inputs[in])) continue;
    throw std::invalid_argument("--feed " + std::to_string(from) + ":" + std::to_string(to) +
                                ": no such tensors, or they are not of one type and size");
  }
}

// What decides which kernels XNNPACK takes; bits as in Linux's arch/arm64/include/uapi/asm/hwcap.h.
std::string features() {
  std::string found;
#if defined(__aarch64__) && defined(__linux__)
  const unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  const struct { const char* name; unsigned long word; int bit; } known[] = {
      {"asimd", first, 1}, {"asimdhp", first, 10}, {"dotprod", first, 20}, {"sve", first, 22},
      {"sve2", second, 1}, {"i8mm", second, 13},   {"bf16", second, 14},   {"sme", second, 23}};
  for (const auto& one : known) {
    if (one.word >> one.bit & 1) found += (found.empty() ? "\"" : ", \"") + std::string(one.name) + "\"";
  }
#endif
  return found;
}

double status_mib(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::atof(line.c_str() + field.size() + 1) / 1024;
  }
  return 0;
}

double wall_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Processor time of all threads of this process.
double cpu_ms() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  return 1e3 * static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         1e-3 * static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

void print_list(const char* name, const std::vector<double>& values) {
  std::printf("\"%s\": [", name);
  for (size_t i = 0; i < values.size(); ++i) std::printf("%s%.4f", i > 0 ? ", " : "", values[i]);
  std::printf("], ");
}

void run(const Options& options) {
  const double started = wall_ms();
  if (options.threads > 0) check(fl_set_threads(options.threads));
  fl_handle handle = 0;
  check(fl_open(options.program.c_str(), FL_OPEN_MMAP, &handle));
  const char* method = options.method.c_str();
  fl_method_info info{};
  check(fl_method(handle, method, &info));
  check(fl_load(handle, method));
  const double load_ms = wall_ms() - started;

  std::vector<Slot> inputs, outputs;
  fl_tensor_info tensor{};
  for (int32_t i = 0; i < info.inputs; ++i) check(fl_input(handle, method, i, &tensor)), inputs.emplace_back(tensor);
  for (int32_t i = 0; i < info.outputs; ++i) check(fl_output(handle, method, i, &tensor)), outputs.emplace_back(tensor);
  check_feeds(options, inputs, outputs);
  if (!options.inputs.empty()) read_inputs(options.inputs, inputs);

  std::vector<double> times, work;
  for (int step = 0; step < options.warm_up + options.steps; ++step) {
    if (step > 0) {
      for (const auto& [from, to] : options.feeds) outputs.at(from).exchange(inputs.at(to));
    }
    const double wall = wall_ms(), cpu = cpu_ms();
    const std::vector<fl_buffer> given = buffers(inputs), made = buffers(outputs);
    FL_MARK_BEGIN();
    const int32_t status = fl_execute(handle, method, given.data(), info.inputs, made.data(), info.outputs);
    FL_MARK_END();
    check(status);
    if (step < options.warm_up) continue;
    times.push_back(wall_ms() - wall);
    work.push_back(cpu_ms() - cpu);
  }
  if (!options.outputs.empty()) write_outputs(options.outputs, outputs);
  if (!options.smaps.empty()) std::ofstream(options.smaps) << std::ifstream("/proc/self/smaps").rdbuf();
  int32_t threads = 0;
  check(fl_threads(&threads));
  std::printf("{\"features\": [%s], \"threads\": %d, ", features().c_str(), threads);
  print_list("ms", times);
  print_list("cpu_ms", work);
  if (!outputs.empty() && outputs[0].buffer().dtype == FL_FLOAT32 && outputs[0].bytes() >= sizeof(float)) {
    float first = 0;  // a training step's first output is its loss
    std::memcpy(&first, outputs[0].data(), sizeof first);
    if (first - first == 0) std::printf("\"first\": %.9g, ", static_cast<double>(first));  // JSON has no NaN
  }
  std::printf("\"load_ms\": %.3f, \"planned_mib\": %.3f, \"peak_rss_mib\": %.3f, \"rss_mib\": %.3f}\n", load_ms,
              static_cast<double>(info.planned_bytes) / (1 << 20), status_mib("VmHWM"), status_mib("VmRSS"));
  check(fl_close(handle));
}

}  // namespace

int main(int count, char** words) {
  try {
    run(parse(count, words));
    return 0;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "fl_run: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fl_run: %s\n", error.what());
    return 1;
  }
}
