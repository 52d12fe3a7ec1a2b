// telemetry: what is recorded is read, by one who trusts nothing.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <thread>

#include "backends/telemetry/reader.h"
#include "backends/telemetry/segment.h"
#include "tests/support/catch.h"

using Catch::Matchers::Contains;
using telemetry::Counts;
using telemetry::kBuckets;
using telemetry::QueueBlock;
using telemetry::Reader;
using telemetry::Segment;

namespace {

constexpr std::string_view kNames[] = {"read", "write"};

// A memfd of `bytes`, sealed as `seals` say.
ipc::UniqueFd make_file(std::span<const std::byte> bytes, int seals) {
  ipc::UniqueFd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (::ftruncate(file.get(), static_cast<off_t>(bytes.size())) != 0 ||
      ::pwrite(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) ||
      ::fcntl(file.get(), F_ADD_SEALS, seals) != 0)
    return {};
  return file;
}

telemetry::Header good_header() {
  telemetry::Header header{.magic = telemetry::kMagic,
                           .version = 1,
                           .queues = 1,
                           .operations = 1,
                           .names = {},
                           .counters = 1,
                           .counter_names = {}};
  header.names[0] = {'r', 'x'};
  header.counter_names[0] = {'d', 'r', 'o', 'p'};
  return header;
}

ipc::Result<Reader> attach(const telemetry::Header& header, std::size_t bytes, int seals = F_SEAL_SHRINK) {
  std::vector<std::byte> content(bytes);
  std::ranges::copy(std::as_bytes(std::span(&header, 1)).first(std::min(bytes, sizeof header)), content.begin());
  return Reader::attach(make_file(content, seals));
}

}  // namespace

SCENARIO("histogram: buckets touch, grow, and are a sixteenth wide", "[telemetry]") {
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    const std::uint64_t start = telemetry::bucket_start(bucket);
    const std::uint64_t end = telemetry::bucket_start(bucket + 1);
    REQUIRE(start < end);
    REQUIRE(telemetry::bucket_of(start) == bucket);
    REQUIRE(telemetry::bucket_of(end - 1) == bucket);
    if (start >= 1'024) REQUIRE((end - start) * 16 <= start);
  }
  CHECK(telemetry::bucket_of(~std::uint64_t{0}) == kBuckets - 1);
}

