#include "backends/program/control_server.h"

#include "backends/serve/log.h"

namespace program {
namespace {

using ipc::Result;
namespace schema = ipc::schema;

constexpr std::uint64_t kNotGiven = ~std::uint64_t{0};

void change(limits::Rate& rate, schema::Rate::Reader asked) {
  if (asked.getPerSecond() != kNotGiven) rate.per_second = asked.getPerSecond();
  if (asked.getBurst() != kNotGiven) rate.burst = asked.getBurst();
}

void change(limits::Limits::Rates& rates, schema::Rates::Reader asked) {
  change(rates.read, asked.getRead());
  change(rates.write, asked.getWrite());
  change(rates.total, asked.getTotal());
}

void tell(schema::Rate::Builder told, const limits::Rate& rate) {
  told.setPerSecond(rate.per_second);
  told.setBurst(rate.burst);
}

void tell(schema::Rates::Builder told, const limits::Limits::Rates& rates) {
  tell(told.initRead(), rates.read);
  tell(told.initWrite(), rates.write);
  tell(told.initTotal(), rates.total);
}

void reply(Controlled& target, schema::ControlRequest::Reader request, schema::ControlAnswer::Builder answer) {
  const auto end = [&](const Result<>& result) {
    if (result) return answer.setDone();
    answer.setFailed(ipc::describe(result.error()));
  };
  switch (request.which()) {
    case schema::ControlRequest::TELEMETRY:
      return answer.setTelemetry();
    case schema::ControlRequest::STATUS: {
      auto status = answer.initStatus();
      target.describe(status);
      const limits::Limits now = target.limits();
      auto told = status.initLimits();
      tell(told.initOperations(), now.operations);
      tell(told.initBytes(), now.bytes);
      return;
    }
    case schema::ControlRequest::SET_LIMITS: {
      limits::Limits limits = target.limits();
      change(limits.operations, request.getSetLimits().getOperations());
      change(limits.bytes, request.getSetLimits().getBytes());
      target.set_limits(limits);
      return end({});
    }
    default:  // of one kind of device, or of a later version
      return end(target.change(request));
  }
}

}  // namespace

Result<std::unique_ptr<ipc::Operators>> serve_operators(const ipc::UniqueFd& listener, ipc::EventLoop& loop,
                                                        Controlled& target) {
  const auto respond = [&target](ipc::Frame& request, ipc::ControlChannel& client) -> Result<> {
    capnp::MallocMessageBuilder message;
    auto answer = message.initRoot<schema::ControlAnswer>();
    reply(target, request.root<schema::ControlRequest>(), answer);
    const int file = target.telemetry().get();
    return client.send(message, answer.isTelemetry() ? std::span(&file, 1) : std::span<const int>());
  };
  return ipc::Operators::create(listener, loop,
                                {.answer = respond, .log = [](const std::string& line) { serve::say(line); }});
}

}  // namespace program
