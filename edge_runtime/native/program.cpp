#include "program.h"

#include <executorch/extension/data_loader/file_data_loader.h>
#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/runtime/core/hierarchical_allocator.h>
#include <executorch/runtime/executor/memory_manager.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

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
using executorch::extension::MmapDataLoader;

constexpr size_t kPage = 4096;     // the smallest page of any platform: crossing none of these is always safe
constexpr size_t kOverread = 64;   // vector kernels may read, and ignore, this many bytes past a tensor's end
constexpr off_t kSmallestFile = 64;  // less cannot hold ExecuTorch's header

std::string shape_text(const int64_t* shape, int32_t rank) {
  std::string text = "[";
  for (int32_t i = 0; i < rank; ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string dtype_text(int32_t dtype) {
  switch (dtype) {
    case FL_UINT8: return "uint8";
    case FL_INT8: return "int8";
    case FL_INT16: return "int16";
    case FL_INT32: return "int32";
    case FL_INT64: return "int64";
    case FL_FLOAT16: return "float16";
    case FL_FLOAT32: return "float32";
    case FL_FLOAT64: return "float64";
    case FL_BOOL: return "bool";
    case FL_BFLOAT16: return "bfloat16";
    default: return "dtype " + std::to_string(dtype);
  }
}

std::unique_ptr<et::DataLoader> open_loader(const std::string& path, int32_t flags) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0) throw Failure(FL_NOT_FOUND, path + ": " + std::strerror(errno));
  if (!S_ISREG(about.st_mode)) throw Failure(FL_NOT_FOUND, path + ": not a file");
  if (about.st_size < kSmallestFile) {
    throw Failure(FL_BAD_PROGRAM, path + ": " + std::to_string(about.st_size) +
                                      " bytes are too few for an ExecuTorch program; copy the package again");
  }
  if (flags == FL_OPEN_READ) {
    auto loader = FileDataLoader::from(path.c_str());
    if (!loader.ok()) raise(FL_NOT_FOUND, path + ": cannot be read", static_cast<uint32_t>(loader.error()));
    return std::make_unique<FileDataLoader>(std::move(loader.get()));
  }
  auto loader = MmapDataLoader::from(path.c_str(), MmapDataLoader::MlockConfig::NoMlock);
  if (!loader.ok()) raise(FL_NOT_FOUND, path + ": cannot be mapped", static_cast<uint32_t>(loader.error()));
  return std::make_unique<MmapDataLoader>(std::move(loader.get()));
}

// Dense row-major order is the only one that this interface speaks.
bool row_major(et::Span<const uint8_t> order) {
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != i) return false;
  }
  return true;
}

fl_tensor_info describe(const et::TensorInfo& tensor, const std::string& what, std::string& unsupported) {
  fl_tensor_info info{};
  const auto sizes = tensor.sizes();
  if (sizes.size() > FL_MAX_RANK) {
    unsupported = what + " has " + std::to_string(sizes.size()) + " dimensions, at most 16 are supported";
    return info;
  }
  if (!row_major(tensor.dim_order())) unsupported = what + " is not row-major";
  info.rank = static_cast<int32_t>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), info.shape);
  info.nbytes = tensor.nbytes();
  info.dtype = static_cast<int32_t>(tensor.scalar_type());
  info.planned = tensor.is_memory_planned() ? 1 : 0;
  return info;
}

// A text that a damaged file leaves out comes as a small offset from null, not as null.
bool readable(const char* text) { return reinterpret_cast<uintptr_t>(text) >= kPage; }

using TagOf = et::Result<et::Tag> (et::MethodMeta::*)(size_t) const;
using TensorOf = et::Result<et::TensorInfo> (et::MethodMeta::*)(size_t) const;

