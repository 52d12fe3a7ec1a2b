#include "monitor/ending.h"

#include "ipc/error.h"
#include "monitor/message.h"

namespace monitor {

namespace schema = ipc::schema;

namespace {

Ending::Kind kind_of(schema::Failure::Kind kind) {
  switch (kind) {
    case schema::Failure::Kind::CONFIGURATION:
      return Ending::Kind::BadConfiguration;
    case schema::Failure::Kind::HOST:
      return Ending::Kind::HostNotAble;
    case schema::Failure::Kind::INTERNAL:
      break;
  }
  return Ending::Kind::InternalError;
}

}  // namespace

Ending Ending::by_failure(const std::string& name, schema::Failure::Reader failure) {
  ipc::Error error{failure.getCode(), printable(failure.getContext().cStr())};
  if (error.context.empty()) error.context = "it failed and gave no reason";
  const auto kind = kind_of(failure.getKind());
  if (kind == Kind::BadConfiguration) return {kind, ipc::describe(error)};
  return {kind, fmt::format("{}: {}", name, ipc::describe(error))};
}

}  // namespace monitor
