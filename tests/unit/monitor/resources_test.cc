// The only place where a path becomes a descriptor: what is opened, refused, locked, sealed.
#include "monitor/resources.h"

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <filesystem>
#include <fstream>

#include "tests/support/catch.h"

using ipc::UniqueFd;
using monitor::Configuration;
using monitor::DiskConfiguration;
namespace fs = std::filesystem;

namespace {

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "bulkhead-unit.XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
    fs::permissions(path_, fs::perms::group_exec | fs::perms::others_exec, fs::perm_options::add);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string at(const std::string& name) const { return path_ / name; }
  std::string file(const std::string& name, std::size_t bytes) const {
    std::ofstream(at(name)) << std::string(bytes, 'x');
    return at(name);
  }

 private:
  fs::path path_;
};

struct Fixture {
  Folder folder;
  Configuration machine;

  Fixture() { machine.kernel = folder.file("kernel", 10); }
  ipc::Result<monitor::Images> open(std::vector<DiskConfiguration> disks = {}) {
    machine.disks = std::move(disks);
    return monitor::open_images(machine);
  }
  // "" if all could be opened.
  std::string refusal(std::vector<DiskConfiguration> disks = {}) {
    const auto images = open(std::move(disks));
    return images ? "" : ipc::describe(images.error());
  }
  DiskConfiguration disk(const std::string& path, bool readonly = false) {
    return {.path = path, .readonly = readonly, .serial = "s", .queues = 1};
  }
};

}  // namespace

TEST_CASE("an image is opened past the page cache as well, unless it is to go through it") {
  Fixture host;
  using Cache = ipc::schema::Disk::Cache;
  for (const Cache cache : {Cache::WRITEBACK, Cache::AUTO}) {
    DiskConfiguration disk = host.disk(host.folder.file("a", 4096));
    disk.cache = cache;
    const auto images = host.open({disk});
    REQUIRE(images);
    const UniqueFd& direct = images->disks[0].direct;
    if (cache == Cache::WRITEBACK) CHECK_FALSE(direct);
    if (!direct) continue;  // this file system does not take single sectors so
    CHECK((::fcntl(direct.get(), F_GETFL) & O_DIRECT) != 0);
    CHECK((::fcntl(images->disks[0].file.get(), F_GETFL) & O_DIRECT) == 0);
  }
}

