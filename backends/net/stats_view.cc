#include "backends/net/stats_view.h"

#include <fmt/format.h>

#include <iterator>
#include <vector>

#include "backends/net/counters.h"

namespace net {
namespace {

using telemetry::QueueBlock;
using telemetry::Sample;

// Queues of one direction, without the control queue, which is the last.
Sample direction(const Sample& all, std::size_t first) {
  Sample queues;
  for (std::size_t i = first; i + 1 < all.size(); i += 2) queues.push_back(all[i]);
  return queues;
}

std::uint64_t drops_of(const QueueBlock& queue) {
  std::uint64_t drops = 0;
  for (std::size_t i = index_of(Counter::FirstDrop); i < queue.counters.size(); ++i) drops += queue.counters[i];
  return drops;
}

double per(std::uint64_t part, double whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / whole;
}

using Out = std::back_insert_iterator<std::string>;

void row(Out out, const std::string& label, const QueueBlock& queue, double seconds) {
  const std::uint64_t packets = queue.counters[index_of(Counter::Packets)];
  const auto frames = static_cast<double>(packets);
  fmt::format_to(out, "{:<8} {:>11.0f} {:>10.2f} {:>10.0f} {:>10.4f} {:>10.4f}\n", label, per(packets, seconds),
                 per(queue.counters[index_of(Counter::Bytes)], seconds) / (1 << 20), per(drops_of(queue), seconds),
                 per(queue.kicks, frames), per(queue.interrupts, frames));
}

void queue_json(Out out, const QueueBlock& queue, const std::vector<std::string>& counters) {
  fmt::format_to(out, R"({{"kicks": {}, "interrupts": {})", queue.kicks, queue.interrupts);
  for (std::size_t i = 0; i < counters.size(); ++i)
    fmt::format_to(out, R"(, "{}": {})", counters[i], queue.counters[i]);
  fmt::format_to(out, "}}");
}

}  // namespace

std::string table(const program::Interval& interval, const telemetry::Reader& reader) {
  std::string text = fmt::format("{:<8} {:>11} {:>10} {:>10} {:>10} {:>10}\n", "", "frames/s", "MiB/s", "dropped/s",
                                 "kicks/fr", "irqs/fr");
  const Out out(text);
  for (const auto& [name, first] : {std::pair("in", std::size_t{0}), std::pair("out", std::size_t{1})}) {
    const Sample queues = direction(interval.counted, first);
    const QueueBlock all = telemetry::sum(queues);
    row(out, name, all, interval.seconds);
    for (std::size_t i = 0; queues.size() > 1 && i < queues.size(); ++i)
      row(out, fmt::format("  {}{}", name, i), queues[i], interval.seconds);
    for (std::size_t i = index_of(Counter::FirstDrop); i < reader.counters().size(); ++i)
      if (all.counters[i] != 0)
        fmt::format_to(out, "  {:<14} {:>28.0f}\n", reader.counters()[i], per(all.counters[i], interval.seconds));
  }
  return text;
}

std::string json(const program::Interval& interval, const telemetry::Reader& reader) {
  std::string text = fmt::format(R"({{"seconds": {:.6f})", interval.seconds);
  const Out out(text);
  for (const auto& [name, first] : {std::pair("in", std::size_t{0}), std::pair("out", std::size_t{1})}) {
    const Sample queues = direction(interval.counted, first);
    fmt::format_to(out, R"(, "{}": )", name);
    queue_json(out, telemetry::sum(queues), reader.counters());
    fmt::format_to(out, R"(, "{}_queues": [)", name);
    for (std::size_t i = 0; i < queues.size(); ++i) {
      if (i != 0) text += ", ";
      queue_json(out, queues[i], reader.counters());
    }
    text += "]";
  }
  return text + "}\n";
}

}  // namespace net
