// What `cmake --install --component bulkhead-blk`, or bulkhead-net, puts in place.
#include <sys/stat.h>

#include <array>
#include <regex>
#include <set>

#include "tests/support/blk_program.h"
#include "tests/support/catch.h"

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using support::BlkFolder;
using support::run_program;

namespace {

struct Ran {
  int status;
  std::string output;
};

// A shell's command; stdout and stderr.
Ran run(const std::string& command) {
  std::string output;
  FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> part{};
  for (std::size_t size = 0; (size = std::fread(part.data(), 1, part.size(), pipe)) > 0;)
    output.append(part.data(), size);
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

bool available(const std::string& program) {
  return run("command -v " + program).status == 0;
}

std::string content(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// An installation below a folder of its own.
struct Installed {
  explicit Installed(const std::string& component)
      : result(run(std::string(BULKHEAD_CMAKE " --install '" BULKHEAD_BUILD "' --component ") + component +
                   " --prefix '" + prefix().string() + "'")) {}
  fs::path prefix() const { return fs::path(folder.image()).parent_path() / "usr"; }

  BlkFolder folder{1};
  Ran result;
};

// Options of "  --name" in a help text, and of "Fl -name" in the manual.
std::set<std::string> options_in(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator match(text.begin(), text.end(), expression), end; match != end; ++match)
    found.insert((*match)[1]);
  return found;
}

}  // namespace

namespace {

struct Package {
  std::string name;
  std::string type;          // of QEMU's conventions
  std::string capabilities;  // likewise
  std::string start;         // how the service begins it, behind its path
  std::vector<std::string> commands;
};

}  // namespace

SCENARIO("packaging: an installation has the program, its manual, its units and its description", "[packaging]") {
  const auto package = GENERATE(Package{"bulkhead-blk",
                                        "block",
                                        R"({"type":"block","features":["read-only","blk-file"]})",
                                        "--blk-file=${FILE} ",
                                        {"", "stats", "status", "set", "grow"}},
                                Package{"bulkhead-net",
                                        "net",
                                        R"({"type":"net"})",
                                        "--control-path=/run/bulkhead-net/%i/control $OPTIONS",
                                        {"", "stats", "status", "set", "policy", "link"}});
  const std::string& name = package.name;
  INFO(name);
  const Installed installed(name);
  INFO(installed.result.output);
  REQUIRE(installed.result.status == 0);
  std::set<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(installed.prefix()))
    if (entry.is_regular_file()) files.insert(fs::relative(entry.path(), installed.prefix()).string());
  CHECK(files == std::set<std::string>{"bin/" + name, "lib/systemd/system/" + name + "@.service",
                                       "lib/systemd/system/" + name + "@.socket", "share/man/man8/" + name + ".8",
                                       "share/qemu/vhost-user/50-" + name + ".json"});
  const std::string program = (installed.prefix() / "bin" / name).string();

  THEN("management software finds the program by its description, and its capabilities") {
    // docs/interop/vhost-user.json of QEMU: description, type and binary, an absolute path.
    const std::string description = (installed.prefix() / "share/qemu/vhost-user" / ("50-" + name + ".json")).string();
    const Ran found =
        run("python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); "
            "print(sorted(d), d[\"type\"], d[\"binary\"])' " +
            description);
    CHECK(found.output == "['binary', 'description', 'type'] " + package.type + " " + program + "\n");
    CHECK(run(program + " --print-capabilities | python3 -m json.tool --compact").output ==
          package.capabilities + "\n");
  }
  THEN("the service starts that program, and systemd finds nothing wrong with it") {
    const fs::path units = installed.prefix() / "lib/systemd/system";
    CHECK_THAT(content(units / (name + "@.service")), Contains("ExecStart=" + program + " " + package.start));
    if (!available("systemd-analyze")) SKIP_TEST("systemd-analyze is not installed");
    fs::copy(units / (name + "@.service"), units / (name + "@test.service"));
    fs::copy(units / (name + "@.socket"), units / (name + "@test.socket"));
    const Ran verified =
        run("SYSTEMD_UNIT_PATH='" + units.string() + ":' systemd-analyze verify --man=no '" +
            (units / (name + "@test.service")).string() + "' '" + (units / (name + "@test.socket")).string() + "'");
    INFO(verified.output);
    CHECK_THAT(verified.output, !Contains(name + "@"));
  }
  THEN("the manual has no mistakes, and tells every option") {
    const std::string manual = (installed.prefix() / "share/man/man8" / (name + ".8")).string();
    if (available("mandoc")) CHECK(run("mandoc -Tlint -W warning " + manual).output.empty());
    if (available("groff")) CHECK(run("groff -mdoc -ww -z -Tutf8 " + manual).output.empty());
    const std::set<std::string> told = options_in(content(manual), "Fl -([a-z-]+)");
    for (const std::string& command : package.commands)
      for (const std::string& option :
           options_in(run(program + " " + command + " --help").output, R"(\n +(?:-[a-z],)?--([a-z-]+))")) {
        INFO(command << " --" << option);
        CHECK(told.contains(option));
      }
  }
}
