// The C ABI: handles, threads and text; everything else is in program.cpp.
#include "fl_runtime.h"

#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>

#include "failure.h"
#include "program.h"

// The wheel exports the thread pool but ships no header for it; these are the three symbols that we use.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t thread_count);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

// What other languages assume of the layout on 64-bit machines.
static_assert(sizeof(void*) != 8 || (sizeof(fl_buffer) == 32 && sizeof(fl_tensor_info) == 152 &&
                                     sizeof(fl_method_info) == 24));

namespace {

using fl::Failure;
using fl::guarded;
using fl::Program;

constexpr int32_t kMostThreads = 256;

std::mutex table_lock;
std::map<fl_handle, std::shared_ptr<Program>> table;
fl_handle last_handle = 0;

// Held shared while a program loads or runs, alone while the thread pool is replaced: loaded methods point to it.
std::shared_mutex pool_lock;

std::shared_ptr<Program> find(fl_handle handle) {
  std::lock_guard<std::mutex> hold(table_lock);
  const auto entry = table.find(handle);
  if (entry == table.end()) {
    throw Failure(FL_BAD_HANDLE, "handle " + std::to_string(handle) + " is not open; open the program first");
  }
  return entry->second;
}

template <class Pointer>
void need(Pointer pointer, const char* name) {
  if (pointer == nullptr) throw Failure(FL_BAD_ARGUMENT, std::string(name) + " is null");
}

uint64_t copy_text(const std::string& from, char* text, uint64_t capacity) {
  if (text != nullptr && capacity > 0) {
    const size_t length = std::min<uint64_t>(from.size(), capacity - 1);
    std::memcpy(text, from.data(), length);
    text[length] = '\0';
  }
  return from.size() + 1;
}

void give_text(const std::string& from, char* text, uint64_t capacity, uint64_t* needed) {
  need(needed, "needed");
  if (capacity > 0) need(text, "text");
  *needed = copy_text(from, text, capacity);
}

executorch::extension::threadpool::ThreadPool& pool() {
  auto* threads = executorch::extension::threadpool::get_threadpool();
  if (threads == nullptr) throw Failure(FL_INTERNAL, "ExecuTorch has no thread pool here");
  return *threads;
}

void give_tensor(const std::vector<fl_tensor_info>& tensors, const char* kind, const char* method, int32_t index,
                 fl_tensor_info* info) {
  if (index < 0 || static_cast<size_t>(index) >= tensors.size()) {
    throw Failure(FL_NOT_FOUND, std::string("method ") + method + " has " + std::to_string(tensors.size()) + " " +
                                    kind + "s, got index " + std::to_string(index));
  }
  *info = tensors[static_cast<size_t>(index)];
}

}  // namespace

