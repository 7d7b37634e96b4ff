// Classifies one text with a device package, over fl_runtime.h alone: no Python, no torch. See README.md here.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fl_runtime.h"

// The tensors of a predict method, in their order (SPEC.md, "Program interface"), then its first output.
enum { EXPERTS, SHARED, HEAD, MEAN, GATE_SCALE, IDS, POSITIONS, ATTEND, READOUT, PROBABILITIES };

[[noreturn]] void fail(const std::string& text, int status = 1) {
  std::fprintf(stderr, "classify: %s\n", text.c_str());
  std::exit(status);
}

void check(int32_t status) {
  char text[1024] = "";
  if (status != FL_OK) fl_last_error(text, sizeof text), fail(text);
}

// Copies one tensor of a safetensors file: 8 bytes that tell the header's size, the header in JSON, the values.
void load(const std::string& file, const std::string& name, std::vector<char>& values) {
  uint64_t header = 0;
  unsigned long long begin = 0, end = 0;
  const size_t entry = file.find("\"" + name + "\":{");
  const size_t place = file.find("\"data_offsets\":[", entry);
  if (file.size() < 8 || entry == file.npos || place == file.npos) fail("the bank has no " + name);
  std::memcpy(&header, file.data(), sizeof header);
  std::sscanf(file.c_str() + place, "\"data_offsets\":[%llu,%llu]", &begin, &end);
  if (end - begin != values.size()) fail("the bank is of another package: " + name + " has another size");
  if (header > file.size() || end > file.size() - 8 - header) fail("the bank is not whole");
  std::memcpy(values.data(), file.data() + 8 + header + begin, values.size());
}

int main(int count, char** words) {
  if (count < 5) fail("usage: classify PROGRAM METHOD BANK ID...", 2);
  std::ifstream stream(words[3], std::ios::binary);
  const std::string bank{std::istreambuf_iterator<char>(stream), {}};
  fl_handle program = 0;
  fl_method_info method{};
  check(fl_open(words[1], FL_OPEN_MMAP, &program));
  check(fl_method(program, words[2], &method));
  if (method.inputs != READOUT + 1) fail("this example takes classifiers with shared experts");

  std::vector<fl_tensor_info> infos(method.inputs + method.outputs);
  std::vector<std::vector<char>> data;
  std::vector<fl_buffer> buffers;
  for (int32_t i = 0; i < method.inputs + method.outputs; ++i) {
    const bool input = i < method.inputs;
    check(input ? fl_input(program, words[2], i, &infos[i]) : fl_output(program, words[2], i - method.inputs, &infos[i]));
    data.emplace_back(infos[i].nbytes);  // zeros
    buffers.push_back({data[i].data(), infos[i].nbytes, infos[i].shape, infos[i].rank, infos[i].dtype});
  }
  load(bank, "experts", data[EXPERTS]);
  load(bank, "shared", data[SHARED]);
  load(bank, "head", data[HEAD]);
  load(bank, "mean", data[MEAN]);
  const auto floats = [&](int tensor) { return reinterpret_cast<float*>(data[tensor].data()); };
  const auto integers = [&](int tensor) { return reinterpret_cast<int64_t*>(data[tensor].data()); };
  for (size_t i = 0; i < infos[GATE_SCALE].nbytes / sizeof(float); ++i) floats(GATE_SCALE)[i] = 1;

  const int64_t places = infos[IDS].shape[1], tokens = count - 4;
  if (infos[IDS].shape[0] != 1 || tokens > places) fail("take a method of one row with as many places as tokens");
  for (int64_t i = 0; i < tokens; ++i) {
    integers(IDS)[i] = std::atoll(words[4 + i]);
    integers(POSITIONS)[i] = i;
    floats(READOUT)[i] = 1.0f / static_cast<float>(tokens);  // the text is the mean of its tokens
    for (int64_t j = 0; j < tokens; ++j) floats(ATTEND)[i * places + j] = 1;
  }
  check(fl_execute(program, words[2], buffers.data(), method.inputs, &buffers[method.inputs], method.outputs));
  for (size_t i = 0; i < infos[PROBABILITIES].nbytes / sizeof(float); ++i) std::printf("%.6f\n", floats(PROBABILITIES)[i]);
  check(fl_close(program));
}
