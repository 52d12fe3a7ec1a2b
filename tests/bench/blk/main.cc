// blk_load: a vhost-user-blk front end that keeps a back end busy and tells how fast it was. See --help.
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <bit>
#include <cstdio>

#include "ipc/error.h"
#include "tests/bench/blk/load.h"
#include "tests/bench/blk/packed_ring.h"
#include "tests/bench/blk/split_ring.h"

namespace bench {
namespace {

constexpr std::uint64_t feature_bit(unsigned number) {
  return std::uint64_t{1} << number;
}
constexpr std::uint64_t kIndirectDesc = feature_bit(28);  // virtio 1.2, 6
constexpr std::uint64_t kEventIdx = feature_bit(29);
constexpr std::uint64_t kVersion1 = feature_bit(32);
constexpr std::uint64_t kRingPacked = feature_bit(34);

void add_options(CLI::App& app, Options& options) {
  const std::map<std::string, RingFormat> formats{{"split", RingFormat::Split}, {"packed", RingFormat::Packed}};
  const std::map<std::string, Wait> waits{{"poll", Wait::Poll}, {"interrupt", Wait::Interrupt}};
  app.add_option("--socket-path", options.socket_path, "of the back end")->required();
  app.add_option("--ring", options.ring, "split (the default) or packed")->transform(CLI::Transformer(formats));
  app.add_option("--event-idx", options.event_idx, "use EVENT_IDX where it is offered (true)");
  app.add_option("--indirect", options.indirect, "use indirect descriptors where they are offered (true)");
  app.add_option("--wait", options.wait, "poll, or interrupt (the default)")->transform(CLI::Transformer(waits));
  app.add_option("--queues", options.queues, "virtqueues (1)")->check(CLI::Range(1, 64));
  app.add_option("--queue-size", options.queue_size, "entries of each, a power of two (256)")
      ->check(CLI::Range(2, 32768));
  app.add_option("--depth", options.depth, "requests in flight on each (32)")->check(CLI::Range(1, 32768));
  app.add_option("--block", options.block, "bytes of a request, sectors of 512 (4096)")
      ->check(CLI::Range(512, 1 << 26));
  app.add_flag("--sequential", options.sequential, "instead of random places");
  app.add_option("--write", options.write_percent, "percentage of requests that write (0)")->check(CLI::Range(0, 100));
  app.add_option("--span", options.span, "use only so many bytes of the disk")->transform(CLI::AsSizeValue(false));
  app.add_option("--seconds", options.seconds, "measure for so long");
  app.add_option("--requests", options.requests, "or so many requests");
  app.add_option("--warm-up", options.warm_up, "seconds before the measurement (0)");
  app.add_option("--cpu", options.cpu, "run on this CPU");
  app.add_option("--back-end", options.back_end, "process whose CPU time is told")->type_name("PID");
  app.add_flag("--json", options.json, "print JSON");
}

// What of the options is possible with this back end; what was asked for by name and is not, is an error.
std::uint64_t negotiate(const Target& target, Options& options) {
  std::uint64_t features = kVersion1 | feature_bit(VIRTIO_BLK_F_FLUSH);  // without FLUSH all writes are durable
  options.indirect = options.indirect && (target.features() & kIndirectDesc) != 0;
  options.event_idx = options.event_idx && (target.features() & kEventIdx) != 0;
  if (options.indirect) features |= kIndirectDesc;
  if (options.event_idx) features |= kEventIdx;
  if (options.queues > 1) features |= feature_bit(VIRTIO_BLK_F_MQ);
  if (options.ring == RingFormat::Packed) {
    if ((target.features() & kRingPacked) == 0) throw Failure("the back end does not offer packed rings");
    features |= kRingPacked;
  }
  if (options.queues > target.queues()) throw Failure(fmt::format("the back end has {} queues", target.queues()));
  if (options.write_percent > 0 && (target.features() & feature_bit(VIRTIO_BLK_F_RO)) != 0)
    throw Failure("the disk is read-only");
  const std::uint64_t bytes = options.span == 0 ? target.bytes() : options.span;
  if (options.block % 512 != 0 || bytes > target.bytes() || bytes / options.block < options.queues)
    throw Failure(fmt::format("the disk of {} bytes has no room for it", target.bytes()));
  if (!std::has_single_bit(options.queue_size) ||
      unsigned{options.depth} * (options.indirect ? 1u : kParts) > options.queue_size)
    throw Failure(fmt::format("queues of {} entries don't hold a depth of {}", options.queue_size, options.depth));
  return features & (target.features() | kVersion1);
}

Outcome measure(Options& options) {
  Target target(options.socket_path);
  const std::uint64_t features = negotiate(target, options);
  if (options.ring == RingFormat::Packed) return Load<PackedRing>(target, features, options).run();
  return Load<SplitRing>(target, features, options).run();
}

void print(const Options& options, const Outcome& outcome) {
  const auto requests = static_cast<double>(outcome.latency.total());
  const double iops = requests / outcome.seconds;
  const double mib = iops * options.block / (1 << 20);
  const auto us = [&](double fraction) { return static_cast<double>(outcome.latency.quantile(fraction)) / 1e3; };
  const double kicks = static_cast<double>(outcome.kicks) / requests;
  const double interrupts = static_cast<double>(outcome.interrupts) / requests;
  const double cpu = outcome.back_end_seconds * 1e6 / requests;
  const double kernel = outcome.kernel_seconds * 1e6 / requests;
  const std::string_view ring = options.ring == RingFormat::Packed ? "packed" : "split";
  if (options.json)
    fmt::print(
        R"({{"requests": {}, "failed": {}, "seconds": {:.6f}, "iops": {:.1f}, "mib_per_s": {:.2f}, )"
        R"("mean_us": {:.3f}, "p50_us": {:.3f}, "p99_us": {:.3f}, "p99_9_us": {:.3f}, "kicks_per_io": {:.5f}, )"
        R"("interrupts_per_io": {:.5f}, "back_end_us_per_io": {:.4f}, "kernel_us_per_io": {:.4f}, "ring": "{}", "event_idx": {}, )"
        R"("indirect": {}}})"
        "\n",
        outcome.latency.total(), outcome.failed, outcome.seconds, iops, mib, outcome.latency.mean() / 1e3, us(0.5),
        us(0.99), us(0.999), kicks, interrupts, cpu, kernel, ring, options.event_idx, options.indirect);
  else
    fmt::print(
        "{:.0f} IOPS, {:.1f} MiB/s; p50 {:.1f}, p99 {:.1f}, p99.9 {:.1f} us; {:.4f} kicks, {:.4f} interrupts, "
        "{:.3f} us of the back end's CPU per I/O\n",
        iops, mib, us(0.5), us(0.99), us(0.999), kicks, interrupts, cpu);
}

int run(const Options& asked) {
  Options options = asked;
  if (options.cpu >= 0) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(options.cpu), &one);
    if (::sched_setaffinity(0, sizeof one, &one) != 0) throw Failure(fmt::format("no CPU {}", options.cpu));
  }
  const Outcome outcome = measure(options);
  if (outcome.latency.total() == 0) throw Failure("nothing completed while it was measured");
  print(options, outcome);
  if (outcome.failed > 0) throw Failure(fmt::format("{} requests failed", outcome.failed));
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  bench::Options options;
  CLI::App app(
      "Keeps the virtqueues of a vhost-user-blk back end filled, and tells how fast it was.\n"
      "The time of the back end's CPU takes --back-end=PID.",
      "blk_load");
  bench::add_options(app, options);
  CLI11_PARSE(app, argc, argv);
  if ((options.seconds > 0) == (options.requests > 0)) {
    fmt::print(stderr, "blk_load: exactly one of --seconds and --requests is right\n");
    return 2;
  }
  try {
    return bench::run(options);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "blk_load: {}\n", failure.what());
    return 1;
  }
}
