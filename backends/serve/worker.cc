#include "backends/serve/worker.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/serve/log.h"
#include "ipc/eventfd.h"

namespace serve {

using ipc::Result;

Result<> run_on(std::uint16_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) return ipc::system_failure(fmt::format("run on CPU {}", cpu));
  return {};
}

Result<std::unique_ptr<Worker>> Worker::start(const MakeGroup& make, std::optional<std::uint16_t> cpu,
                                              const ipc::UniqueFd& news) {
  std::unique_ptr<Worker> worker(new Worker(news));
  worker->wake_ = ipc::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!worker->wake_) return ipc::system_failure("eventfd");
  worker->thread_ = std::thread([&make, cpu, self = worker.get()] { self->main(make, cpu); });
  worker->await(State::Parked);
  TRY(std::move(worker->set_up_));
  return worker;
}

Worker::~Worker() {
  if (!thread_.joinable()) return;
  park();
  give(Order::End);
  thread_.join();
}

Result<> Worker::set_up(const MakeGroup& make, std::optional<std::uint16_t> cpu) {
  if (cpu) TRY(run_on(*cpu));
  group_ = TRY(make());
  TRY(group_->engine().set_file(index_of(FileSlot::Wake), wake_));
  group_->engine().watch(index_of(FileSlot::Wake), {.op = Op::Wake});
  return {};
}

void Worker::main(const MakeGroup& make, std::optional<std::uint16_t> cpu) {
  set_up_ = set_up(make, cpu);
  const OtherEvents woken = [this](const Event& event) {
    if (!event.more) group_->engine().watch(index_of(FileSlot::Wake), {.op = Op::Wake});
    return true;
  };
  while (stand()) {
    while (order_.load(std::memory_order_acquire) == Order::Run) {
      const auto went = group_->round(closed_, woken);
      if (!went) {  // the kernel refuses what it did before: nothing can be saved
        say(ipc::describe(went.error()));
        ::_exit(1);
      }
      if (closed_ && !told_ && group_->in_flight() == 0) {
        told_ = true;
        ipc::signal(news_);
      }
    }
  }
}

bool Worker::stand() {
  become(State::Parked);
  Order order = order_.load(std::memory_order_acquire);
  for (; order == Order::Park || order == Order::Call; order = order_.load(std::memory_order_acquire)) {
    if (order == Order::Park) {
      order_.wait(order, std::memory_order_acquire);
    } else {
      (*work_)();
      give(Order::Park);
    }
  }
  become(State::Running);
  return order == Order::Run;
}

void Worker::become(State state) {
  state_.store(state, std::memory_order_release);
  state_.notify_all();
}

void Worker::give(Order order) {
  order_.store(order, std::memory_order_release);
  order_.notify_all();
}

void Worker::await(State state) {
  for (State seen = state_.load(std::memory_order_acquire); seen != state;
       seen = state_.load(std::memory_order_acquire))
    state_.wait(seen, std::memory_order_acquire);
}

void Worker::park() {
  give(Order::Park);
  ipc::signal(wake_);
  await(State::Parked);
}

void Worker::release() {
  give(Order::Run);
  await(State::Running);
}

void Worker::call(const std::function<void()>& work) {
  work_ = &work;
  give(Order::Call);
  order_.wait(Order::Call, std::memory_order_acquire);
}

void Worker::set_closed(bool closed) {
  closed_ = closed;
  told_ = false;
}

}  // namespace serve