std::vector<fl_tensor_info> describe_all(const et::MethodMeta& meta, const std::string& kind, size_t count,
                                         TagOf tag_of, TensorOf tensor_of, std::string& unsupported) {
  std::vector<fl_tensor_info> tensors;
  for (size_t i = 0; i < count; ++i) {
    const std::string what = kind + " " + std::to_string(i);
    const auto tag = (meta.*tag_of)(i);
    if (!tag.ok()) raise(FL_BAD_PROGRAM, what, static_cast<uint32_t>(tag.error()));
    if (tag.get() != et::Tag::Tensor) {
      unsupported = what + " is not a tensor";
      tensors.emplace_back();
      continue;
    }
    const auto tensor = (meta.*tensor_of)(i);
    if (!tensor.ok()) raise(FL_BAD_PROGRAM, what, static_cast<uint32_t>(tensor.error()));
    tensors.push_back(describe(tensor.get(), what, unsupported));
  }
  return tensors;
}

std::vector<size_t> arena_sizes(const et::MethodMeta& meta) {
  std::vector<size_t> sizes;
  for (size_t i = 0; i < meta.num_memory_planned_buffers(); ++i) {
    const auto bytes = meta.memory_planned_buffer_size(i);
    if (!bytes.ok()) raise(FL_BAD_PROGRAM, "planned memory", static_cast<uint32_t>(bytes.error()));
    if (bytes.get() < 0) throw Failure(FL_BAD_PROGRAM, "planned memory of a negative size");
    sizes.push_back(static_cast<size_t>(bytes.get()));
  }
  return sizes;
}

Signature read_signature(const et::MethodMeta& meta) {
  Signature signature;
  const size_t inputs = meta.num_inputs();
  const size_t outputs = meta.num_outputs();
  signature.inputs = describe_all(meta, "input", inputs, &et::MethodMeta::input_tag,
                                  &et::MethodMeta::input_tensor_meta, signature.unsupported);
  signature.outputs = describe_all(meta, "output", outputs, &et::MethodMeta::output_tag,
                                   &et::MethodMeta::output_tensor_meta, signature.unsupported);
  signature.arena_bytes = arena_sizes(meta);
  for (size_t i = 0; i < meta.num_backends(); ++i) {
    const auto name = meta.get_backend_name(i);
    if (!name.ok() || !readable(name.get())) throw Failure(FL_BAD_PROGRAM, "a delegate has no backend name");
    signature.backends += (i > 0 ? "\n" : "") + std::string(name.get());
  }
  signature.info.inputs = static_cast<int32_t>(inputs);
  signature.info.outputs = static_cast<int32_t>(outputs);
  signature.info.planned_bytes =
      std::accumulate(signature.arena_bytes.begin(), signature.arena_bytes.end(), uint64_t{0});
  return signature;
}

void check_tensor(const std::string& what, const fl_buffer& got, const fl_tensor_info& want) {
  if (got.dtype != want.dtype) {
    throw Failure(FL_WRONG_DTYPE, what + ": got " + dtype_text(got.dtype) + ", expected " + dtype_text(want.dtype));
  }
  const bool has_shape = got.rank == 0 || (got.rank > 0 && got.rank <= FL_MAX_RANK && got.shape != nullptr);
  if (!has_shape) {
    throw Failure(FL_BAD_ARGUMENT, what + ": rank " + std::to_string(got.rank) + " with " +
                                       (got.shape == nullptr ? "no" : "a") + " shape; rank must be 0 to 16");
  }
  if (got.rank != want.rank || !std::equal(want.shape, want.shape + want.rank, got.shape)) {
    throw Failure(FL_WRONG_SHAPE, what + ": got shape " + shape_text(got.shape, got.rank) + ", expected " +
                                      shape_text(want.shape, want.rank));
  }
  if (got.nbytes != want.nbytes) {
    throw Failure(FL_WRONG_SHAPE, what + ": got " + std::to_string(got.nbytes) + " bytes, expected " +
                                      std::to_string(want.nbytes));
  }
  if (got.data == nullptr && got.nbytes > 0) throw Failure(FL_BAD_ARGUMENT, what + ": its data pointer is null");
}

