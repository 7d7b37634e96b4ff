// How a failure inside travels to the C ABI: as an exception with a status and one line of text.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "fl_runtime.h"

namespace fl {

struct Failure : std::runtime_error {
  Failure(fl_status code, const std::string& text) : std::runtime_error(text), status(code) {}
  fl_status status;
};

// ExecuTorch's fatal checks end the process. While a Scope of ours is alive in the thread they throw this instead.
struct RuntimeAborted {};

// Installs the hooks that give this library ExecuTorch's log and its fatal checks; again when another user of the
// runtime in this process, such as ExecuTorch's own Python extension, has put its own in their place.
void install_hooks();

// One call through the C ABI: collects what ExecuTorch logs as an error in this thread meanwhile.
class Scope {
 public:
  Scope();
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  // " (ExecuTorch: ...)", or nothing when it logged nothing.
  static std::string logged();
};

// Text of the thread's last failure, read by fl_last_error.
std::string& last_error();

// "what: reason (ExecuTorch: its own words)", from an ExecuTorch error code.
[[noreturn]] void raise(fl_status status, const std::string& what, uint32_t executorch_error);

// Runs `body` and turns every way out of it into a status and a text.
template <class Body>
int32_t guarded(Body&& body) noexcept {
  try {
    Scope scope;
    last_error().clear();
    try {
      body();
      return FL_OK;
    } catch (const Failure& failure) {
      last_error() = failure.what();
      return failure.status;
    } catch (const RuntimeAborted&) {
      last_error() = "ExecuTorch stopped at a fatal check" + Scope::logged() + "; the program file may be damaged";
      return FL_INTERNAL;
    } catch (const std::bad_alloc&) {
      last_error() = "out of memory";
      return FL_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
      last_error() = std::string("unexpected failure: ") + error.what();
      return FL_INTERNAL;
    }
  } catch (...) {
    return FL_INTERNAL;
  }
}

}  // namespace fl
