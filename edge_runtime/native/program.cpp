#include "program.h"

#include <executorch/extension/data_loader/file_data_loader.h>
#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "failure.h"

namespace fl {
namespace {

namespace et = executorch::runtime;
using executorch::aten::DimOrderType;
using executorch::aten::SizesType;
using executorch::aten::StridesType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::FileDataLoader;
using executorch::extension::MallocMemoryAllocator;

constexpr size_t kPage = 4096;     // the smallest page of any platform: crossing none of these is always safe
constexpr size_t kOverread = 64;   // vector kernels may read, and ignore, this many bytes past a tensor's end
constexpr off_t kSmallestFile = 64;  // less cannot hold ExecuTorch's header

void check_file(const std::string& path) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0) throw Failure(FL_NOT_FOUND, path + ": " + std::strerror(errno));
  if (!S_ISREG(about.st_mode)) throw Failure(FL_NOT_FOUND, path + ": not a file");
  if (about.st_size < kSmallestFile) {
    throw Failure(FL_BAD_PROGRAM, path + ": " + std::to_string(about.st_size) +
                                      " bytes are too few for an ExecuTorch program; copy the package again");
  }
}

std::unique_ptr<et::DataLoader> read_file(const std::string& path) {
  auto loader = FileDataLoader::from(path.c_str());
  if (!loader.ok()) raise(FL_NOT_FOUND, path + ": cannot be read", static_cast<uint32_t>(loader.error()));
  return std::make_unique<FileDataLoader>(std::move(loader.get()));
}

// True when reading a little past the buffer could touch a page that is not the caller's.
bool ends_at_page(const fl_buffer& buffer) {
  const auto end = reinterpret_cast<uintptr_t>(buffer.data) + buffer.nbytes;
  return (end - 1) / kPage != (end + kOverread - 1) / kPage;
}

// A tensor header over memory of somebody else.
class View {
 public:
  View(void* data, const fl_tensor_info& info) {
    StridesType stride = 1;
    for (int32_t i = info.rank - 1; i >= 0; --i) {
      sizes_[i] = static_cast<SizesType>(info.shape[i]);
      order_[i] = static_cast<DimOrderType>(i);
      strides_[i] = stride;
      stride *= std::max<SizesType>(sizes_[i], 1);
    }
    const auto type = static_cast<executorch::aten::ScalarType>(info.dtype);
    impl_ = std::make_unique<TensorImpl>(type, info.rank, sizes_, data, order_, strides_);
  }
  et::EValue value() { return et::EValue(Tensor(impl_.get())); }

 private:
  SizesType sizes_[FL_MAX_RANK] = {};
  DimOrderType order_[FL_MAX_RANK] = {};
  StridesType strides_[FL_MAX_RANK] = {};
  std::unique_ptr<TensorImpl> impl_;
};

}  // namespace

Arena::Arena(size_t bytes) : bytes_(std::max<size_t>(bytes, 1) + kOverread) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
#ifdef MAP_NORESERVE
  flags |= MAP_NORESERVE;
#endif
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (memory == MAP_FAILED) {
    throw Failure(FL_OUT_OF_MEMORY, "cannot reserve an arena of " + std::to_string(bytes) +
                                        " bytes; the program does not fit this machine");
  }
  data_ = static_cast<uint8_t*>(memory);
}

Arena::Arena(Arena&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr; }

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

void Arena::forget(size_t keep) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t kept = (keep + page - 1) / page * page;
  if (kept < bytes_) madvise(data_ + kept, bytes_ - kept, MADV_DONTNEED);
}

struct Program::Loaded {
  explicit Loaded(std::vector<et::Span<uint8_t>> arenas)
      : spans(std::move(arenas)),
        planned(et::Span<et::Span<uint8_t>>(spans.data(), spans.size())),
        manager(&allocator, &planned, &temporary) {}

  MallocMemoryAllocator allocator;
  MallocMemoryAllocator temporary;
  std::vector<et::Span<uint8_t>> spans;
  et::HierarchicalAllocator planned;
  et::MemoryManager manager;
  std::vector<std::vector<uint8_t>> padded;  // copies of inputs that end at a page, by input
  std::vector<uint8_t> direct;               // outputs that the method writes to the caller's buffer; filled once
  std::unique_ptr<et::Method> method;        // last: destroyed first
};

