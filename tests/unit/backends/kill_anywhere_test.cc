// kill -9 at any instruction: a process that works on a ring is run one instruction at a time, and
// whenever shared memory has changed, a successor takes up what it would have left at this point.
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <set>

#include "backends/virtio/queue.h"
#include "tests/support/catch.h"
#include "tests/support/fake_driver.h"

using support::Descriptor;
using support::kWrite;
using support::Layout;

namespace {

constexpr std::uint16_t kSize = 8;
constexpr std::size_t kRam = 8192;
constexpr std::size_t kRegion = 4096;
constexpr std::array<std::size_t, 5> kChains{1, 2, 1, 2, 1};  // descriptors of each
constexpr std::uint16_t kStart = 5;                           // so that the ring wraps on the way

// Guest memory with five chains made available, and an in-flight region.
struct World {
  explicit World(Layout layout) : driver(ram, kSize, layout) {
    driver.start_at(kStart);
    base = driver.base();
    for (std::size_t chain = 0; chain < kChains.size(); ++chain) {
      buffers.push_back(ram.allocate(64, 64));
      std::vector<Descriptor> parts(kChains[chain], Descriptor{buffers.back(), 64, kWrite});
      heads.push_back(driver.link(parts));
      driver.offer(heads.back());
    }
    (void)table.add(ram.region(), ram.fd()).value();
  }
  World(Layout layout, const std::vector<std::byte>& memory) : World(layout) { load(memory); }

  std::vector<std::byte> memory() const {
    std::vector<std::byte> all(kRam + kRegion);
    std::memcpy(all.data(), ram.at(support::kGuestBase, kRam).data(), kRam);
    std::memcpy(all.data() + kRam, region.bytes().data(), kRegion);
    return all;
  }
  bool holds(const std::vector<std::byte>& memory) const {
    return std::memcmp(memory.data() + kRam, region.bytes().data(), kRegion) == 0 &&
           std::memcmp(memory.data(), ram.at(support::kGuestBase, kRam).data(), kRam) == 0;
  }
  void load(const std::vector<std::byte>& memory) {
    std::memcpy(ram.at(support::kGuestBase, kRam).data(), memory.data(), kRam);
    std::memcpy(region.bytes().data(), memory.data() + kRam, kRegion);
  }

  // A queue as a session makes it, before it takes up the region.
  std::variant<virtio::SplitQueue, virtio::PackedQueue> make() const {
    const virtio::RingAddresses addresses{{driver.table()}, {driver.available()}, {driver.used()}};
    if (driver.packed()) return virtio::PackedQueue::create(table.memory(), kSize, addresses, {}, base).value();
    return virtio::SplitQueue::create(table.memory(), kSize, addresses, {}, static_cast<std::uint16_t>(base)).value();
  }
  void resume(std::variant<virtio::SplitQueue, virtio::PackedQueue>& made) const {
    if (auto* packed = std::get_if<virtio::PackedQueue>(&made))
      (void)packed->resume(region.bytes().first(virtio::packed_inflight_bytes(kSize))).value();
    else
      std::get<virtio::SplitQueue>(made).resume(
          virtio::InflightLog::attach(region.bytes().first(virtio::inflight_bytes(kSize)), kSize).value());
  }
  virtio::Queue start() const {
    auto made = make();
    resume(made);
    return std::visit([](auto& queue) { return virtio::Queue(std::move(queue)); }, made);
  }

