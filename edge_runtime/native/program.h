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
#include "mapped_file.h"
#include "signature.h"

namespace fl {

// Zeroed memory that becomes resident page by page as it is touched.
class Arena {
 public:
  explicit Arena(size_t bytes);
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void forget(size_t keep);  // gives the pages after the first `keep` bytes back; the addresses stay
  uint8_t* data() const { return data_; }

 private:
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
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
  void execute(const std::string& method, const Buffers& buffers);

 private:
  struct Loaded;
  struct Deleter {
    void operator()(Loaded* loaded) const;
  };
  using LoadedPtr = std::unique_ptr<Loaded, Deleter>;

  void read_methods();
  Loaded& ready(const std::string& method);  // loads when needed; the lock is held
  void run(const std::string& method, Loaded& loaded, const fl_buffer* inputs, const fl_buffer* outputs);
  void shrink_arenas();  // to what the loaded methods need

  std::mutex lock_;
  std::string path_;
  std::string names_;
  std::map<std::string, Signature> signatures_;
  std::unique_ptr<executorch::runtime::DataLoader> loader_;
  const MappedFile* mapped_ = nullptr;  // loader_, where it maps the file
  std::unique_ptr<executorch::runtime::Program> program_;
  std::vector<Arena> arenas_;
  std::map<std::string, LoadedPtr> loaded_;  // after program_ and arenas_: destroyed before them
  pid_t owner_ = 0;                          // process that loaded them
};

}  // namespace fl
