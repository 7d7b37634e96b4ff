#include "failure.h"

#include <executorch/runtime/core/error.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

namespace fl {
namespace {

namespace et = executorch::runtime;

constexpr size_t kMostLogged = 400;  // bytes of ExecuTorch's words in one message: its first lines name the cause

thread_local int depth = 0;
thread_local std::string log_text;
thread_local std::string error_text;

pal_emit_log_message_method previous_log = nullptr;
pal_abort_method previous_abort = nullptr;

void on_log(et_timestamp_t time, et_pal_log_level_t level, const char* file, const char* function, size_t line,
            const char* message, size_t length) {
  if (depth == 0) {  // another user of the runtime in this process, or a worker thread
    if (previous_log != nullptr) previous_log(time, level, file, function, line, message, length);
    return;
  }
  if (level != kError && level != kFatal) return;
  if (log_text.size() >= kMostLogged) return;
  if (!log_text.empty()) log_text += "; ";
  log_text.append(message, std::min(length, kMostLogged));
}

[[noreturn]] void on_abort() {
  if (depth > 0) throw RuntimeAborted{};
  if (previous_abort != nullptr) previous_abort();
  std::abort();
}

}  // namespace

void install_hooks() {
  static std::mutex lock;
  std::lock_guard<std::mutex> hold(lock);
  et::runtime_init();
  const et::PalImpl* now = et::get_pal_impl();
  if (now != nullptr && now->emit_log_message == on_log && now->abort == on_abort) return;
  if (now != nullptr && now->emit_log_message != on_log) previous_log = now->emit_log_message;
  if (now != nullptr && now->abort != on_abort) previous_abort = now->abort;
  et::PalImpl hooks{};
  hooks.emit_log_message = on_log;
  hooks.abort = on_abort;
  hooks.source_filename = "fl_runtime";
  et::register_pal(hooks);
}

Scope::Scope() {
  install_hooks();
  if (depth++ == 0) log_text.clear();
}

Scope::~Scope() { --depth; }

std::string Scope::logged() {
  if (log_text.empty()) return "";
  std::string text = " (ExecuTorch: " + log_text + ")";
  for (char& letter : text) {
    if (static_cast<unsigned char>(letter) < 0x20) letter = ' ';
  }
  return text;
}

std::string& last_error() { return error_text; }

void raise(fl_status status, const std::string& what, uint32_t executorch_error) {
  const auto error = static_cast<et::Error>(executorch_error);
  switch (error) {
    case et::Error::MemoryAllocationFailed:
    case et::Error::DelegateMemoryAllocationFailed:
      status = FL_OUT_OF_MEMORY;
      break;
    case et::Error::OperatorMissing:
    case et::Error::NotSupported:
    case et::Error::NotImplemented:
      status = FL_UNSUPPORTED;
      break;
    default:
      break;
  }
  throw Failure(status, what + ": " + et::to_string(error) + Scope::logged());
}

}  // namespace fl
