#include "mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <system_error>
#include <utility>

#include "failure.h"

namespace fl {
namespace {

namespace et = executorch::runtime;
using executorch::extension::MmapDataLoader;

constexpr auto kBetween = std::chrono::milliseconds(10);  // a core packs about 8 MiB in that time

}  // namespace

struct MappedFile::Segment {
  const MappedFile* file;
  et::FreeableBuffer buffer;
};

std::unique_ptr<MappedFile> MappedFile::open(const std::string& path) {
  auto file = MmapDataLoader::from(path.c_str(), MmapDataLoader::MlockConfig::NoMlock);
  if (!file.ok()) raise(FL_NOT_FOUND, path + ": cannot be mapped", static_cast<uint32_t>(file.error()));
  return std::unique_ptr<MappedFile>(new MappedFile(std::move(file.get())));
}

MappedFile::MappedFile(MmapDataLoader&& file) : file_(std::move(file)) {}

et::Result<et::FreeableBuffer> MappedFile::load(size_t offset, size_t size, const SegmentInfo& about) const {
  auto mapped = file_.load(offset, size, about);
  if (!mapped.ok() || mapped->size() == 0) return mapped;
  auto segment = std::make_unique<Segment>(Segment{this, std::move(mapped.get())});
  std::lock_guard<std::mutex> hold(lock_);
  mapped_.insert(segment.get());
  const et::FreeableBuffer& inner = segment->buffer;
  return et::FreeableBuffer(inner.data(), inner.size(), unmap, segment.release());
}

// Under the lock: the addresses may be another's memory as soon as they are unmapped.
void MappedFile::unmap(void* segment, void*, size_t) {
  const std::unique_ptr<Segment> own(static_cast<Segment*>(segment));
  std::lock_guard<std::mutex> hold(own->file->lock_);
  own->file->mapped_.erase(own.get());
  own->buffer.Free();
}

void MappedFile::give_back() const {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  std::lock_guard<std::mutex> hold(lock_);
  for (const Segment* segment : mapped_) {  // each is a mapping of its own, of whole pages
    const auto data = reinterpret_cast<uintptr_t>(segment->buffer.data());
    const uintptr_t first = data / page * page, end = (data + segment->buffer.size() + page - 1) / page * page;
    (void)madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);  // a hint: what fails costs memory only
  }
}

et::Error MappedFile::load_into(size_t offset, size_t size, const SegmentInfo& about, void* buffer) const {
  return file_.load_into(offset, size, about, buffer);
}

et::Result<size_t> MappedFile::size() const { return file_.size(); }

GivingBack::GivingBack(const MappedFile* file) {
  if (file == nullptr) return;
  try {
    worker_ = std::thread([this, file] {
      std::unique_lock<std::mutex> hold(lock_);
      while (!ended_.wait_for(hold, kBetween, [this] { return end_; })) file->give_back();
    });
  } catch (const std::system_error&) {  // no thread to be had: loading only takes more memory
  }
}

GivingBack::~GivingBack() {
  if (!worker_.joinable()) return;
  {
    std::lock_guard<std::mutex> hold(lock_);
    end_ = true;
  }
  ended_.notify_one();
  worker_.join();
}

}  // namespace fl
