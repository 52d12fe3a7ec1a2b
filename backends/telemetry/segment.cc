#include "backends/telemetry/segment.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "backends/telemetry/shared_file.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace telemetry {

using ipc::Result;

Result<Segment> Segment::create(std::span<const std::string_view> operations, std::uint16_t queues,
                                std::span<const std::string_view> counters) {
  const auto fits = [](std::string_view name) { return !name.empty() && name.size() <= kNameBytes; };
  if (queues == 0 || queues > kMaxQueues)
    return ipc::failure(EINVAL, fmt::format("{} queues: 1 to {} is right", queues, kMaxQueues));
  if (operations.size() + counters.size() == 0 || operations.size() > kMaxOperations ||
      counters.size() > kMaxCounters || !std::ranges::all_of(operations, fits) || !std::ranges::all_of(counters, fits))
    return ipc::failure(EINVAL, fmt::format("telemetry of {} operations and {} counters, or of names that do not fit",
                                            operations.size(), counters.size()));

  ipc::UniqueFd file(::memfd_create("telemetry", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return ipc::system_failure("make telemetry");
  const std::size_t bytes = segment_bytes(queues);
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return ipc::system_failure("size telemetry");
  auto region = TRY(map_shared(file, bytes, boost::interprocess::read_write));
  if (::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0)
    return ipc::system_failure("seal telemetry");

  Header header{.magic = kMagic,
                .version = kVersion,
                .queues = queues,
                .operations = static_cast<std::uint16_t>(operations.size()),
                .names = {},
                .counters = counters.size(),
                .counter_names = {}};
  for (std::size_t i = 0; i < counters.size(); ++i) counters[i].copy(header.counter_names[i].data(), kNameBytes);
  for (std::size_t i = 0; i < operations.size(); ++i) operations[i].copy(header.names[i].data(), kNameBytes);
  // SAFETY: a page's start, and kHeaderBytes are there; nobody else has the file yet.
  ::new (region.get_address()) Header(header);
  return Segment(std::move(file), std::move(region));
}

QueueRecorder Segment::queue(std::uint16_t index) const {
  std::byte* const start = static_cast<std::byte*>(region_.get_address()) + segment_bytes(index);
  // SAFETY: inside the region, by `index`; aligned, as the region is and kHeaderBytes and the size of a block are;
  // a new memfd is all zero, which is a QueueBlock.
  return QueueRecorder(*reinterpret_cast<QueueBlock*>(start));
}

}  // namespace telemetry
