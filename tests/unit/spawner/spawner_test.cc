// What a monitor may have done for it, and what it may not, once it is an attacker's.
#include "spawner/spawner.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <map>

#include "ipc/unix_socket.h"
#include "tests/sandbox/probe_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/folder.h"

using ipc::UniqueFd;
using Request = ipc::schema::ToSpawner::Builder;
using Program = ipc::schema::ProcessStart::Program;
using support::Folder;
using support::in_fork;

namespace {

// A spawner, asked as its monitor asks it.
class Asked {
 public:
  struct Answer {
    std::string text;  // "done", "started", …, or why not
    std::vector<UniqueFd> fds;
    pid_t pid = 0;
    bool operator==(const std::string& other) const { return text == other; }
  };

  Answer ask(const std::function<void(Request)>& fill, std::span<const int> fds = {}) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<ipc::schema::ToSpawner>());
    auto pair = ipc::ControlChannel::pair();
    ipc::ControlChannel theirs(std::move(pair->theirs));
    if (!pair->ours.send(message, fds)) return {"not sent", {}};
    auto frame = theirs.receive();
    capnp::MallocMessageBuilder answer;
    auto root = answer.initRoot<ipc::schema::SpawnerAnswer>();
    auto descriptors = spawner_.answer(**frame, root);
    return {describe(root.asReader()), std::move(descriptors), root.isStarted() ? root.getStarted() : 0};
  }
  // A machine with such cards and back ends, whose programs are all the sandbox's probe.
  Answer set_up(const std::function<void(ipc::schema::SpawnerSetup::Builder)>& fill = {}, bool cards = false) {
    const UniqueFd program = support::probe_program();
    std::vector<int> fds(cards ? 3 : 2, program.get());
    return ask(
        [&](Request request) {
          auto setup = request.initSetup();
          setup.setName("spawner-test");
          if (fill) fill(setup);
        },
        fds);
  }
  Answer seal() {
    return ask([](Request request) { request.setSeal(); });
  }
  // A child: we have the other ends of its descriptors.
  Answer start(std::uint16_t slot, Program program = Program::BLK) {
    auto control = ipc::ControlChannel::pair();
    UniqueFd log(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    const std::array fds{control->theirs.get(), log.get()};
    auto answer = ask(
        [&](Request request) {
          auto order = request.initStart();
          order.setSlot(slot);
          order.setProgram(program);
          order.setOpenFiles(64);
          order.setFileBytes(0);
          order.setThreads(4);
        },
        fds);
    controls_.push_back(std::move(control->ours));
    return answer;
  }
  // What the probe in the control socket's order of starts answers.
  std::string told(std::size_t child, const std::string& command) {
    const int socket = controls_.at(child).socket().get();
    std::array<char, 512> answer;
    if (::send(socket, command.data(), command.size(), MSG_NOSIGNAL) < 0) return "gone";
    const ssize_t size = ::recv(socket, answer.data(), answer.size(), 0);
    return size > 0 ? std::string(answer.data(), static_cast<std::size_t>(size)) : "gone";
  }
  Answer exit(std::uint16_t slot) {
    return ask([&](Request request) { request.setExit(slot); });
  }

 private:
  static std::string describe(ipc::schema::SpawnerAnswer::Reader answer) {
    if (answer.isFailed()) return ipc::describe({answer.getFailed().getCode(), answer.getFailed().getContext().cStr()});
    if (answer.isExit()) {
      const auto exit = answer.getExit();
      return fmt::format("{} {}", exit.getKilled() ? "killed" : "exited", exit.getValue());
    }
    return answer.isStarted() ? "started" : answer.isRuns() ? "runs" : answer.isListens() ? "listens" : "done";
  }

  spawner::Spawner spawner_;
  std::vector<ipc::ControlChannel> controls_;
};

bool is_there(const std::string& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0;
}

bool has_ended(const UniqueFd& pidfd) {
  pollfd ended{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, 5000) == 1;
}

// Of a spawner that is sealed, in a process that is no more good for anything else. Each line a check that did not
// hold.
std::string sealed(const std::function<std::string(Asked&)>& body,
                   const std::function<void(ipc::schema::SpawnerSetup::Builder)>& fill = {}, bool cards = false) {
  return in_fork([&] {
    Asked spawner;
    if (const auto done = spawner.set_up(fill, cards); !(done == "done")) return done.text;
    if (const auto done = spawner.seal(); !(done == "done")) return done.text;
    return body(spawner);
  });
}

constexpr char kPasst[] = "/usr/bin/passt";
constexpr std::uint16_t kPasstSlot = 40;

