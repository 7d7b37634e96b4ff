// Gives the native driver damaged programs: opened, described, loaded and executed through its C interface.
//
//   loader_fuzz SECONDS STAGE SEED FOLDER PROGRAM...
//
// STAGE is how far each input goes: open (with all that describes the program), load, or execute. A child works in
// this process's memory map; when one dies, its input is written to FOLDER with what the sanitizer said, and the next
// child goes on. No coverage of ExecuTorch can be had from its wheel; an input is kept for further mutation when the
// driver answers it with words that no input before it got (numbers aside), or takes it further.
//
// Prints one JSON object: inputs, opened, loaded, executed, answers, deaths. Exit: 0 no child died, 1 some did.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "fl_runtime.h"

namespace {

using Bytes = std::vector<uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr size_t kLongest = 1 << 20;
constexpr size_t kKept = 2000;
constexpr uint64_t kBatch = 20000;          // inputs of a child: what leaks or is spoiled in one does not stay for ever
constexpr rlim_t kCpuSeconds = 120;         // of a child: a batch takes a few
enum Stage : int { kOpen, kLoad, kExecute };

// What parent and child share: the input at hand, so that it outlives its child.
struct Shared {
  uint64_t inputs, opened, loaded, executed, kept;
  uint32_t size;
  uint8_t data[kLongest];
};

Bytes read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

void write_file(const std::string& path, const uint8_t* data, size_t size) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
}

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  Bytes operator()(const Bytes& from, const Bytes& other) {
    Bytes data = from;
    for (size_t times = size_t{1} << below(4); times > 0; --times) change(data, other);
    if (data.size() > kLongest) data.resize(kLongest);
    return data;
  }

  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

 private:
  // A program's tables stand in its first part: offsets, lengths and counts, mostly of four bytes.
  size_t place(const Bytes& data) { return below(below(3) == 0 ? data.size() : std::min<size_t>(data.size(), 4096)); }

  void change(Bytes& data, const Bytes& other) {
    if (data.empty()) return;
    const size_t at = place(data);
    switch (below(8)) {
      case 0: data[at] ^= static_cast<uint8_t>(1U << below(8)); return;
      case 1: data[at] = static_cast<uint8_t>(random_()); return;
      case 2: return word(data, at / 4 * 4);
      case 3: return word(data, at / 4 * 4);
      case 4: return shift(data, at / 4 * 4);
      case 5: {  // a stretch from elsewhere
        const size_t from = below(data.size()), size = std::min({below(64) + 1, data.size() - at, data.size() - from});
        std::memmove(data.data() + at, data.data() + from, size);
        return;
      }
      case 6: {  // a stretch of another program, at the same place
        if (other.size() <= at) return;
        const size_t size = std::min({below(256) + 1, data.size() - at, other.size() - at});
        std::memcpy(data.data() + at, other.data() + at, size);
        return;
      }
      default:
        if (below(4) > 0) return shift(data, at / 4 * 4);
        data.resize(below(2) ? at : std::min(data.size() + below(64), kLongest));
    }
  }

  void word(Bytes& data, size_t at) {
    static constexpr uint32_t kWords[] = {0, 1, 2, 4, 8, 16, 64, 0x7F, 0xFF, 0x100, 0xFFFF, 0x10000, 0x7FFFFFFF,
                                          0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x3FFFFFFF, 0x40000000};
    const uint32_t value = below(4) ? kWords[below(std::size(kWords))] : static_cast<uint32_t>(random_());
    if (at + 4 <= data.size()) std::memcpy(data.data() + at, &value, 4);
  }

  void shift(Bytes& data, size_t at) {  // an offset that is off by a little
    if (at + 4 > data.size()) return;
    uint32_t value;
    std::memcpy(&value, data.data() + at, 4);
    value += static_cast<uint32_t>(below(65)) - 32;
    std::memcpy(data.data() + at, &value, 4);
  }

  std::mt19937_64 random_;
};

// What the driver answered, without its numbers.
std::string answer(int32_t status) {
  char text[2048];
  fl_last_error(text, sizeof text);
  std::string words = std::to_string(status);
  for (const char* letter = text; *letter != '\0'; ++letter) {
    if (*letter < '0' || *letter > '9') words += *letter;
  }
  return words;
}

struct Tensor {
  fl_tensor_info info{};
  Bytes data;
};

bool describe(fl_handle handle, const char* method, int32_t count, decltype(fl_input) tensor_of,
              std::vector<Tensor>& tensors) {
  for (int32_t i = 0; i < count; ++i) {
    Tensor tensor;
    if (tensor_of(handle, method, i, &tensor.info) != FL_OK) return false;
    if (tensor.info.rank < 0 || tensor.info.rank > FL_MAX_RANK) std::abort();  // promised by the header
    tensors.push_back(std::move(tensor));
  }
  return true;
}

std::vector<fl_buffer> buffers(std::vector<Tensor>& tensors) {
  std::vector<fl_buffer> list;
  for (Tensor& tensor : tensors) {
    tensor.data.assign(tensor.info.nbytes, 1);
    list.push_back({tensor.data.data(), tensor.info.nbytes, tensor.info.shape, tensor.info.rank, tensor.info.dtype});
  }
  return list;
}

