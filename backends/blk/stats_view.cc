#include "backends/blk/stats_view.h"

#include <fmt/format.h>

#include <iterator>
#include <span>

namespace blk {
namespace {

using program::Interval;
using telemetry::OperationBlock;
using telemetry::QueueBlock;

struct Totals {
  std::uint64_t finished = 0;
  std::uint64_t failed = 0;
  std::uint64_t bytes = 0;
  telemetry::Counts latency{};
};

void add(Totals& totals, const OperationBlock& block) {
  totals.finished += telemetry::total_of(block.latency);
  totals.failed += block.failed;
  totals.bytes += block.bytes;
  for (std::size_t i = 0; i < totals.latency.size(); ++i) totals.latency[i] += block.latency[i];
}

Totals totals_of(std::span<const OperationBlock> operations) {
  Totals totals;
  for (const OperationBlock& block : operations) add(totals, block);
  return totals;
}

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string time_text(std::uint64_t ns) {
  const auto us = static_cast<double>(ns) / 1e3;
  if (us < 1e3) return fmt::format("{:.1f}us", us);
  if (us < 1e6) return fmt::format("{:.1f}ms", us / 1e3);
  return fmt::format("{:.1f}s", us / 1e6);
}

std::uint64_t in_flight(const QueueBlock& queue) {
  return queue.submitted - totals_of(queue.operations).finished;
}

std::string rates_text(const Totals& totals, double seconds) {
  return fmt::format("{:>10.0f} {:>9.2f} {:>8} {:>8} {:>8} {:>7}", static_cast<double>(totals.finished) / seconds,
                     static_cast<double>(totals.bytes) / seconds / (1 << 20),
                     time_text(telemetry::percentile(totals.latency, 0.5)),
                     time_text(telemetry::percentile(totals.latency, 0.99)),
                     time_text(telemetry::percentile(totals.latency, 0.999)), totals.failed);
}

using Out = std::back_insert_iterator<std::string>;

void queue_rows(Out out, const std::string& label, const QueueBlock& counted, const QueueBlock& now,
                const Interval& interval, const std::vector<std::string>& operations) {
  const Totals all = totals_of(counted.operations);
  fmt::format_to(out, "{:<10} {} {:>8} {:>6.1f} {:>8.3f} {:>8.3f} {:>9}\n", label, rates_text(all, interval.seconds),
                 in_flight(now), ratio(counted.depth_sum, counted.submitted), ratio(counted.kicks, all.finished),
                 ratio(counted.interrupts, all.finished), time_text(counted.throttled_ns));
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const Totals one = totals_of(std::span(counted.operations).subspan(i, 1));
    if (one.finished == 0) continue;
    fmt::format_to(out, "  {:<8} {}\n", operations[i], rates_text(one, interval.seconds));
  }
}

void rates_json(Out out, const Totals& totals) {
  fmt::format_to(out, R"({{"finished": {}, "failed": {}, "bytes": {}, "p50_ns": {}, "p99_ns": {}, "p999_ns": {}}})",
                 totals.finished, totals.failed, totals.bytes, telemetry::percentile(totals.latency, 0.5),
                 telemetry::percentile(totals.latency, 0.99), telemetry::percentile(totals.latency, 0.999));
}

void queue_json(Out out, const QueueBlock& counted, const QueueBlock& now, const std::vector<std::string>& operations) {
  fmt::format_to(out,
                 R"({{"in_flight": {}, "submitted": {}, "depth": {:.3f}, "kicks": {}, "interrupts": {}, )"
                 R"("throttled": {}, "throttled_ns": {}, "total": )",
                 in_flight(now), counted.submitted, ratio(counted.depth_sum, counted.submitted), counted.kicks,
                 counted.interrupts, counted.throttled, counted.throttled_ns);
  rates_json(out, totals_of(counted.operations));
  for (std::size_t i = 0; i < operations.size(); ++i) {
    fmt::format_to(out, R"({}"{}": )", i == 0 ? R"(, "operations": {)" : ", ", operations[i]);
    rates_json(out, totals_of(std::span(counted.operations).subspan(i, 1)));
  }
  fmt::format_to(out, "}}}}");
}

}  // namespace

std::string table(const Interval& interval, const telemetry::Reader& reader) {
  const std::vector<std::string>& operations = reader.operations();
  std::string text =
      fmt::format("{:<10} {:>10} {:>9} {:>8} {:>8} {:>8} {:>7} {:>8} {:>6} {:>8} {:>8} {:>9}\n", "", "IOPS", "MiB/s",
                  "p50", "p99", "p99.9", "failed", "inflight", "depth", "kicks/IO", "irqs/IO", "throttled");
  const Out out(text);
  queue_rows(out, "all", telemetry::sum(interval.counted), telemetry::sum(interval.now), interval, operations);
  for (std::size_t queue = 0; interval.counted.size() > 1 && queue < interval.counted.size(); ++queue)
    if (interval.counted[queue].submitted != 0 || in_flight(interval.now[queue]) != 0)
      queue_rows(out, fmt::format("queue {}", queue), interval.counted[queue], interval.now[queue], interval,
                 operations);
  return text;
}

std::string json(const Interval& interval, const telemetry::Reader& reader) {
  const std::vector<std::string>& operations = reader.operations();
  std::string text = fmt::format(R"({{"seconds": {:.6f}, "device": )", interval.seconds);
  const Out out(text);
  queue_json(out, telemetry::sum(interval.counted), telemetry::sum(interval.now), operations);
  text += R"(, "queues": [)";
  for (std::size_t queue = 0; queue < interval.counted.size(); ++queue) {
    if (queue != 0) text += ", ";
    queue_json(out, interval.counted[queue], interval.now[queue], operations);
  }
  return text + "]}\n";
}

}  // namespace blk