// A machine whose one card has it.
auto with_passt(std::vector<std::string> more) {
  return [more = std::move(more)](ipc::schema::SpawnerSetup::Builder setup) {
    std::vector<std::string> all{kPasst, "--foreground", "--quiet"};
    all.insert(all.end(), more.begin(), more.end());
    auto words = setup.initCards(1)[0].initPasst(static_cast<unsigned>(all.size()));
    for (unsigned i = 0; i < words.size(); ++i) words.set(i, all[i]);
  };
}

Asked::Answer start_passt(Asked& spawner) {
  return spawner.ask([](Request request) {
    auto order = request.initStart();
    order.setSlot(kPasstSlot);
    order.setProgram(Program::PASST);
  });
}

// What is answered when it listens, or never will.
Asked::Answer plug_passt(Asked& spawner) {
  for (int i = 0;; ++i) {
    auto answer = spawner.ask([](Request request) { request.setPlug(0); });
    if (i == 500 || !answer.text.ends_with("temporarily unavailable")) return answer;
    ::usleep(10'000);
  }
}

}  // namespace

SCENARIO("spawner: nothing is done before the setup, and no second one is taken", "[spawner]") {
  Asked spawner;
  CHECK(spawner.start(0) == "the setup comes first, and once: Protocol error");
  CHECK(spawner.seal() == "the setup comes first, and once: Protocol error");
  REQUIRE(spawner.set_up() == "done");
  CHECK(spawner.set_up() == "the setup comes first, and once: Protocol error");
  CHECK(spawner.start(0) == "this comes too soon: Protocol error");
  CHECK(spawner.ask([](Request request) { request.setTap(0); }) == "no such card: Protocol error");
}

SCENARIO("spawner: a setup without its programs, or with more, is none", "[spawner]") {
  Asked spawner;
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const std::size_t count = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{3});
  const std::vector<int> fds(count, null.get());
  CHECK(spawner.ask([](Request request) { request.initSetup(); }, fds) ==
        "another number of programs than the machine needs: Protocol error");
}

SCENARIO("spawner: the control folder goes with it, and is nobody else's as long", "[spawner]") {
  Folder folder;
  const std::string path = folder.file("control");
  const auto controlled = [&](ipc::schema::SpawnerSetup::Builder setup) {
    setup.setControl(path);
    setup.setDisks(2);
  };
  const auto make_folder = [](Request request) { request.setFolder(); };
  {
    Asked spawner;
    REQUIRE(spawner.set_up(controlled) == "done");
    const auto made = spawner.ask(make_folder);
    REQUIRE(made == "done");
    CHECK(made.fds.size() == 3);
    for (const char* name : {"/control", "/blk0", "/blk1"}) CHECK(is_there(path + name));
    Asked second;
    REQUIRE(second.set_up(controlled) == "done");
    CHECK(second.ask(make_folder) == "control folder " + path + ": another machine uses it: Address already in use");
  }
  CHECK_FALSE(is_there(path));
}

SCENARIO("spawner: a control folder whose sockets cannot be is not left behind", "[spawner]") {
  Folder folder;
  const std::string path = folder.file(std::string(100, 'p'));  // longer than an address, with the sockets' names
  {
    Asked spawner;
    REQUIRE(spawner.set_up([&](ipc::schema::SpawnerSetup::Builder setup) { setup.setControl(path); }) == "done");
    CHECK_THAT(spawner.ask([](Request request) { request.setFolder(); }).text, Catch::Contains("File name too long"));
  }
  CHECK_FALSE(is_there(path));
}

SCENARIO("spawner: once sealed it sets nothing up any more", "[spawner]") {
  NEEDS_JAIL;
  const Folder folder;
  CHECK(sealed(
            [](Asked& spawner) {
              std::string wrong;
              for (const auto& late : std::initializer_list<std::function<void(Request)>>{
                       [](Request request) { request.initSetup(); }, [](Request request) { request.setFolder(); },
                       [](Request request) { request.setCgroup(); }, [](Request request) { request.setTap(0); },
                       [](Request request) { request.setSeal(); }})
                if (const auto answer = spawner.ask(late); !(answer == "this comes too late: Protocol error"))
                  wrong += answer.text + "\n";
              return wrong;
            },
            [&](ipc::schema::SpawnerSetup::Builder setup) { setup.setControl(folder.file("control")); }) == "");
}

