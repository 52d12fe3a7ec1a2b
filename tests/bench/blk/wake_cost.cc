// wake_cost CPU CPU: what it takes a thread on the first CPU to wake one that sleeps on the second by an eventfd,
// as kicks and interrupts do. Prints, as JSON, the median time of the write and until the other one runs. Where
// waking an idle CPU means to leave a virtual machine, this bounds all that sleeps.
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/support/fake_driver.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kRounds = 1000;
constexpr std::chrono::microseconds kPause{50};  // until the other one sleeps

void run_on(const char* cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(std::atoi(cpu)), &one);
  ::sched_setaffinity(0, sizeof one, &one);
}

double median_us(std::array<Clock::duration, kRounds>& times) {
  std::ranges::nth_element(times, times.begin() + kRounds / 2);
  return std::chrono::duration<double, std::micro>(times[kRounds / 2]).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const ipc::UniqueFd event = support::make_eventfd();
  std::atomic<Clock::time_point> woken{};
  std::atomic<bool> moved = false;
  std::thread sleeper([&] {
    run_on(argv[2]);
    moved = true;
    moved.notify_one();
    for (std::size_t round = 0; round < kRounds; ++round) {
      std::uint64_t count = 0;
      while (::read(event.get(), &count, sizeof count) != sizeof count)
        support::readable_within(event, support::kPatience);
      woken = Clock::now();
    }
  });
  moved.wait(false);  // asleep, for it may have to share this CPU until then
  run_on(argv[1]);
  std::array<Clock::duration, kRounds> writes;
  std::array<Clock::duration, kRounds> wakes;
  for (std::size_t round = 0; round < kRounds; ++round) {
    for (const auto start = Clock::now(); Clock::now() - start < kPause;) continue;
    woken = Clock::time_point();
    const std::uint64_t one = 1;
    const auto start = Clock::now();
    if (::write(event.get(), &one, sizeof one) != sizeof one) return 1;
    writes[round] = Clock::now() - start;
    while (woken.load() == Clock::time_point()) continue;
    wakes[round] = woken.load() - start;
  }
  sleeper.join();
  fmt::print(R"({{"write_us": {:.1f}, "wake_us": {:.1f}}})"
             "\n",
             median_us(writes), median_us(wakes));
  return 0;
}