// Takes one program as far as `stage`; returns what was answered on the way.
std::string run(const char* path, Stage stage, int32_t flags, Shared& shared) {
  constexpr uint64_t kMostBytes = 1 << 20;
  fl_handle handle = 0;
  int32_t status = fl_open(path, flags, &handle);
  if (status != FL_OK) return answer(status);
  ++shared.opened;
  char names[65536];
  uint64_t needed = 0;
  std::string answers = "opened";
  fl_methods(handle, names, sizeof names, &needed);
  for (char *rest = names, *name; (name = strtok_r(rest, "\n", &rest)) != nullptr;) {
    fl_method_info info{};
    char backends[4096];
    fl_method(handle, name, &info);
    fl_method_backends(handle, name, backends, sizeof backends, &needed);
    std::vector<Tensor> inputs, outputs;
    describe(handle, name, info.inputs, fl_input, inputs);
    describe(handle, name, info.outputs, fl_output, outputs);
    if (stage < kLoad) continue;
    status = fl_load(handle, name);
    answers += answer(status);
    if (status != FL_OK) continue;
    ++shared.loaded;
    const auto small = [](const Tensor& tensor) { return tensor.info.nbytes <= kMostBytes; };
    if (stage < kExecute || !std::all_of(inputs.begin(), inputs.end(), small) ||
        !std::all_of(outputs.begin(), outputs.end(), small)) {
      continue;
    }
    const std::vector<fl_buffer> in = buffers(inputs), out = buffers(outputs);
    status = fl_execute(handle, name, in.data(), info.inputs, out.data(), info.outputs);
    answers += answer(status);
    shared.executed += status == FL_OK;
  }
  fl_close(handle);
  return answers;
}

// A child's work: a batch of inputs, each in shared memory before it is tried.
void work(const std::vector<Bytes>& seeds, Stage stage, uint64_t seed, Clock::time_point ends, Shared& shared) {
  const rlimit limit{kCpuSeconds, kCpuSeconds};
  setrlimit(RLIMIT_CPU, &limit);
  const int file = memfd_create("program", 0);
  const std::string path = "/proc/self/fd/" + std::to_string(file);
  fl_set_threads(1);
  Mutator mutate(seed);
  std::vector<Bytes> pool = seeds;
  std::set<std::string> answers;
  for (uint64_t i = 0; i < kBatch && Clock::now() < ends; ++i) {
    const Bytes data = i < seeds.size() ? seeds[i] : mutate(pool[mutate.below(pool.size())], pool[mutate.below(pool.size())]);
    shared.size = static_cast<uint32_t>(data.size());
    std::copy(data.begin(), data.end(), shared.data);
    if (ftruncate(file, 0) != 0 || pwrite(file, data.data(), data.size(), 0) != static_cast<ssize_t>(data.size())) {
      std::_Exit(3);
    }
    ++shared.inputs;
    if (answers.insert(run(path.c_str(), stage, i % 2 ? FL_OPEN_MMAP : FL_OPEN_READ, shared)).second &&
        pool.size() < kKept) {
      pool.push_back(data);
    }
  }
  shared.kept = std::max<uint64_t>(shared.kept, answers.size());
  std::_Exit(0);  // without destroying what a damaged program left
}

}  // namespace

int main(int count, char** words) {
  if (count < 6) {
    std::fprintf(stderr, "usage: loader_fuzz SECONDS open|load|execute SEED FOLDER PROGRAM...\n");
    return 2;
  }
  const auto ends = Clock::now() + std::chrono::seconds(std::atoi(words[1]));
  const std::string stage_name = words[2], folder = words[4];
  const Stage stage = stage_name == "open" ? kOpen : stage_name == "load" ? kLoad : kExecute;
  uint64_t seed = std::strtoull(words[3], nullptr, 10);
  std::vector<Bytes> seeds;
  for (int i = 5; i < count; ++i) seeds.push_back(read_file(words[i]));
  auto* shared = static_cast<Shared*>(
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  uint64_t deaths = 0;
  while (Clock::now() < ends) {
    const std::string said = folder + "/said.txt";
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      const int log = open(said.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(log, 2);
      work(seeds, stage, ++seed, ends, *shared);
    }
    ++seed;
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    const std::string name = folder + "/" + stage_name + "-" + std::to_string(seed) + "-" + std::to_string(++deaths);
    write_file(name + ".pte", shared->data, shared->size);
    std::rename(said.c_str(), (name + ".txt").c_str());
  }
  std::printf("{\"inputs\": %llu, \"opened\": %llu, \"loaded\": %llu, \"executed\": %llu, \"answers\": %llu, \"deaths\": %llu}\n",
              static_cast<unsigned long long>(shared->inputs), static_cast<unsigned long long>(shared->opened),
              static_cast<unsigned long long>(shared->loaded), static_cast<unsigned long long>(shared->executed),
              static_cast<unsigned long long>(shared->kept), static_cast<unsigned long long>(deaths));
  return deaths > 0;
}
