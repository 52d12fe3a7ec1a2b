#include "backends/serve/groups.h"

#include <malloc.h>
#include <sys/eventfd.h>

namespace serve {

using ipc::Result;

Result<std::unique_ptr<Groups>> Groups::create(const MakeGroup& make, const Manner& manner) {
  const auto cpu_of = [&](std::size_t thread) {
    return manner.cpus.empty() ? std::nullopt : std::optional(manner.cpus[thread % manner.cpus.size()]);
  };
  std::unique_ptr<Groups> groups(new Groups());
  if (const auto cpu = cpu_of(0)) TRY(run_on(*cpu));
  groups->main_ = TRY(make());
  if (manner.threads == 1) return groups;

  // A heap of its own, as the C library gives each thread, grows by mprotect(2), which no sealed process may make.
  ::mallopt(M_ARENA_MAX, 1);
  groups->news_ = ipc::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!groups->news_) return ipc::system_failure("eventfd");
  Engine& engine = groups->main_->engine();
  TRY(engine.set_file(index_of(FileSlot::Wake), groups->news_));
  engine.watch(index_of(FileSlot::Wake), {.op = Op::Wake});
  for (std::size_t i = 1; i < manner.threads; ++i)
    groups->workers_.push_back(TRY(Worker::start(make, cpu_of(i), groups->news_)));
  return groups;
}

void Groups::on(std::size_t index, const std::function<void(Group&)>& work) {
  if (index == 0) return work(*main_);
  Worker& worker = *workers_[index - 1];
  worker.call([&] { work(worker.group()); });
}

void Groups::release_after(const std::function<void(Group&)>& work) {
  for (const auto& worker : workers_) {
    worker->call([&] { work(worker->group()); });
    worker->release();
  }
}

}  // namespace serve