SCENARIO("histogram: percentiles are within 6.25 % of the true ones", "[telemetry]") {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> latency(11.0, 1.5);
  std::vector<std::uint64_t> all(20'000);
  Counts counts{};
  for (std::uint64_t& each : all) {
    each = 1'024 + static_cast<std::uint64_t>(latency(random));
    ++counts[telemetry::bucket_of(each)];
  }
  std::ranges::sort(all);
  for (const double fraction : {0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = static_cast<std::size_t>(fraction * static_cast<double>(all.size())) - 1;
    const auto truth = static_cast<double>(all[rank]);
    const auto told = static_cast<double>(telemetry::percentile(counts, fraction));
    CAPTURE(fraction, truth, told);
    CHECK(std::abs(told - truth) <= truth * 0.0625);
  }
  CHECK(telemetry::percentile(Counts{}, 0.5) == 0);
  Counts absurd;
  absurd.fill(~std::uint64_t{0});
  CHECK(telemetry::percentile(absurd, 1.0) > 0);
}

SCENARIO("telemetry: what a queue's thread records is read, queue by queue", "[telemetry]") {
  const auto segment = Segment::create(kNames, 3);
  REQUIRE(segment);
  const auto reader = Reader::attach(segment->file());
  REQUIRE(reader);
  CHECK(reader->operations() == std::vector<std::string>{"read", "write"});
  const auto before = reader->read();
  REQUIRE(before.size() == 3);

  auto queue = segment->queue(1);
  queue.kicked();
  queue.interrupted();
  queue.interrupted();
  queue.submitted(1);
  queue.submitted(2);
  queue.finished(1, 4'096, 50'000, true);
  queue.finished(1, 512, 70'000, false);
  queue.throttled(1'000);
  const auto after = reader->read();
  const QueueBlock seen = telemetry::difference(after, before)[1];
  CHECK(seen.kicks == 1);
  CHECK(seen.interrupts == 2);
  CHECK(seen.submitted == 2);
  CHECK(seen.depth_sum == 3);
  CHECK(seen.throttled == 1);
  CHECK(seen.throttled_ns == 1'000);
  CHECK(seen.operations[1].bytes == 4'096);
  CHECK(seen.operations[1].failed == 1);
  CHECK(telemetry::total_of(seen.operations[1].latency) == 2);
  CHECK(seen.operations[1].latency[telemetry::bucket_of(50'000)] == 1);
  CHECK(telemetry::total_of(seen.operations[0].latency) == 0);
  CHECK(after[0].submitted + after[2].submitted == 0);

  auto other = segment->queue(2);
  other.submitted(5);
  CHECK(telemetry::sum(reader->read()).depth_sum == 8);
}

SCENARIO("telemetry: a kind of device counts what it has names for", "[telemetry]") {
  constexpr std::string_view kCounters[] = {"packets", "dropped"};
  const auto segment = Segment::create({}, 2, kCounters);
  REQUIRE(segment);
  const auto reader = Reader::attach(segment->file());
  REQUIRE(reader);
  CHECK(reader->operations().empty());
  CHECK(reader->counters() == std::vector<std::string>{"packets", "dropped"});
  segment->queue(0).count(0);
  segment->queue(1).count(0, 7);
  segment->queue(1).count(1);
  const auto sample = reader->read();
  CHECK(sample[1].counters[0] == 7);
  CHECK(telemetry::sum(sample).counters[0] == 8);
  CHECK(telemetry::sum(sample).counters[1] == 1);
}

SCENARIO("telemetry: it is read while it is written, and no count is lost", "[telemetry]") {
  const auto segment = Segment::create(kNames, 1);
  REQUIRE(segment);
  const auto reader = Reader::attach(segment->file());
  REQUIRE(reader);
  constexpr std::uint64_t kTimes = 100'000;
  std::thread writer([queue = segment->queue(0)]() mutable {
    for (std::uint64_t i = 0; i < kTimes; ++i) queue.finished(0, 1, i, true);
  });
  std::uint64_t last = 0;
  while (last < kTimes) {
    const std::uint64_t now = reader->read()[0].operations[0].bytes;
    REQUIRE(now >= last);
    last = now;
  }
  writer.join();
  CHECK(telemetry::total_of(reader->read()[0].operations[0].latency) == kTimes);
}

SCENARIO("telemetry: who is handed the segment can neither write it nor change its size", "[telemetry]") {
  const auto segment = Segment::create(kNames, 1);
  REQUIRE(segment);
  const int fd = segment->file().get();
  CHECK((::fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) ==
        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
  CHECK(::mmap(nullptr, 4'096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
  CHECK(::pwrite(fd, "x", 1, 0) == -1);
  CHECK(::ftruncate(fd, 0) == -1);
  segment->queue(0).kicked();
  CHECK(Reader::attach(segment->file())->read()[0].kicks == 1);
}

SCENARIO("telemetry: what cannot be made is refused", "[telemetry]") {
  CHECK_FALSE(Segment::create(kNames, 0));
  CHECK_FALSE(Segment::create(kNames, 65));
  CHECK_FALSE(Segment::create({}, 1));
  CHECK_FALSE(Segment::create(std::vector<std::string_view>(7, "x"), 1));
  CHECK_FALSE(Segment::create(std::vector<std::string_view>{"seventeen letters"}, 1));
  CHECK_FALSE(Segment::create(kNames, 1, std::vector<std::string_view>(23, "x")));
  CHECK_FALSE(Segment::create(kNames, 1, std::vector<std::string_view>{""}));
}

SCENARIO("telemetry: a segment that lies is refused", "[telemetry]") {
  const std::size_t whole = telemetry::segment_bytes(1);
  CHECK(attach(good_header(), whole));
  const auto refused = [](const ipc::Result<Reader>& result, int code) {
    return !result && result.error().code == code;
  };
  GIVEN("no memfd") {
    const ipc::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(refused(Reader::attach(null), EINVAL));
  }
  GIVEN("one that its owner can cut short") {
    CHECK(refused(attach(good_header(), whole, F_SEAL_GROW), EINVAL));
  }
  GIVEN("one of another size than it says") {
    const std::size_t bytes = GENERATE_COPY(std::size_t{0}, whole - 1, whole + 1, telemetry::segment_bytes(2),
                                            telemetry::segment_bytes(64), telemetry::segment_bytes(65));
    CHECK(refused(attach(good_header(), bytes), EBADMSG));
  }
  GIVEN("a header that makes no sense") {
    auto header = good_header();
    const int which = GENERATE(range(0, 12));
    if (which == 0) header.magic = 0;
    if (which == 1) header.version = 2;
    if (which == 2) header.queues = 0;
    if (which == 3) header.queues = 65;
    if (which == 4) header.operations = 0, header.counters = 0;
    if (which == 5) header.operations = 7;
    if (which == 6) header.operations = 2;  // and the second has no name
    if (which == 7) header.names[0][0] = '\x1b';
    if (which == 8) header.names[0][1] = '"';
    if (which == 9) header.counters = 23;
    if (which == 10) header.counters = 2;  // and the second has no name
    if (which == 11) header.counter_names[0][0] = ' ';
    CHECK(refused(attach(header, whole), EBADMSG));
  }
}