extern "C" {

int32_t fl_abi_version(void) { return FL_ABI_VERSION; }

const char* fl_executorch_version(void) { return FL_EXECUTORCH_VERSION; }

uint64_t fl_last_error(char* text, uint64_t capacity) { return copy_text(fl::last_error(), text, capacity); }

int32_t fl_backends(char* text, uint64_t capacity, uint64_t* needed) {
  return guarded([&] {
    std::string names;
    for (size_t i = 0; i < executorch::runtime::get_num_registered_backends(); ++i) {
      const auto name = executorch::runtime::get_backend_name(i);
      if (name.ok()) names += (names.empty() ? "" : "\n") + std::string(name.get());
    }
    give_text(names, text, capacity, needed);
  });
}

int32_t fl_kernels(char* text, uint64_t capacity, uint64_t* needed) {
  return guarded([&] {
    std::set<std::string> sorted;
    for (const auto& kernel : executorch::runtime::get_registered_kernels()) sorted.insert(kernel.name_);
    std::string names;
    for (const std::string& name : sorted) names += (names.empty() ? "" : "\n") + name;
    give_text(names, text, capacity, needed);
  });
}

int32_t fl_threads(int32_t* count) {
  return guarded([&] {
    need(count, "count");
    std::shared_lock<std::shared_mutex> hold(pool_lock);
    *count = static_cast<int32_t>(pool().get_thread_count());
  });
}

int32_t fl_set_threads(int32_t count) {
  return guarded([&] {
    if (count < 1 || count > kMostThreads) {
      throw Failure(FL_BAD_ARGUMENT, "got " + std::to_string(count) + " threads, expected 1 to 256");
    }
    std::unique_lock<std::shared_mutex> alone(pool_lock);
    if (pool().get_thread_count() == static_cast<size_t>(count)) return;
    {
      std::lock_guard<std::mutex> hold(table_lock);
      for (const auto& [handle, program] : table) program->unload_all();
    }
    if (!pool()._unsafe_reset_threadpool(static_cast<uint32_t>(count))) {
      throw Failure(FL_INTERNAL, "ExecuTorch refused to use " + std::to_string(count) + " threads");
    }
  });
}

int32_t fl_open(const char* path, int32_t flags, fl_handle* handle) {
  return guarded([&] {
    need(handle, "handle");
    *handle = 0;
    need(path, "path");
    if (flags != FL_OPEN_MMAP && flags != FL_OPEN_READ) {
      throw Failure(FL_BAD_ARGUMENT, "got open flags " + std::to_string(flags) + ", expected 0 (map) or 1 (read)");
    }
    auto program = std::make_shared<Program>(path, flags);
    std::lock_guard<std::mutex> hold(table_lock);
    table.emplace(++last_handle, std::move(program));
    *handle = last_handle;
  });
}

int32_t fl_close(fl_handle handle) {
  return guarded([&] {
    const std::shared_ptr<Program> program = find(handle);  // destroyed after the lock is gone, or by its last user
    std::lock_guard<std::mutex> hold(table_lock);
    table.erase(handle);
  });
}

int32_t fl_methods(fl_handle handle, char* text, uint64_t capacity, uint64_t* needed) {
  return guarded([&] { give_text(find(handle)->method_names(), text, capacity, needed); });
}

int32_t fl_method(fl_handle handle, const char* method, fl_method_info* info) {
  return guarded([&] {
    need(method, "method");
    need(info, "info");
    const std::shared_ptr<Program> program = find(handle);
    *info = program->signature(method).info;
    info->loaded = program->loaded(method) ? 1 : 0;
  });
}

int32_t fl_method_backends(fl_handle handle, const char* method, char* text, uint64_t capacity, uint64_t* needed) {
  return guarded([&] {
    need(method, "method");
    give_text(find(handle)->signature(method).backends, text, capacity, needed);
  });
}

int32_t fl_input(fl_handle handle, const char* method, int32_t index, fl_tensor_info* info) {
  return guarded([&] {
    need(method, "method");
    need(info, "info");
    give_tensor(find(handle)->signature(method).inputs, "input", method, index, info);
  });
}

int32_t fl_output(fl_handle handle, const char* method, int32_t index, fl_tensor_info* info) {
  return guarded([&] {
    need(method, "method");
    need(info, "info");
    give_tensor(find(handle)->signature(method).outputs, "output", method, index, info);
  });
}

int32_t fl_load(fl_handle handle, const char* method) {
  return guarded([&] {
    need(method, "method");
    const std::shared_ptr<Program> program = find(handle);
    std::shared_lock<std::shared_mutex> hold(pool_lock);
    program->load(method);
  });
}

int32_t fl_unload(fl_handle handle, const char* method) {
  return guarded([&] {
    need(method, "method");
    find(handle)->unload(method);
  });
}

int32_t fl_execute(fl_handle handle, const char* method, const fl_buffer* inputs, int32_t input_count,
                   const fl_buffer* outputs, int32_t output_count) {
  return guarded([&] {
    need(method, "method");
    if (input_count < 0 || output_count < 0) throw Failure(FL_BAD_ARGUMENT, "a tensor count is negative");
    if (input_count > 0) need(inputs, "inputs");
    if (output_count > 0) need(outputs, "outputs");
    const std::shared_ptr<Program> program = find(handle);
    std::shared_lock<std::shared_mutex> hold(pool_lock);
    program->execute(method, {inputs, static_cast<size_t>(input_count), outputs, static_cast<size_t>(output_count)});
  });
}

}  // extern "C"