void check_tensors(const std::string& method, const std::string& kind, const fl_buffer* got, size_t count,
                   const std::vector<fl_tensor_info>& want) {
  if (count != want.size()) {
    throw Failure(FL_WRONG_COUNT, "method " + method + ": got " + std::to_string(count) + " " + kind +
                                      "s, expected " + std::to_string(want.size()));
  }
  for (size_t i = 0; i < count; ++i) {
    check_tensor("method " + method + ", " + kind + " " + std::to_string(i), got[i], want[i]);
  }
}

bool overlap(const fl_buffer& a, const fl_buffer& b) {
  const auto from_a = reinterpret_cast<uintptr_t>(a.data);
  const auto from_b = reinterpret_cast<uintptr_t>(b.data);
  return a.nbytes > 0 && b.nbytes > 0 && from_a < from_b + b.nbytes && from_b < from_a + a.nbytes;
}

void check_overlap(const std::string& method, const fl_buffer* inputs, size_t input_count, const fl_buffer* outputs,
                   size_t output_count) {
  for (size_t i = 0; i < output_count; ++i) {
    const std::string what = "method " + method + ": the buffer of output " + std::to_string(i) + " overlaps ";
    for (size_t j = 0; j < input_count; ++j) {
      if (overlap(outputs[i], inputs[j])) throw Failure(FL_BAD_ARGUMENT, what + "input " + std::to_string(j));
    }
    for (size_t j = i + 1; j < output_count; ++j) {
      if (overlap(outputs[i], outputs[j])) throw Failure(FL_BAD_ARGUMENT, what + "output " + std::to_string(j));
    }
  }
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

void Arena::forget() { madvise(data_, bytes_, MADV_DONTNEED); }

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

Program::Program(const std::string& path, int32_t flags) : path_(path), loader_(open_loader(path, flags)) {
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
    if (!name.ok()) raise(FL_BAD_PROGRAM, path_ + ": name of method " + std::to_string(i), static_cast<uint32_t>(name.error()));
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
  const auto found = signatures_.find(method);
  if (found != signatures_.end()) return found->second;
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
  release_arenas_if_idle();
}

void Program::unload_all() {
  std::lock_guard<std::mutex> hold(lock_);
  loaded_.clear();
  release_arenas_if_idle();
}

void Program::release_arenas_if_idle() {
  if (!loaded_.empty()) return;
  for (Arena& arena : arenas_) arena.forget();
}

Program::Loaded& Program::ready(const std::string& method) {
  const Signature& wanted = signature(method);
  if (owner_ != getpid()) {  // forked: the loaded methods point to threads that only the parent has
    loaded_.clear();
    owner_ = getpid();
  }
  const auto found = loaded_.find(method);
  if (found != loaded_.end()) return *found->second;

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
  auto loaded = program_->load_method(method.c_str(), &fresh->manager);
  if (!loaded.ok()) {
    raise(FL_BAD_PROGRAM, path_ + ": method " + method + " cannot be loaded", static_cast<uint32_t>(loaded.error()));
  }
  fresh->method = std::make_unique<et::Method>(std::move(loaded.get()));
  fresh->padded.resize(wanted.inputs.size());
  return *loaded_.emplace(method, std::move(fresh)).first->second;
}

void Program::execute(const std::string& method, const fl_buffer* inputs, size_t input_count, const fl_buffer* outputs,
                      size_t output_count) {
  const Signature& wanted = signature(method);
  if (!wanted.unsupported.empty()) throw Failure(FL_UNSUPPORTED, "method " + method + ": " + wanted.unsupported);
  check_tensors(method, "input", inputs, input_count, wanted.inputs);
  check_tensors(method, "output", outputs, output_count, wanted.outputs);
  check_overlap(method, inputs, input_count, outputs, output_count);
  std::lock_guard<std::mutex> hold(lock_);
  Loaded& loaded = ready(method);
  try {
    run(method, loaded, inputs, outputs);
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
