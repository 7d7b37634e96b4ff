// What one method takes and gives, read once from the file, and a caller's buffers held against it.
#pragma once

#include <executorch/runtime/executor/method_meta.h>

#include <cstddef>
#include <string>
#include <vector>

#include "fl_runtime.h"

namespace fl {

struct Signature {
  fl_method_info info{};
  std::vector<fl_tensor_info> inputs;
  std::vector<fl_tensor_info> outputs;
  std::vector<size_t> arena_bytes;
  std::string backends;     // one a line
  std::string unsupported;  // why it cannot be executed through this library, or empty
};

// Throws FL_BAD_PROGRAM when the file contradicts itself.
Signature read_signature(const executorch::runtime::MethodMeta& meta);

// The buffers of one call, in the order of the signature.
struct Buffers {
  const fl_buffer* inputs;
  size_t input_count;
  const fl_buffer* outputs;
  size_t output_count;
};

// Throws, naming the tensor, what came and what was expected.
void check_buffers(const std::string& method, const Signature& signature, const Buffers& buffers);

}  // namespace fl
