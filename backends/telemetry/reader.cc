#include "backends/telemetry/reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <optional>

#include "backends/telemetry/shared_file.h"

namespace telemetry {
namespace {

using ipc::Result;

using Words = std::array<std::uint64_t, sizeof(QueueBlock) / sizeof(std::uint64_t)>;

QueueBlock combine(const QueueBlock& a, const QueueBlock& b, auto&& operation) {
  auto left = std::bit_cast<Words>(a);
  const auto right = std::bit_cast<Words>(b);
  for (std::size_t i = 0; i < left.size(); ++i) left[i] = operation(left[i], right[i]);
  return std::bit_cast<QueueBlock>(left);
}

// The name, if it is one.
std::optional<std::string> text_of(const Name& name) {
  const auto end = std::ranges::find(name, '\0');
  const auto printable = [](char c) { return c > ' ' && c <= '~' && c != '"' && c != '\\'; };
  if (end == name.begin() || !std::all_of(name.begin(), end, printable)) return std::nullopt;
  return std::string(name.begin(), end);
}

Result<std::vector<std::string>> texts_of(std::span<const Name> names) {
  std::vector<std::string> texts;
  for (const Name& name : names) {
    auto text = text_of(name);
    if (!text) return ipc::failure(EBADMSG, "telemetry: a name is none");
    texts.push_back(std::move(*text));
  }
  return texts;
}

}  // namespace

Sample difference(const Sample& after, const Sample& before) {
  Sample result;
  for (std::size_t i = 0; i < std::min(after.size(), before.size()); ++i)
    result.push_back(combine(after[i], before[i], std::minus<>()));
  return result;
}

QueueBlock sum(const Sample& queues) {
  QueueBlock total{};
  for (const QueueBlock& queue : queues) total = combine(total, queue, std::plus<>());
  return total;
}

Result<Reader> Reader::attach(const ipc::UniqueFd& segment) {
  const int seals = ::fcntl(segment.get(), F_GET_SEALS);
  if (seals < 0) return ipc::system_failure("telemetry: no memfd");
  // Otherwise its owner could make each look at it our last.
  if ((seals & F_SEAL_SHRINK) == 0) return ipc::failure(EINVAL, "telemetry: not sealed against shrinking");
  struct stat status{};
  if (::fstat(segment.get(), &status) != 0) return ipc::system_failure("telemetry: size");
  const auto bytes = static_cast<std::uint64_t>(status.st_size);
  if (bytes < segment_bytes(1) || bytes > segment_bytes(kMaxQueues))
    return ipc::failure(EBADMSG, fmt::format("telemetry: {} bytes", bytes));
  auto region = TRY(map_shared(segment, bytes, boost::interprocess::read_only));

  // What counts is the copy: the writer may change the original at any time.
  Header header;
  std::memcpy(&header, region.get_address(), sizeof header);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (header.magic != kMagic || header.version != kVersion)
    return ipc::failure(EBADMSG, fmt::format("telemetry: version {:#x}, {} is right", header.version, kVersion));
  if (header.queues == 0 || header.queues > kMaxQueues || segment_bytes(header.queues) != bytes)
    return ipc::failure(EBADMSG, fmt::format("telemetry: {} queues in {} bytes", header.queues, bytes));
  if (header.operations > kMaxOperations || header.counters > kMaxCounters || header.operations + header.counters == 0)
    return ipc::failure(EBADMSG,
                        fmt::format("telemetry: {} operations, {} counters", header.operations, header.counters));
  auto operations = TRY(texts_of(std::span(header.names).first(header.operations)));
  auto counters = TRY(texts_of(std::span(header.counter_names).first(header.counters)));
  return Reader(std::move(region), header.queues, std::move(operations), std::move(counters));
}

Sample Reader::read() const {
  const auto* const start = static_cast<const std::byte*>(region_.get_address()) + kHeaderBytes;
  Sample sample;
  sample.reserve(queues_);
  for (std::size_t queue = 0; queue < queues_; ++queue) {
    // SAFETY: attach() saw that so many blocks are there; each is a multiple of 8 bytes from a page's start.
    const auto* const shared = reinterpret_cast<const std::uint64_t*>(start + queue * sizeof(QueueBlock));
    Words words;
    for (std::size_t i = 0; i < words.size(); ++i)
      words[i] = std::atomic_ref(const_cast<std::uint64_t&>(shared[i])).load(std::memory_order_relaxed);
    sample.push_back(std::bit_cast<QueueBlock>(words));
  }
  return sample;
}

}  // namespace telemetry