void Program::Deleter::operator()(Loaded* loaded) const { delete loaded; }

Program::Program(const std::string& path, int32_t flags) : path_(path) {
  check_file(path);
  if (flags == FL_OPEN_READ) {
    loader_ = read_file(path);
  } else {
    auto mapped = MappedFile::open(path);
    mapped_ = mapped.get();
    loader_ = std::move(mapped);
  }
  auto program = et::Program::load(loader_.get(), et::Program::Verification::InternalConsistency);
  if (!program.ok()) {
    raise(FL_BAD_PROGRAM, path + ": not a usable ExecuTorch program", static_cast<uint32_t>(program.error()));
  }
  program_ = std::make_unique<et::Program>(std::move(program.get()));
  read_methods();
}

void Program::read_methods() {
  for (size_t i = 0; i < program_->num_methods(); ++i) {
    const auto name = program_->get_method_name(i);
    const std::string which = path_ + ": name of method " + std::to_string(i);
    if (!name.ok()) raise(FL_BAD_PROGRAM, which, static_cast<uint32_t>(name.error()));
    const std::string method = name.get();
    if (method.empty() || method.find('\n') != std::string::npos || signatures_.count(method) > 0) {
      throw Failure(FL_BAD_PROGRAM, path_ + ": method " + std::to_string(i) + " has no name of its own");
    }
    const auto meta = program_->method_meta(method.c_str());
    if (!meta.ok()) raise(FL_BAD_PROGRAM, path_ + ": method " + method, static_cast<uint32_t>(meta.error()));
    try {
      signatures_.emplace(method, read_signature(meta.get()));
    } catch (const Failure& failure) {
      throw Failure(failure.status, path_ + ": method " + method + ": " + failure.what());
    }
    names_ += (i > 0 ? "\n" : "") + method;
  }
  if (signatures_.empty()) throw Failure(FL_BAD_PROGRAM, path_ + ": the program has no methods");
}

const Signature& Program::signature(const std::string& method) const {
  const auto entry = signatures_.find(method);
  if (entry != signatures_.end()) return entry->second;
  std::string known = names_;
  std::replace(known.begin(), known.end(), '\n', ' ');
  throw Failure(FL_NOT_FOUND, path_ + ": no method " + method + "; it has " + known);
}

bool Program::loaded(const std::string& method) {
  std::lock_guard<std::mutex> hold(lock_);
  return loaded_.count(method) > 0;
}

void Program::load(const std::string& method) {
  std::lock_guard<std::mutex> hold(lock_);
  ready(method);
}

void Program::unload(const std::string& method) {
  std::lock_guard<std::mutex> hold(lock_);
  signature(method);
  loaded_.erase(method);
  shrink_arenas();
}

void Program::unload_all() {
  std::lock_guard<std::mutex> hold(lock_);
  loaded_.clear();
  shrink_arenas();
}

void Program::shrink_arenas() {
  for (size_t i = 0; i < arenas_.size(); ++i) {
    size_t keep = 0;
    for (const auto& entry : loaded_) {
      const std::vector<size_t>& bytes = signature(entry.first).arena_bytes;
      if (i < bytes.size()) keep = std::max(keep, bytes[i]);
    }
    arenas_[i].forget(keep);
  }
}

Program::Loaded& Program::ready(const std::string& method) {
  const Signature& wanted = signature(method);
  if (owner_ != getpid()) {  // forked: the loaded methods point to threads that only the parent has
    loaded_.clear();
    owner_ = getpid();
  }
  const auto entry = loaded_.find(method);
  if (entry != loaded_.end()) return *entry->second;

  while (true) {  // arenas as large as the largest method needs, once
    const size_t index = arenas_.size();
    size_t largest = 0;
    bool any = false;
    for (const auto& [name, other] : signatures_) {
      if (index >= other.arena_bytes.size()) continue;
      any = true;
      largest = std::max(largest, other.arena_bytes[index]);
    }
    if (!any) break;
    arenas_.emplace_back(largest);
  }
  std::vector<et::Span<uint8_t>> spans;
  for (size_t i = 0; i < wanted.arena_bytes.size(); ++i) spans.emplace_back(arenas_[i].data(), wanted.arena_bytes[i]);

  LoadedPtr fresh(new Loaded(std::move(spans)));
  auto loaded = [&] {
    const GivingBack pages(mapped_);
    return program_->load_method(method.c_str(), &fresh->manager);
  }();
  if (!loaded.ok()) {
    raise(FL_BAD_PROGRAM, path_ + ": method " + method + " cannot be loaded", static_cast<uint32_t>(loaded.error()));
  }
  fresh->method = std::make_unique<et::Method>(std::move(loaded.get()));
  fresh->padded.resize(wanted.inputs.size());
  return *loaded_.emplace(method, std::move(fresh)).first->second;
}

