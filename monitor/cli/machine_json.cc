#include "monitor/cli/machine_json.h"

#include <capnp/compat/json.h>
#include <capnp/dynamic.h>
#include <fcntl.h>

#include <algorithm>
#include <vector>

#include "ipc/unique_fd.h"

namespace cli {

using capnp::DynamicStruct;
using capnp::JsonValue;
using ipc::failure;
using ipc::Result;

namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;

// The first line of what Cap'n Proto says, without its own source's names.
std::string reason(const kj::Exception& exception) {
  const std::string text = exception.getDescription().cStr();
  return text.substr(0, text.find('\n'));
}

std::string keys_of(capnp::StructSchema schema) {
  std::vector<std::string> names;
  for (const auto field : schema.getFields()) names.emplace_back(field.getProto().getName().cStr());
  std::ranges::sort(names);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string what_is_right(capnp::Type type) {
  if (type.isText()) return "a text in quotes";
  if (type.isBool()) return "true or false";
  if (type.isVoid()) return "null";
  if (type.isList()) return "a list in [ ]";
  if (type.isEnum()) {
    std::vector<std::string> names;
    for (const auto enumerant : type.asEnum().getEnumerants())
      names.emplace_back(enumerant.getProto().getName().cStr());
    return fmt::format("one of \"{}\"", fmt::join(names, "\", \""));
  }
  if (type.isUInt16()) return "a whole number from 0 to 65535";
  return "a whole number from 0 to 4294967295";
}

// Walks a JSON value along the schema, so that an error can name the key that it is about. The codec
// turns the values without keys, the leaves, into the schema's types.
class Walk {
 public:
  Result<> fill_struct(const std::string& path, JsonValue::Reader value, DynamicStruct::Builder into) {
    if (!value.isObject()) return failure(0, fmt::format("{}: an object in {{ }} is right", path));
    for (const auto member : value.getObject()) {
      const std::string name = member.getName().cStr();
      const std::string member_path = path.ends_with(": ") ? path + name : path + "." + name;
      KJ_IF_MAYBE (field, into.getSchema().findFieldByName(member.getName())) {
        TRY(fill_field(member_path, member.getValue(), into, *field));
      } else {
        return failure(0, fmt::format("{}: unknown key; {} are right", member_path, keys_of(into.getSchema())));
      }
    }
    return {};
  }

 private:
  Result<> fill_field(const std::string& path, JsonValue::Reader value, DynamicStruct::Builder into,
                      capnp::StructSchema::Field field) {
    const capnp::Type type = field.getType();
    if (type.isStruct()) return fill_struct(path, value, into.init(field).as<DynamicStruct>());
    const auto orphanage = capnp::Orphanage::getForMessageContaining(into);
    if (!type.isList() || !value.isArray())
      return fill_leaf(path, value, type, orphanage, [&](Leaf leaf) { into.adopt(field, kj::mv(leaf)); });
    const auto array = value.getArray();
    const capnp::Type element = type.asList().getElementType();
    auto list = into.init(field, array.size()).as<capnp::DynamicList>();
    for (unsigned i = 0; i < array.size(); ++i) {
      const std::string element_path = fmt::format("{}[{}]", path, i);
      if (element.isStruct())
        TRY(fill_struct(element_path, array[i], list[i].as<DynamicStruct>()));
      else
        TRY(fill_leaf(element_path, array[i], element, orphanage, [&](Leaf leaf) { list.adopt(i, kj::mv(leaf)); }));
    }
    return {};
  }

  // Both the codec and `put` throw for a value that is not of the type.
  using Leaf = capnp::Orphan<capnp::DynamicValue>;
  template <class Put>
  Result<> fill_leaf(const std::string& path, JsonValue::Reader value, capnp::Type type, capnp::Orphanage orphanage,
                     Put put) {
    try {
      put(codec_.decode(value, type, orphanage));
    } catch (const kj::Exception&) {
      return failure(0, fmt::format("{}: {} is right", path, what_is_right(type)));
    }
    return {};
  }

  capnp::JsonCodec codec_;
};

Result<std::string> read_text(const std::string& path) {
  const ipc::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file) return ipc::system_failure(path);
  std::string text(kMaxFileBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = ::read(file.get(), text.data() + size, text.size() - size);
    if (count < 0) return ipc::system_failure(path);
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  if (size > kMaxFileBytes) return failure(0, fmt::format("{}: larger than {} bytes", path, kMaxFileBytes));
  text.resize(size);
  return text;
}

}  // namespace

Result<> parse_machine(const std::string& path, std::string_view text, ipc::schema::Machine::Builder machine) {
  capnp::MallocMessageBuilder scratch;
  auto value = scratch.initRoot<JsonValue>();
  try {
    capnp::JsonCodec().decodeRaw(kj::arrayPtr(text.data(), text.size()), value);
  } catch (const kj::Exception& exception) {
    return failure(0, fmt::format("{}: not JSON: {}", path, reason(exception)));
  }
  return Walk().fill_struct(path + ": ", value.asReader(), DynamicStruct::Builder(machine));
}

Result<> read_machine(const std::string& path, ipc::schema::Machine::Builder machine) {
  const std::string text = TRY(read_text(path));
  return parse_machine(path, text, machine);
}

}  // namespace cli
