// One opened .pte file: its methods, the loaded ones, and the arenas that they share.
#pragma once

#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/core/data_loader.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>

#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fl_runtime.h"

namespace fl {

// Zeroed memory that becomes resident page by page as it is touched.
class Arena {
 public:
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void forget();  // gives the pages back; the addresses stay
  uint8_t* data() const { return data_; }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

// What one method takes and gives, read once from the file.
struct Signature {
  fl_method_info info{};
  std::vector<fl_tensor_info> inputs;
  std::vector<fl_tensor_info> outputs;
  std::vector<size_t> arena_bytes;
  std::string backends;     // one a line
  std::string unsupported;  // why it cannot be executed through this library, or empty
};

class Program {
 public:
  Program(const std::string& path, int32_t flags);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  const std::string& method_names() const { return names_; }
  const Signature& signature(const std::string& method) const;  // throws FL_NOT_FOUND
  bool loaded(const std::string& method);
  void load(const std::string& method);
  void unload(const std::string& method);
  void unload_all();
  void execute(const std::string& method, const fl_buffer* inputs, size_t input_count, const fl_buffer* outputs,
               size_t output_count);

 private:
  struct Loaded;
  struct Deleter {
    void operator()(Loaded* loaded) const;
  };
  using LoadedPtr = std::unique_ptr<Loaded, Deleter>;

  void read_methods();
  Loaded& ready(const std::string& method);  // loads when needed; the lock is held
  void run(const std::string& method, Loaded& loaded, const fl_buffer* inputs, const fl_buffer* outputs);
  void release_arenas_if_idle();

  std::mutex lock_;
  std::string path_;
  std::string names_;
  std::map<std::string, Signature> signatures_;
  std::unique_ptr<executorch::runtime::DataLoader> loader_;
  std::unique_ptr<executorch::runtime::Program> program_;
  std::vector<Arena> arenas_;
  std::map<std::string, LoadedPtr> loaded_;  // after program_ and arenas_: destroyed before them
  pid_t owner_ = 0;                          // process that loaded them
};

}  // namespace fl
