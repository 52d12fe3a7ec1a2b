// machine.json: the schema in Cap'n Proto's JSON.
#include "monitor/cli/machine_json.h"

#include <capnp/compat/json.h>
#include <capnp/message.h>
#include <capnp/pretty-print.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "ipc/unique_fd.h"
#include "tests/support/catch.h"
#include "tests/unit/cli/asked.h"

namespace cli::test {
namespace {

namespace schema = ipc::schema;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

// A file of the text, for as long as the test runs.
class JsonFile {
 public:
  explicit JsonFile(const std::string& content) {
    char name[] = "/tmp/bulkhead-machine-XXXXXX";
    const ipc::UniqueFd made(::mkstemp(name));
    path_ = name;
    std::ofstream(path_) << content;
  }
  ~JsonFile() { std::filesystem::remove(path_); }
  JsonFile(const JsonFile&) = delete;
  JsonFile& operator=(const JsonFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string error_of(const std::string& json) {
  capnp::MallocMessageBuilder message;
  const auto parsed = parse_machine("m.json", json, message.initRoot<schema::Machine>());
  return parsed ? "" : ipc::describe(parsed.error());
}

}  // namespace

SCENARIO("A machine goes through JSON and comes back the same", "[cli][json]") {
  capnp::MallocMessageBuilder written;
  auto machine = written.initRoot<schema::Machine>();
  machine.setName("web1");
  machine.setCpus(4);
  machine.setMemoryMib(2048);
  machine.setKernel("vmlinuz");
  machine.setInitrd("initrd.img");
  machine.setCmdline("root=/dev/vda1 \"quoted\" \\ caf\u00e9");
  auto disk = machine.initDisks(1)[0];
  disk.setPath("d.img");
  disk.setReadonly(true);
  disk.setSerial("data");
  disk.setQueues(2);
  auto device = machine.initDevices(1)[0];
  device.setSocket("/run/net.sock");
  device.setId(1);
  device.setQueues(2);
  machine.initSerial().setFile("console.log");

  const JsonFile file(capnp::JsonCodec().encode(machine.asReader()).cStr());
  const Asked asked({"run", file.path()});
  CHECK(asked.error().empty());
  REQUIRE(asked.machine());
  CHECK(std::string(capnp::prettyPrint(*asked.machine()).flatten().cStr()) ==
        capnp::prettyPrint(machine.asReader()).flatten().cStr());
}

SCENARIO("What machine.json leaves out has the schema's defaults; --name goes beside it", "[cli][json]") {
  const JsonFile file(R"({"kernel": "k", "serial": {"none": null}})");
  const Asked asked({"run", file.path(), "--name", "web2"});
  CHECK(asked.error().empty());
  REQUIRE(asked.machine());
  CHECK(asked.machine()->getCpus() == 1);
  CHECK(asked.machine()->getMemoryMib() == 512);
  CHECK(asked.machine()->getSerial().isNone());
  CHECK(text(asked.machine()->getName()) == "web2");
}

SCENARIO("A mistake in machine.json is answered by its file, its key and what would be right", "[cli][json]") {
  struct Mistake {
    std::string json, named, right;
  };
  const auto mistake = GENERATE(values<Mistake>({
      {R"({"kernle": "k"})", "kernle: unknown key", "kernel"},
      {R"({"disks": [{"path": "a"}, {"pth": "b"}]})", "disks[1].pth: unknown key", "path"},
      {R"({"devices": [{"sock": "b"}]})", "devices[0].sock: unknown key", "socket"},
      {R"({"serial": {"tty": null}})", "serial.tty: unknown key", "stdio"},
      {R"({"cpus": "many"})", "cpus", "from 0 to 65535"},
      {R"({"cpus": 65536})", "cpus", "from 0 to 65535"},
      {R"({"cpus": -1})", "cpus", "from 0 to 65535"},
      {R"({"cpus": 1.5})", "cpus", "from 0 to 65535"},
      {R"({"cpus": true})", "cpus", "from 0 to 65535"},
      {R"({"memoryMib": 4294967296})", "memoryMib", "from 0 to 4294967295"},
      {R"({"kernel": 7})", "kernel", "a text in quotes"},
      {R"({"disks": {"path": "a"}})", "disks", "a list in [ ]"},
      {R"({"disks": ["a"]})", "disks[0]", "an object in { }"},
      {R"({"isolation": {"require": ["landlock", "denyWriteExecut"]}})", "isolation.require[1]",
       "\"denyWriteExecute\""},
      {R"({"isolation": {"require": "landlock"}})", "isolation.require", "a list in [ ]"},
      {R"({"disks": [{"path": "a", "readonly": "on"}]})", "disks[0].readonly", "true or false"},
      {R"({"serial": "stdio"})", "serial", "an object in { }"},
      {R"(["kernel"])", "m.json", "an object in { }"},
      {R"({"kernel": "k")", "m.json", "not JSON"},
      {"{\"kernel\":\n\n}", "m.json", "not JSON"},
      {"", "m.json", "not JSON"},
  }));
  INFO(mistake.json);
  const std::string error = error_of(mistake.json);
  CHECK_THAT(error, StartsWith("m.json") && Contains(mistake.named) && Contains(mistake.right));
  CHECK(std::ranges::count(error, '\n') == 0);
}

SCENARIO("JSON that nests without end is refused, not followed", "[cli][json]") {
  CHECK_THAT(error_of(std::string(100'000, '[')), StartsWith("m.json: not JSON"));
}

SCENARIO("A machine.json that cannot be read is named", "[cli][json]") {
  CHECK_THAT(Asked({"run", "/nonexistent/m.json"}).error(), StartsWith("/nonexistent/m.json: No such file"));
  CHECK_THAT(Asked({"run", "/tmp"}).error(), StartsWith("/tmp: Is a directory"));
  CHECK_THAT(Asked({"run", "/dev/zero"}).error(), StartsWith("/dev/zero: larger than"));
}

}  // namespace cli::test
