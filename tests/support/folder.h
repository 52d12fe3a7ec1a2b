// A folder of a test's own, which is removed afterwards. Header-only; asserts nothing.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace support {

class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / "bulkhead-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp " + path_);
  }
  // A process that has just ended may still remove what it made there: what goes meanwhile is an error.
  ~Folder() {
    std::error_code error;
    for (int tries = 0; tries < 100; ++tries) {
      std::filesystem::remove_all(path_, error);
      if (!error) return;
    }
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string name() const { return std::filesystem::path(path_).filename(); }
  std::string file(const std::string& file) const { return std::filesystem::path(path_) / file; }

 private:
  std::string path_;
};

}  // namespace support
