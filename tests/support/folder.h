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
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string name() const { return std::filesystem::path(path_).filename(); }
  std::string file(const std::string& file) const { return std::filesystem::path(path_) / file; }

 private:
  std::string path_;
};

}  // namespace support