SCENARIO("spawner: what a monitor cannot have is refused, and costs nothing else", "[spawner]") {
  NEEDS_JAIL;
  CHECK(sealed([](Asked& spawner) {
          std::string wrong;
          const auto expect = [&](const Asked::Answer& answer, const std::string& text) {
            if (!(answer == text + ": Protocol error")) wrong += answer.text + "\n";
          };
          expect(spawner.start(63), "no such slot");  // its own identity
          expect(spawner.start(0xffff), "no such slot");
          expect(spawner.start(0, Program::NET), "no such program");
          expect(spawner.start(0, static_cast<Program>(77)), "no such program");
          expect(spawner.start(0, Program::PASST), "no such card");
          expect(spawner.exit(0), "no process is in this slot");
          expect(spawner.exit(63), "no such slot");
          expect(spawner.ask([](Request request) { request.setKill(63); }), "no such slot");
          expect(spawner.ask([](Request request) { request.setEnd(999); }), "no such slot");
          expect(spawner.ask([](Request request) { request.setConnect(0); }), "no such device");
          expect(spawner.ask([](Request request) { request.setPlug(0); }), "no such card");
          expect(spawner.ask([](Request request) { request.setUnplug(0); }), "no such card");
          expect(spawner.ask([](Request request) { request.initStart(); }),
                 "another number of descriptors than a child needs");
          if (!(spawner.start(0) == "started")) wrong += "and then nothing is started\n";
          return wrong;
        }) == "");
}

SCENARIO("spawner: one process is in a slot, with the slot's identity; how it ended is told", "[spawner]") {
  NEEDS_JAIL;
  CHECK(sealed([](Asked& spawner) {
          const auto first = spawner.start(3);
          if (!(first == "started") || first.fds.size() != 1) return first.text;
          if (!(spawner.exit(3) == "runs")) return std::string("it does not run");
          const auto identity = sandbox::identity_of(::getppid(), 3);
          const std::string uid = support::status_of(first.pid)["Uid"];
          if (identity && !uid.starts_with(std::to_string(identity->uid))) return "uid " + uid;
          const auto second = spawner.start(3);
          if (!(second == "started")) return second.text;
          if (!has_ended(first.fds[0])) return std::string("two are in the slot");
          spawner.ask([](Request request) { request.setKill(3); });
          if (!has_ended(second.fds[0])) return std::string("it cannot be killed");
          return spawner.exit(3).text;
        }) == "killed 9");
}

SCENARIO("spawner: an attacker's program in any child's place is in that child's jail", "[spawner]") {
  NEEDS_JAIL;
  const Program program = GENERATE(Program::VCPU_HOST, Program::BLK, Program::NET);
  CHECK(sealed(
            [&](Asked& spawner) {
              std::string wrong;
              const auto sibling = spawner.start(0);
              if (!(sibling == "started") || !(spawner.start(1, program) == "started"))
                return std::string("not started");
              const std::map<std::string, std::string> denied{
                  {"open root", "ok"},  // there is one, and it is empty
                  {"open proc", "ENOENT"},
                  {"open above", "ENOENT"},
                  {"create file", "EROFS"},
                  {"make directory", "EROFS"},
                  {"become root", "EPERM"},
                  {"unshare mount", "EPERM"},
                  {"connect tcp", "ENETUNREACH"},
                  {"write beyond", "EFBIG"},
                  {"environment", "empty"},
                  {"pid", "1"},
              };
              for (const auto& [command, answer] : denied)
                if (const std::string told = spawner.told(1, command); told != answer)
                  wrong += command + ": " + told + "\n";
              if (!(spawner.exit(0) == "runs")) wrong += "its sibling has ended\n";
              return wrong;
            },
            [](ipc::schema::SpawnerSetup::Builder setup) { setup.initCards(1).begin()->initTap(); }, true) == "");
}

SCENARIO("spawner: its processes end with it", "[spawner]") {
  NEEDS_JAIL;
  const std::string started = sealed([&](Asked& spawner) {
    const auto child = spawner.start(0);
    return child.text + " " + std::to_string(child.pid);
  });
  REQUIRE_THAT(started, Catch::StartsWith("started "));
  CHECK(::kill(std::stoi(started.substr(8)), 0) == -1);
}

