// Where a card's passt listens: it serves one connection after another, and its guest's connections outlive them. And
// what it says of itself.
#pragma once

#include <memory>
#include <string>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace spawner {

class PasstSocket {
 public:
  static constexpr char kName[] = "card";  // in folder()

  // For a passt that is about to start. Errors: those of mkdir(2).
  static ipc::Result<std::unique_ptr<PasstSocket>> make();
  PasstSocket(const PasstSocket&) = delete;
  PasstSocket& operator=(const PasstSocket&) = delete;
  ~PasstSocket() { remove_names(); }

  // Where it is to work. Nobody but us has a path to it, and passt needs none.
  const ipc::UniqueFd& folder() const { return folder_; }

  // The first 4 KiB are kept.
  const ipc::UniqueFd& log() const { return log_; }
  // The last line there. Bytes of passt's, who has a guest's frames to deal with.
  std::string last_words() const;

  // Ends the last connection, as passt serves one at a time. EAGAIN: it does not listen yet.
  ipc::Result<ipc::UniqueFd> connect();

 private:
  explicit PasstSocket(std::string path) : path_(std::move(path)) {}
  void remove_names();

  std::string path_;  // of what holds the folder; empty: it has no name any more
  ipc::UniqueFd folder_;
  ipc::UniqueFd log_;
  ipc::UniqueFd socket_;
  ipc::UniqueFd connection_;  // the last one: a process's io_uring may hold it for a while after that has ended
};

}  // namespace spawner