void Program::execute(const std::string& method, const Buffers& buffers) {
  check_buffers(method, signature(method), buffers);
  std::lock_guard<std::mutex> hold(lock_);
  Loaded& loaded = ready(method);
  try {
    run(method, loaded, buffers.inputs, buffers.outputs);
  } catch (const RuntimeAborted&) {
    // Its invariants are broken, so even destroying it may fail: leave it where it is and never use it again.
    loaded_.find(method)->second.release();
    loaded_.erase(method);
    throw Failure(FL_INTERNAL, path_ + ": method " + method + " stopped at a fatal check" + Scope::logged() +
                                   "; the file is damaged or was made for another runtime");
  }
}

void Program::run(const std::string& method, Loaded& loaded, const fl_buffer* inputs, const fl_buffer* outputs) {
  const Signature& wanted = signature(method);
  et::Method& runtime = *loaded.method;
  const auto check = [&](et::Error error, const char* kind, size_t index) {
    if (error == et::Error::Ok) return;
    raise(FL_FAILED, "method " + method + ", " + kind + " " + std::to_string(index), static_cast<uint32_t>(error));
  };

  std::vector<View> views;
  views.reserve(wanted.inputs.size());
  for (size_t i = 0; i < wanted.inputs.size(); ++i) {
    void* data = inputs[i].data;
    if (wanted.inputs[i].planned == 0 && inputs[i].nbytes > 0 && ends_at_page(inputs[i])) {
      std::vector<uint8_t>& copy = loaded.padded[i];
      copy.resize(inputs[i].nbytes + kOverread);
      std::memcpy(copy.data(), data, inputs[i].nbytes);
      data = copy.data();
    }
    views.emplace_back(data, wanted.inputs[i]);
    check(runtime.set_input(views.back().value(), i), "input", i);
  }

  if (loaded.direct.empty() && !wanted.outputs.empty()) {
    // An output without memory of its own, even now that the inputs have theirs, is written where we say. One that
    // has it is in an arena, or is one of the inputs passed through: it is copied afterwards.
    for (size_t i = 0; i < wanted.outputs.size(); ++i) {
      const et::EValue& value = runtime.get_output(i);
      if (!value.isTensor()) throw Failure(FL_UNSUPPORTED, "method " + method + ": an output is not a tensor");
      loaded.direct.push_back(value.toTensor().const_data_ptr() == nullptr ? 1 : 0);
    }
  }
  for (size_t i = 0; i < wanted.outputs.size(); ++i) {
    if (loaded.direct[i] == 0 || outputs[i].nbytes == 0) continue;
    check(runtime.set_output_data_ptr(outputs[i].data, outputs[i].nbytes, i), "output", i);
  }

  const et::Error error = runtime.execute();
  if (error != et::Error::Ok) raise(FL_FAILED, "method " + method + " failed", static_cast<uint32_t>(error));

  for (size_t i = 0; i < wanted.outputs.size(); ++i) {
    const Tensor tensor = runtime.get_output(i).toTensor();
    if (tensor.nbytes() != outputs[i].nbytes) {
      throw Failure(FL_FAILED, "method " + method + ", output " + std::to_string(i) + ": the program gave " +
                                   std::to_string(tensor.nbytes()) + " bytes, its description says " +
                                   std::to_string(outputs[i].nbytes) + "; shapes that change are not supported");
    }
    const void* data = tensor.const_data_ptr();
    if (data == outputs[i].data || outputs[i].nbytes == 0) continue;
    if (data == nullptr) {
      throw Failure(FL_FAILED, "method " + method + ": output " + std::to_string(i) + " has no data");
    }
    std::memcpy(outputs[i].data, data, outputs[i].nbytes);
  }
}

}  // namespace fl
