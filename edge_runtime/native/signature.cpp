#include "signature.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "failure.h"

namespace fl {
namespace {

namespace et = executorch::runtime;

// No address of a readable text is this small.
constexpr uintptr_t kFirstAddress = 4096;

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
bool readable(const char* text) { return reinterpret_cast<uintptr_t>(text) >= kFirstAddress; }

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

void check_overlap(const std::string& method, const Buffers& buffers) {
  const auto* outputs = buffers.outputs;
  for (size_t i = 0; i < buffers.output_count; ++i) {
    const std::string what = "method " + method + ": the buffer of output " + std::to_string(i) + " overlaps ";
    for (size_t j = 0; j < buffers.input_count; ++j) {
      if (overlap(outputs[i], buffers.inputs[j])) throw Failure(FL_BAD_ARGUMENT, what + "input " + std::to_string(j));
    }
    for (size_t j = i + 1; j < buffers.output_count; ++j) {
      if (overlap(outputs[i], outputs[j])) throw Failure(FL_BAD_ARGUMENT, what + "output " + std::to_string(j));
    }
  }
}

}  // namespace

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

void check_buffers(const std::string& method, const Signature& signature, const Buffers& buffers) {
  if (!signature.unsupported.empty()) {
    throw Failure(FL_UNSUPPORTED, "method " + method + ": " + signature.unsupported);
  }
  check_tensors(method, "input", buffers.inputs, buffers.input_count, signature.inputs);
  check_tensors(method, "output", buffers.outputs, buffers.output_count, signature.outputs);
  check_overlap(method, buffers);
}

}  // namespace fl