TEST_CASE("images are opened with their sizes, the kernel and the initial RAM disk for reading only") {
  Fixture host;
  host.machine.initrd = host.folder.file("initrd", 3);
  auto images = host.open({host.disk(host.folder.file("a", 512)), host.disk(host.folder.file("b", 1024), true)});
  REQUIRE(images);
  const auto access_of = [](const UniqueFd& fd) { return ::fcntl(fd.get(), F_GETFL) & O_ACCMODE; };
  CHECK(access_of(images->kernel) == O_RDONLY);
  REQUIRE(images->initrd);
  CHECK(access_of(*images->initrd) == O_RDONLY);
  REQUIRE(images->disks.size() == 2);
  CHECK(images->disks[0].bytes == 512);
  CHECK(access_of(images->disks[0].file) == O_RDWR);
  CHECK(images->disks[1].bytes == 1024);
  CHECK(access_of(images->disks[1].file) == O_RDONLY);
  for (const UniqueFd* file : {&images->kernel, &*images->initrd, &images->disks[0].file, &images->disks[1].file})
    CHECK((::fcntl(file->get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a kernel or an initial RAM disk that is no file is refused by its path, without waiting") {
  Fixture host;
  const std::string folder = host.folder.at("folder");
  fs::create_directory(folder);
  const std::string fifo = host.folder.at("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  const std::string missing = host.folder.at("missing");
  SECTION("kernel") {
    for (const auto& path : {folder, fifo}) {
      host.machine.kernel = path;
      CHECK(host.refusal() == "kernel " + path + ": not a regular file");
    }
    host.machine.kernel = missing;
    CHECK(host.refusal() == "kernel " + missing + ": No such file or directory");
  }
  SECTION("initial RAM disk") {
    for (const auto& path : {folder, fifo}) {
      host.machine.initrd = path;
      CHECK(host.refusal() == "initial RAM disk " + path + ": not a regular file");
    }
    host.machine.initrd = missing;
    CHECK(host.refusal() == "initial RAM disk " + missing + ": No such file or directory");
  }
}

TEST_CASE("a disk that is no image is refused by its path, without waiting") {
  Fixture host;
  const bool readonly = GENERATE(false, true);
  const auto refusal_of = [&](const std::string& path) { return host.refusal({host.disk(path, readonly)}); };
  const std::string missing = host.folder.at("missing");
  CHECK(refusal_of(missing) == "disk " + missing + ": No such file or directory");
  const std::string empty = host.folder.file("empty", 0);
  CHECK(refusal_of(empty) == "disk " + empty + ": it is empty");
  for (const std::size_t bytes : {1u, 511u, 513u}) {
    const std::string odd = host.folder.file("odd", bytes);
    CHECK(refusal_of(odd) == fmt::format("disk {}: {} bytes, a multiple of 512 is right", odd, bytes));
  }
  const std::string fifo = host.folder.at("fifo");
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(refusal_of(fifo) == "disk " + fifo + ": neither a regular file nor a block device");
  CHECK(refusal_of("/dev/null") == "disk /dev/null: neither a regular file nor a block device");
  const std::string folder = host.folder.at("folder");
  fs::create_directory(folder);
  CHECK(refusal_of(folder) ==
        "disk " + folder + (readonly ? ": neither a regular file nor a block device" : ": Is a directory"));
}

TEST_CASE("an image that we may only read serves a read-only disk alone") {
  Fixture host;
  const std::string image = host.folder.file("image", 512);
  fs::permissions(image, fs::perms(0444));
  fs::permissions(host.machine.kernel, fs::perms(0444));
  // Root may write everywhere: look with the eyes of somebody else.
  const bool root = ::geteuid() == 0;
  if (root) ::setfsuid(65534);
  const std::string writable = host.refusal({host.disk(image)});
  const std::string readonly = host.refusal({host.disk(image, true)});
  if (root) ::setfsuid(0);
  CHECK(writable == "disk " + image + ": Permission denied");
  CHECK(readonly == "");
}

TEST_CASE("a disk has one writer or any number of readers") {
  Fixture host;
  const std::string image = host.folder.file("image", 512);
  const std::string in_use = "disk " + image + ": in use by another virtual machine or program (it is locked)";
  const std::string for_writer = in_use + "; readonly=on shares it between readers";

  SECTION("a writer keeps all others out until its last duplicate is closed") {
    auto first = host.open({host.disk(image)});
    REQUIRE(first);
    CHECK(host.refusal({host.disk(image)}) == for_writer);
    CHECK(host.refusal({host.disk(image, true)}) == in_use);
    UniqueFd duplicate(::dup(first->disks[0].file.get()));
    first->disks.clear();
    CHECK(host.refusal({host.disk(image)}) == for_writer);
    duplicate = UniqueFd();
    CHECK(host.refusal({host.disk(image)}) == "");
  }
  SECTION("readers share it, and keep writers out") {
    const auto first = host.open({host.disk(image, true)});
    const auto second = host.open({host.disk(image, true)});
    CHECK((first && second));
    CHECK(host.refusal({host.disk(image)}) == for_writer);
  }
  SECTION("one machine does not write to a disk twice") {
    CHECK(host.refusal({host.disk(image), host.disk(image)}) == for_writer);
    CHECK(host.refusal({host.disk(image), host.disk(image, true)}) == in_use);
    CHECK(host.refusal({host.disk(image, true), host.disk(image, true)}) == "");
  }
  SECTION("nothing stays locked after a refusal") {
    CHECK(host.refusal({host.disk(image), host.disk(host.folder.at("missing"))}) != "");
    CHECK(host.refusal({host.disk(image)}) == "");
  }
}

TEST_CASE("guest RAM can neither grow nor shrink, and its seals are final") {
  const auto ram = monitor::make_ram(16);
  REQUIRE(ram);
  struct stat status{};
  REQUIRE(::fstat(ram->get(), &status) == 0);
  CHECK(status.st_size == 16 << 20);
  for (const off_t size : {off_t{0}, off_t{15} << 20, off_t{17} << 20}) {
    CHECK(::ftruncate(ram->get(), size) == -1);
    CHECK(errno == EPERM);
  }
  CHECK(::fcntl(ram->get(), F_ADD_SEALS, F_SEAL_WRITE) == -1);
  CHECK(errno == EPERM);
  CHECK(::pwrite(ram->get(), "x", 1, 0) == 1);
}

TEST_CASE("more memory than the host has is refused with both numbers") {
  CHECK(monitor::check_memory(16));
  const auto refused = monitor::check_memory(4'294'967'295);
  REQUIRE_FALSE(refused);
  CHECK_THAT(ipc::describe(refused.error()), Catch::StartsWith("memory: 4294967295 MiB, but this host has "));
}

TEST_CASE("an event does not block who reads it") {
  const auto event = monitor::make_event();
  REQUIRE(event);
  std::uint64_t count = 0;
  CHECK(::read(event->get(), &count, sizeof count) == -1);
  CHECK(errno == EAGAIN);
}
