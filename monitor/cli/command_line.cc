#include "monitor/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <vector>

#include "monitor/cli/help.h"
#include "monitor/cli/machine_client.h"
#include "monitor/cli/machine_json.h"
#include "monitor/cli/machine_options.h"

namespace cli {

using ipc::failure;
using ipc::Result;

namespace {

std::string options_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    if (option->nonpositional()) names.push_back("--" + option->get_lnames().front());
  return fmt::format("{}", fmt::join(names, ", "));
}

class Parser {
 public:
  Parser() {
    app_.set_help_flag("-h,--help", "show this text");
    app_.add_flag("--version", version_, "show the version");
    app_.footer(std::string(kMainFooter));
    app_.allow_extras();
    declare_run();
    declare_doctor();
    declare_inspect();
    declare_device();
  }

  Result<Command> parse(std::span<const std::string> arguments) {
    if (auto text = TRY(read(arguments))) return ShowText{*text};
    TRY(refuse_extras());
    if (version_) return ShowText{fmt::format("bulkhead {}\n", BULKHEAD_VERSION)};
    if (doctor_->parsed()) return DoctorCommand{json_ ? Report::Json : kernel_ ? Report::Kernel : Report::Table};
    if (run_->parsed()) return run_command();
    if (inspect_->parsed()) {
      if (vm_.empty())
        return failure(0, "inspect: no machine; inspect NAME, or the path of its control folder, is right");
      return InspectCommand{.vm = vm_, .json = json_};
    }
    if (restart_->parsed()) {
      if (device_name_.empty()) return failure(0, "device restart: device restart VM DEVICE is right, as in web1 blk0");
      return RestartCommand{.vm = vm_, .device = device_name_, .binary = binary_};
    }
    if (device_->parsed()) return failure(0, "device: device restart VM DEVICE is right");
    return failure(0, fmt::format("no command given; {} is right (see bulkhead --help)", kCommands));
  }

 private:
  void declare_run() {
    run_->footer(std::string(kRunFooter));
    run_->allow_extras();
    // Each option takes one value at a time, so that what follows it is never taken for a second one.
    run_->add_option("machine.json", file_, "the whole machine, in place of the options that describe one");
    run_->add_option("--kernel", options_.kernel, "a bzImage, or an ELF image with the PVH note")->type_name("FILE");
    run_->add_option("--initrd", options_.initrd, "the initial RAM disk")->type_name("FILE");
    run_->add_option("--cmdline", options_.cmdline, "the kernel's command line")->type_name("TEXT");
    run_->add_option("--net", options_.nets, std::string(kNetHelp))->type_name("NET")->allow_extra_args(false);
    run_->add_option("--disk", options_.disks, std::string(kDiskHelp))->type_name("DISK")->allow_extra_args(false);
    run_->add_option("--device", options_.devices, std::string(kDeviceHelp))
        ->type_name("DEVICE")
        ->allow_extra_args(false);
    run_->add_option("--cpus", options_.cpus, "virtual CPUs (1)")->type_name("N");
    run_->add_option("--memory", options_.memory, "guest RAM: 512M, 2G, or a number of MiB (512M)")->type_name("SIZE");
    run_->add_option("--serial", options_.serial, std::string(kSerialHelp))->type_name("WHERE");
    name_ = run_->add_option("--name", options_.name, "what messages call this machine (vm)")->type_name("NAME");
    run_->add_option("--require", options_.required, std::string(kRequireHelp))
        ->type_name("LAYER")
        ->allow_extra_args(false);
    run_->add_option("--limits", options_.limits, std::string(kLimitsHelp))->type_name("LIMITS");
    control_ = run_->add_option("--control", options_.control, std::string(kControlHelp))->type_name("DIR");
    libexec_ = run_->add_option("--libexec", libexec_directory_, "where bulkhead-monitor is (beside bulkhead)")
                   ->type_name("DIR");
  }

  void declare_doctor() {
    doctor_->footer(std::string(kDoctorFooter));
    doctor_->allow_extras();
    auto* json = doctor_->add_flag("--json", json_, "print JSON, for programs");
    doctor_->add_flag("--kernel", kernel_, "only try whether KVM runs an unmodified kernel, and say so in one line")
        ->excludes(json);
  }

  void declare_inspect() {
    inspect_->footer(std::string(kInspectFooter));
    inspect_->allow_extras();
    inspect_->add_option("VM", vm_, "the machine's name, or the path of its control folder");
    inspect_->add_flag("--json", json_, "print JSON, for programs");
  }