SCENARIO("spawner: a back end that cannot be reached is named by the path of its socket", "[spawner]") {
  Folder folder;
  const std::string path = folder.file("socket");
  const std::string file = folder.file("file");
  std::ofstream(file) << "x";
  const std::string too_long(108, 'p');
  const auto listener = ipc::bind_unix(folder.file("full"), SOCK_STREAM);
  REQUIRE(listener);
  REQUIRE(::listen(listener->get(), 0) == 0);
  const std::vector<std::string> paths{path, file, too_long, folder.file("full")};
  const auto bound = [&](ipc::schema::SpawnerSetup::Builder setup) {
    auto list = setup.initBackEnds(static_cast<unsigned>(paths.size()));
    for (unsigned i = 0; i < paths.size(); ++i) list.set(i, paths[i]);
  };
  const auto connected = [&](std::uint16_t device, int times = 1) {
    return sealed(
        [&](Asked& spawner) {
          std::string last;
          for (int i = 0; i < times; ++i) last = spawner.ask([&](Request request) { request.setConnect(device); }).text;
          return last;
        },
        bound);
  };
  const auto refusal = [](const std::string& of, const std::string& reason) {
    return "device " + of + ": connect to its back end: " + reason;
  };
  CHECK(connected(0) == refusal(path, "No such file or directory"));
  CHECK(connected(1) == refusal(file, "Connection refused"));
  CHECK(connected(2) == refusal(too_long, "File name too long"));
  CHECK(connected(3) == "done");
  // Its queue is full and it accepts nobody: who comes now does not wait.
  CHECK(connected(3) == refusal(paths[3], "Resource temporarily unavailable"));
}

SCENARIO("spawner: a cable's first end waits for the second, and leaves no socket behind", "[spawner]") {
  Folder folder;
  const std::string path = folder.file("cable");
  const auto cabled = [&](ipc::schema::SpawnerSetup::Builder setup) {
    auto cards = setup.initCards(2);
    cards[0].setCable(path);
    cards[1].initTap();
  };
  const auto plug = [](std::uint16_t card) { return [card](Request request) { request.setPlug(card); }; };
  const std::string seen = sealed(
      [&](Asked& spawner) {
        std::string all = spawner.ask(plug(1)).text;
        const auto waits = spawner.ask(plug(0));
        all += ", " + waits.text + (is_there(path) ? ", there" : "");
        const auto comes = spawner.ask(plug(0));
        all += ", " + comes.text;
        spawner.ask([](Request request) { request.setUnplug(0); });
        all += is_there(path) ? ", left" : ", gone";
        return all + ", " + spawner.ask(plug(0)).text;
      },
      cabled, true);
  CHECK(seen == "this card has no cable: Protocol error, listens, there, done, gone, listens");
  CHECK_FALSE(is_there(path));
}

SCENARIO("spawner: a card's passt serves one connection after another, and leaves no name of its socket behind",
         "[spawner]") {
  if (::access(kPasst, X_OK) != 0) SKIP_TEST("passt is not installed");
  const auto ends = [](const UniqueFd& connection) {
    pollfd ended{.fd = connection.get(), .events = POLLIN, .revents = 0};
    return ::poll(&ended, 1, 200) != 0;
  };
  const auto names_left = [] {
    glob_t found{};
    const bool any = ::glob("/tmp/bulkhead-*/passt", 0, nullptr, &found) == 0;
    ::globfree(&found);
    return any;
  };
  CHECK(sealed(
            [&](Asked& spawner) {
              std::string wrong;
              const auto expect = [&](bool holds, const std::string& text) {
                if (!holds) wrong += text + "\n";
              };
              const auto started = start_passt(spawner);
              expect(started == "started", "start: " + started.text);
              std::vector<UniqueFd> connections;  // of processes that have gone, and something holds them still
              for (int i = 0; i < 3; ++i) {
                auto plugged = plug_passt(spawner);
                expect(plugged == "done" && !ends(plugged.fds.at(0)), "connect: " + plugged.text);
                expect(i == 0 || ends(connections.back()), "two at a time");
                connections.push_back(std::move(plugged.fds.at(0)));
                expect(spawner.exit(kPasstSlot) == "runs", "it has ended");
              }
              for (int i = 0; i < 500 && names_left(); ++i) ::usleep(10'000);  // those of other tests go too
              expect(!names_left(), "a name is left");
              spawner.ask([](Request request) { request.setKill(kPasstSlot); });
              expect(has_ended(started.fds.at(0)), "it was killed, and runs");
              const auto gone = plug_passt(spawner);
              expect(gone == "passt: killed by signal 9 (Killed): No child processes", "then: " + gone.text);
              return wrong;
            },
            with_passt({}), true) == "");
}

SCENARIO("spawner: why a passt does not serve is told in its last words", "[spawner]") {
  if (::access(kPasst, X_OK) != 0) SKIP_TEST("passt is not installed");
  const auto words = [](Asked& spawner) { return start_passt(spawner) == "started" ? plug_passt(spawner).text : ""; };
  CHECK(sealed(words, with_passt({"--tcp-ports", "none-such"}), true) ==
        "passt: Invalid port specifier none-such: No child processes");
}