  support::GuestRam ram{kRam};
  support::FakeQueue driver;
  std::uint32_t base = 0;
  std::vector<std::uint64_t> buffers;
  std::vector<std::uint16_t> heads;
  ipc::UniqueFd region_file = support::make_memfd(kRegion, support::kSeals);
  ipc::Mapping region = ipc::Mapping::of(region_file, 0, kRegion, ipc::Access::ReadWrite).value();
  virtio::MemoryTable table;
};

// Takes, completes out of order, shows in batches of two and three.
void work(virtio::Queue& queue) {
  virtio::Chain chain;
  const auto take = [&] { return (**queue.next(chain)).index; };
  const std::uint16_t a = take();
  const std::uint16_t b = take();
  const std::uint16_t c = take();
  queue.complete(b, 64);
  queue.complete(a, 64);
  (void)queue.publish();
  const std::uint16_t d = take();
  const std::uint16_t e = take();
  queue.complete(e, 64);
  queue.complete(c, 64);
  queue.complete(d, 64);
  (void)queue.publish();
}

// What a successor that finds `memory` does wrong; empty if nothing.
std::string successor(Layout layout, const std::vector<std::byte>& memory) {
  World world(layout, memory);
  std::vector<std::uint32_t> seen;  // by the driver
  const auto look = [&] {
    while (const auto used = world.driver.wait_used(std::chrono::milliseconds(0))) {
      seen.push_back(used->id);
      if (seen.size() > kChains.size()) return;
    }
  };
  look();
  const std::size_t before = seen.size();
  virtio::Queue queue = world.start();
  virtio::Chain chain;
  std::vector<std::uint16_t> heads;
  std::size_t last = 0;
  while (true) {
    const auto head = queue.next(chain);
    if (!head) return "the ring is broken";
    if (!*head) break;
    if (!(**head).chain) return "a chain is refused";
    const auto address = world.table.memory().address_of(chain.writable()[0]).value;
    const auto found = std::ranges::find(world.buffers, address);
    if (found == world.buffers.end()) return "a chain that nobody made";
    const auto number = static_cast<std::size_t>(found - world.buffers.begin());
    if (chain.writable().size() != kChains[number]) return "a chain of another length";
    if (!heads.empty() && number <= last) return "chains out of order";
    last = number;
    heads.push_back((**head).index);
  }
  if (before + heads.size() != kChains.size())
    return fmt::format("{} were seen as used and {} were taken", before, heads.size());
  for (const std::uint16_t head : heads) {
    queue.complete(head, 64);
    (void)queue.publish();
  }
  look();
  if (seen.size() != kChains.size()) return fmt::format("{} were used", seen.size());
  if (std::set<std::uint32_t>(seen.begin(), seen.end()).size() != seen.size()) return "one was used twice";
  return {};
}

// Runs `what` in a process of its own, instruction by instruction; `look` sees `world` after each that
// has changed it. False if this host does not let us.
bool step_through(World& world, const std::function<void()>& what,
                  const std::function<void(const std::vector<std::byte>&)>& look) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
    (void)::raise(SIGSTOP);
    what();
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return false;
  std::vector<std::byte> known = world.memory();
  look(known);
  while (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0 && ::waitpid(child, &status, 0) == child &&
         WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP) {
    if (world.holds(known)) continue;
    known = world.memory();
    look(known);
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

SCENARIO("in-flight log: a process that is killed at any instruction loses and repeats nothing", "[inflight][kill]") {
#ifdef BULKHEAD_SANITIZED
  SKIP_TEST("a sanitizer's instructions are too many to be run one by one");
#endif
  const Layout layout = GENERATE(Layout::Split, Layout::Packed);
  World world(layout);
  std::vector<std::vector<std::byte>> points;
  std::size_t wrong = 0;
  std::string what;
  const auto check = [&](const std::vector<std::byte>& memory) {
    const std::string found = successor(layout, memory);
    if (found.empty()) return;
    ++wrong;
    what = found;
  };
  const bool stepped = step_through(
      world,
      [&] {
        virtio::Queue queue = world.start();
        work(queue);
      },
      [&](const std::vector<std::byte>& memory) {
        points.push_back(memory);
        check(memory);
      });
  if (!stepped) SKIP_TEST("this host does not let a process trace its child");
  INFO(what);
  CHECK(wrong == 0);
  CHECK(points.size() > 30);
  CHECK(successor(layout, points.back()).empty());

  // And a successor that is killed while it recovers.
  std::size_t seconds = 0;
  for (std::size_t i = 0; i < points.size(); i += 3) {
    World next(layout, points[i]);
    auto made = next.make();
    REQUIRE(step_through(
        next, [&] { next.resume(made); },
        [&](const std::vector<std::byte>& memory) {
          ++seconds;
          check(memory);
        }));
  }
  INFO(what);
  CHECK(wrong == 0);
  CHECK(seconds > points.size() / 3);
}