  void declare_device() {
    device_->footer(std::string(kDeviceFooter));
    device_->allow_extras();
    restart_->footer(std::string(kDeviceFooter));
    restart_->allow_extras();
    restart_->add_option("VM", vm_, "the machine's name, or the path of its control folder");
    restart_->add_option("DEVICE", device_name_, "as inspect shows it: blk0, net1");
    restart_->add_option("--binary", binary_, "the program of the new process, in place of the one that it has")
        ->type_name("FILE");
  }

  std::vector<const CLI::App*> commands() const { return {run_, doctor_, inspect_, restart_, device_, &app_}; }

  // CLI11 throws; no exception leaves this function. A text means: show it, do nothing else.
  Result<std::optional<std::string>> read(std::span<const std::string> arguments) {
    try {
      app_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::CallForHelp&) {
      return app_.help();
    } catch (const CLI::ArgumentMismatch& error) {
      return failure(0, explain_mismatch(error.what()));
    } catch (const CLI::ParseError& error) {
      return failure(0, error.what());
    }
    return std::nullopt;
  }

  // CLI11 says "--cpus: 1 required TEXT missing", or the like, for too few values as for too many.
  std::string explain_mismatch(const std::string& message) const {
    const std::string name = message.substr(0, message.find(':'));
    for (const CLI::App* command : commands()) {
      const CLI::Option* option = command->get_option_no_throw(name);
      if (option == nullptr) continue;
      if (option->get_items_expected_max() == 0) return fmt::format("{}: it takes no value", name);
      if (option->count() > 1) return fmt::format("{}: given {} times; once is right", name, option->count());
      return fmt::format("{}: its value is missing; {} {} is right ({})", name, name, option->get_type_name(),
                         option->get_description());
    }
    return message;
  }

  Result<> refuse_extras() const {
    for (const CLI::App* command : commands()) {
      for (const std::string& extra : command->remaining()) {
        if (command == &app_)
          return extra.starts_with('-')
                     ? failure(0, fmt::format("{}: unknown option; {} are right", extra, options_of(app_)))
                     : failure(0, fmt::format("{}: unknown command; {} is right", extra, kCommands));
        if (extra.starts_with('-'))
          return failure(0, fmt::format("{}: unknown option of {}; {} are right", extra, command->get_name(),
                                        options_of(*command)));
        if (command == run_)
          return failure(0,
                         fmt::format("{}: a second machine; one file is right (quote a value that has spaces)", extra));
        return failure(0, fmt::format("{}: not expected after {}", extra, command->get_name()));
      }
    }
    return {};
  }

  Result<Command> run_command() const {
    RunCommand command{.machine = std::make_unique<capnp::MallocMessageBuilder>(), .libexec = libexec_directory_};
    auto machine = command.machine->initRoot<ipc::schema::Machine>();
    if (file_.empty()) {
      if (options_.kernel.empty())
        return failure(0, "--kernel: it is missing; run --kernel FILE or run machine.json is right");
      TRY(describe_machine(options_, machine));
    } else {
      TRY(refuse_beside_file());
      TRY(read_machine(file_, machine));
      if (name_->count() > 0) machine.setName(options_.name);
      if (control_->count() > 0) machine.setControl(options_.control);
    }
    // A machine that was given a name can be asked by it, where there is a place for that.
    if (machine.getControl().size() == 0 && name_->count() > 0)
      if (const auto folder = control_folder(options_.name)) machine.setControl(*folder);
    return command;
  }

  // Which of the two wins would be a guess.
  Result<> refuse_beside_file() const {
    for (const CLI::Option* option : run_->get_options()) {
      if (!option->nonpositional() || option->count() == 0 || option == name_ || option == libexec_ ||
          option == control_)
        continue;
      return failure(
          0, fmt::format("--{}: not beside {}, which describes the machine; --name and --control alone are right there",
                         option->get_lnames().front(), file_));
    }
    return {};
  }

  CLI::App app_{std::string(kMainHelp), "bulkhead"};
  CLI::App* run_ = app_.add_subcommand("run", std::string(kRunHelp));
  CLI::App* doctor_ = app_.add_subcommand("doctor", std::string(kDoctorHelp));
  CLI::App* inspect_ = app_.add_subcommand("inspect", std::string(kInspectHelp));
  CLI::App* device_ = app_.add_subcommand("device", std::string(kDeviceHelpText));
  CLI::App* restart_ = device_->add_subcommand("restart", std::string(kDeviceHelpText));
  CLI::Option* name_ = nullptr;
  CLI::Option* control_ = nullptr;
  CLI::Option* libexec_ = nullptr;
  bool version_ = false;
  std::string file_;
  std::string libexec_directory_;
  MachineOptions options_;
  bool json_ = false;
  bool kernel_ = false;
  std::string vm_;
  std::string device_name_;
  std::string binary_;
};

}  // namespace

Result<Command> parse_command_line(std::span<const std::string> arguments) {
  return Parser().parse(arguments);
}

}  // namespace cli
