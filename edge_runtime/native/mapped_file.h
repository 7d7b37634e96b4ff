// A program's file, mapped: what has been read of it can be given back while it is still mapped.
#pragma once

#include <executorch/extension/data_loader/mmap_data_loader.h>
#include <executorch/runtime/core/data_loader.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

namespace fl {

// A delegate maps all of its weights, packs them into copies of its own one after another, and unmaps them at the end.
// Until then each page that it read counts as this process's memory, so a large model's peak would be its loading. The
// pages are a file's: given back, they are read again where they are needed, and nothing changes but the memory.
class MappedFile final : public executorch::runtime::DataLoader {
 public:
  static std::unique_ptr<MappedFile> open(const std::string& path);  // throws Failure
  executorch::runtime::Result<executorch::runtime::FreeableBuffer> load(size_t offset, size_t size,
                                                                        const SegmentInfo& segment) const override;
  executorch::runtime::Error load_into(size_t offset, size_t size, const SegmentInfo& segment,
                                       void* buffer) const override;
  executorch::runtime::Result<size_t> size() const override;
  void give_back() const;  // all pages of all that is mapped; thread-safe

 private:
  struct Segment;
  explicit MappedFile(executorch::extension::MmapDataLoader&& file);
  static void unmap(void* segment, void* data, size_t size);

  executorch::extension::MmapDataLoader file_;
  mutable std::mutex lock_;
  mutable std::set<Segment*> mapped_;
};

// Gives pages back every few milliseconds, as long as it lives.
class GivingBack {
 public:
  explicit GivingBack(const MappedFile* file);  // null: does nothing
  ~GivingBack();
  GivingBack(const GivingBack&) = delete;
  GivingBack& operator=(const GivingBack&) = delete;

 private:
  std::mutex lock_;
  std::condition_variable ended_;
  bool end_ = false;
  std::thread worker_;
};

}  // namespace fl
