#!/usr/bin/env python3
"""The mutation test of the sandbox: each mutant is the sandbox with one layer less, and at least one of its tests must fail.

  mutants.py BUILD-DIRECTORY [NAME...]     all mutants, or those; a line for each
  mutants.py --list

A mutant is a source file in which one piece of text was replaced. It is compiled as the build compiles the original, linked
into the tests and into the probe, and run. Exit status 0: every mutant was caught, and the original passes. A text that is not
in its file exactly once is an error: the list is out of date.

The tests run in namespaces of their own: a mutant without a mount namespace takes the file systems of its caller away.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]


@dataclass
class Mutant:
    name: str
    file: str
    old: str
    new: str = ""
    needs: str = ""  # a layer that this kernel must have, as sandbox_probe names it
    tests: tuple = ("sandbox_test", "")  # the program, and which of its tests; empty: all


JAIL, SEAL, CHILD, SECCOMP, PARENT, CAPABILITIES = (
    f"sandbox/{name}.cc" for name in ("jail", "seal", "child_process", "seccomp", "parent", "capabilities"))

MUTANTS = [
    Mutant("own pids", JAIL, "CLONE_NEWPID | "),
    Mutant("own mounts", JAIL, "CLONE_NEWNS | "),
    Mutant("own network", JAIL, "CLONE_NEWNET | "),
    Mutant("own IPC", JAIL, "CLONE_NEWIPC |"),
    Mutant("own host name", JAIL, "CLONE_NEWUTS | "),
    Mutant("own cgroups", JAIL, " | CLONE_NEWCGROUP"),
    Mutant("host name set", JAIL, "check(::sethostname(kHost.data(), kHost.size()) == 0, \"sethostname\");"),
    Mutant("domain name set", JAIL, "check(::setdomainname(kHost.data(), kHost.size()) == 0, \"setdomainname\");"),
    Mutant("own session", JAIL, "map_own_identity(plan);\n  check(::setsid() >= 0, \"setsid\");", "map_own_identity(plan);"),
    Mutant("empty root", JAIL, "  enter_empty_root();\n"),
    Mutant("old root unmounted", JAIL, "check(::umount2(\".\", MNT_DETACH) == 0, \"umount(old root)\");"),
    Mutant("root of one inode", JAIL,
           "::fsconfig(context, FSCONFIG_SET_STRING, \"nr_inodes\", \"1\", 0) == 0 &&"),
    Mutant("root read-only", JAIL, "MOUNT_ATTR_RDONLY | "),
    Mutant("root's file system read-only", JAIL, "::fsconfig(context, FSCONFIG_SET_FLAG, \"ro\", nullptr, 0) == 0 &&"),
    Mutant("root without room", JAIL, "::fsconfig(context, FSCONFIG_SET_STRING, \"size\", \"4096\", 0) == 0 &&"),
    Mutant("root without devices", JAIL, "MOUNT_ATTR_NODEV | "),
    Mutant("root without set-uid programs", JAIL, "MOUNT_ATTR_NOSUID | "),
    Mutant("root without programs", JAIL, "MOUNT_ATTR_NOEXEC | "),
    Mutant("root's mode", JAIL, "\"0555\"", "\"0777\""),
    Mutant("bounding set", JAIL, "  drop_bounding_set();\n"),
    Mutant("own uid", JAIL, "check(raw(SYS_setresuid, identity.uid, identity.uid, identity.uid), \"setresuid\");"),
    Mutant("own gid", JAIL, "check(raw(SYS_setresgid, identity.gid, identity.gid, identity.gid), \"setresgid\");"),
    Mutant("no other group", JAIL, "check(raw(SYS_setgroups, 0, nullptr), \"setgroups\");"),
    Mutant("no capabilities", JAIL, "check(raw(SYS_capset, &header, none), \"capset\");"),
    Mutant("no new privileges, of the jail", JAIL,
           "check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, \"prctl(NO_NEW_PRIVS)\");"),
    Mutant("strict umask", JAIL, "::umask(077);"),
    Mutant("limits", JAIL, "check(::setrlimit(static_cast<__rlimit_resource>(limit.resource), &limit.value) == 0, \"setrlimit\")",
           "static_cast<void>(limit)"),
    Mutant("dies with its parent", JAIL, "check(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, \"prctl(PDEATHSIG)\");"),
    Mutant("no other descriptor", JAIL, "check(raw(SYS_close_range, kFirstSpareFd, ~0u, 0), \"close_range\");"),
    Mutant("standard input is nothing", JAIL, "::dup2(null, 0) == 0 && "),
    Mutant("signals reset", JAIL, "::sigaction(signal, &standard, nullptr);", ";"),
    Mutant("signals unblocked", JAIL, "check(::sigprocmask(SIG_SETMASK, &none, nullptr) == 0, \"sigprocmask\");"),
    Mutant("no environment", JAIL, "  execute(plan, no_environment);\n}\n\n#endif",
           "  static_cast<void>(no_environment);\n  execute(plan, ::environ);\n}\n\n#endif"),
    Mutant("no supplementary groups in a user namespace", JAIL,
           "write_file(\"/proc/self/setgroups\", \"deny\", \"setgroups(deny)\");"),
    *(Mutant(f"limit of {name}", CHILD, f"all.push_back(TRY(limit(RLIMIT_{name}, {value})));") for name, value in (
        ("CORE", "0"), ("FSIZE", "limits.file_bytes"), ("NOFILE", "limits.open_files"), ("NPROC", "limits.threads"),
        ("MEMLOCK", "limits.locked_bytes"), ("AS", "limits.address_space"), ("MSGQUEUE", "0"), ("SIGPENDING", "64"))),
    Mutant("hard limits", CHILD, ".rlim_max = value}", ".rlim_max = ours.rlim_max}"),
    Mutant("an identity that is not root's", CHILD, "spec.identity->uid == 0 || ", "false && "),
    Mutant("an identity at all", CHILD, "if (::geteuid() == 0 && !spec.identity)", "if (false)"),
    Mutant("no new privileges", SEAL,
           "if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ipc::system_failure(\"prctl(NO_NEW_PRIVS)\");"),
    Mutant("not dumpable", SEAL,
           "if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ipc::system_failure(\"prctl(DUMPABLE)\");"),
    Mutant("deny write and execute", SEAL, "protections.deny_write_execute && ::prctl", "false && ::prctl",
           needs="deny write and execute"),
    Mutant("no merged pages", SEAL, "::prctl(kSetMemoryMerge, 0, 0, 0, 0) != 0 && errno != EINVAL", "false",
           needs="merging"),
    Mutant("the spawner's capabilities", CAPABILITIES, "::syscall(SYS_capset, &header, sets) == 0", "true"),
    Mutant("the spawner's bounding set", CAPABILITIES, "if ((sets[0].effective >> CAP_SETPCAP & 1) != 0)", "if (false)"),
    Mutant("the spawner's filter", PARENT, "TRY(filter.enter());"),
    Mutant("the monitor's bounding set", CAPABILITIES, "TRY(bound_capabilities(0));"),
    Mutant("the monitor's groups", CAPABILITIES, "if (::setgroups(0, nullptr) != 0)", "if (false)"),
    Mutant("the monitor's gid", CAPABILITIES, "if (::setresgid(identity->gid, identity->gid, identity->gid) != 0)", "if (false)"),
    Mutant("the monitor's uid", CAPABILITIES, "if (::setresuid(identity->uid, identity->uid, identity->uid) != 0)", "if (false)"),
    Mutant("the monitor's capabilities", CAPABILITIES, "TRY(keep_capabilities(0));"),
    Mutant("a cgroup from the start", CHILD, "arguments.flags |= CLONE_INTO_CGROUP;"),
    Mutant("Landlock", SEAL, "TRY(restrict_by_landlock(*version));", "static_cast<void>(&restrict_by_landlock);",
           needs="Landlock"),
    Mutant("Landlock: files", SEAL, "{6, {(1u << 16) - 1, 3, 3},", "{6, {0, 3, 3},", needs="abstract sockets"),
    Mutant("Landlock: reading", SEAL, "{6, {(1u << 16) - 1, 3, 3},", "{6, {((1u << 16) - 1) & ~12u, 3, 3},", needs="abstract sockets"),
    Mutant("Landlock: TCP", SEAL, "{6, {(1u << 16) - 1, 3, 3},", "{6, {(1u << 16) - 1, 0, 3},", needs="abstract sockets"),
    Mutant("Landlock: binding", SEAL, "{6, {(1u << 16) - 1, 3, 3},", "{6, {(1u << 16) - 1, 2, 3},", needs="abstract sockets"),
    Mutant("Landlock: signals", SEAL, "{6, {(1u << 16) - 1, 3, 3},", "{6, {(1u << 16) - 1, 3, 1},", needs="abstract sockets"),
    Mutant("Landlock: abstract sockets", SEAL, "{6, {(1u << 16) - 1, 3, 3},", "{6, {(1u << 16) - 1, 3, 2},", needs="abstract sockets"),
    # Not all of a filter's tests: what they try must not happen by a filter that lets it through.
    Mutant("filters kill", SECCOMP, "make_context(SCMP_ACT_KILL_PROCESS)", "make_context(SCMP_ACT_ERRNO(1))",
           tests=("sandbox_unit_test", "*every call that its table does not list*")),
    Mutant("filters kill other architectures' calls", SECCOMP,
           "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS", "SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW",
           tests=("sandbox_unit_test", "*int 0x80*")),
    Mutant("filters look at arguments", SECCOMP, "static_cast<unsigned>(all.size()), all.data()", "0, all.data()",
           tests=("sandbox_unit_test", "*conditions broken*")),
    Mutant("filters pin descriptors", SECCOMP, "value = static_cast<std::uint64_t>(*number);",
           "mask = 1; value = static_cast<std::uint64_t>(*number) & 1;",
           tests=("sandbox_unit_test", "*conditions broken*")),
    Mutant("filters are entered", SECCOMP, "if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)",
           "static_cast<void>(program); if (false)", tests=("sandbox_test", "*filter shows in /proc*")),
]


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


class Workshop:
    def __init__(self, build, folder):
        self.build, self.folder = build, folder
        self.limit = 300.0  # seconds; of mutants: far above what the original takes
        self.programs = {"sandbox_test": "tests/sandbox/sandbox_test", "sandbox_probe": "tests/sandbox/sandbox_probe",
                         "sandbox_unit_test": "tests/unit/sandbox/sandbox_unit_test"}
        self.commands = {target: run(["ninja", "-C", build, "-t", "commands", target]).stdout.splitlines()
                         for target in self.programs}

    def compile(self, mutant, place):
        text = (SOURCE / mutant.file).read_text()
        (place / "mutant.cc").write_text(text.replace(mutant.old, mutant.new))
        original = str(SOURCE / mutant.file)
        command = next(c for c in self.commands["sandbox_test"] if c.endswith(f" -c {original}"))
        words = [w for w in shlex.split(command) if w not in ("-Werror", "ccache")]
        for option in ("-MD", "-MT", "-MF", "-o"):
            at = words.index(option)
            del words[at:at + (1 if option == "-MD" else 2)]
        words[-1] = str(place / "mutant.cc")
        built = run([*words, "-w", "-O1", "-o", str(place / "mutant.o")], cwd=self.build)
        if built.returncode != 0:
            sys.exit(f"mutants: {mutant.name} does not compile:\n{built.stdout}")

    def link(self, target, place):
        """The mutant comes before the archive with the original, which is then not asked for it."""
        words = shlex.split(self.commands[target][-1].split("&&")[1])
        words[words.index("-o") + 1] = str(place / target)
        words.insert(words.index("sandbox/libsandbox.a"), str(place / "mutant.o"))
        linked = run(words, cwd=self.build)
        if linked.returncode != 0:
            sys.exit(f"mutants: {target} does not link:\n{linked.stdout}")

    def passes(self, test, probe, chosen=""):
        """Whether a test program passes, in file systems and with a host name that are not the caller's."""
        environment = {**os.environ, "BULKHEAD_PROBE": str(probe)}
        result = run(["unshare", "--mount", "--uts", "--propagation", "private", "timeout", "-s", "KILL", str(self.limit),
                      str(test), "--abort", *([chosen] if chosen else [])], env=environment, cwd="/")
        return result.returncode == 0, result.stdout

    def caught(self, mutant):
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            place = Path(name)
            self.compile(mutant, place)
            program, chosen = mutant.tests
            if program == "sandbox_test":
                self.link("sandbox_probe", place)
            self.link(program, place)
            passed, output = self.passes(place / program, place / "sandbox_probe", chosen)
            if passed:
                return ""
            names = re.findall(r"^(?:Scenario: )?((?:jail|seal|spawn|filter|policy): .*)$", output, re.M)
            return names[0] if names else "it did not come to an end"


def main():
    if sys.argv[1:] == ["--list"]:
        print(*(m.name for m in MUTANTS), sep="\n")
        return
    build, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    if os.geteuid() != 0:
        print("SKIPPED: needs root")
        return
    chosen = [m for m in MUTANTS if not names or m.name in names]
    for mutant in MUTANTS:
        if (times := (SOURCE / mutant.file).read_text().count(mutant.old)) != 1:
            sys.exit(f"mutants: {mutant.name}: its text is {times} times in {mutant.file}, not once")
    layers = run([build / "tests/sandbox/sandbox_probe", "--layers"]).stdout
    with tempfile.TemporaryDirectory(prefix="bulkhead-mutants-") as folder:
        workshop = Workshop(build, folder)
        start = time.monotonic()
        for test in ("sandbox_test", "sandbox_unit_test"):
            passed, output = workshop.passes(build / workshop.programs[test], build / workshop.programs["sandbox_probe"])
            if not passed:
                sys.exit(f"mutants: the original {test} fails:\n{output}")
        workshop.limit = max(10.0, 2 * (time.monotonic() - start))
        survivors = []

        def judge(mutant):
            if mutant.needs and mutant.needs not in layers:
                return f"not here ({mutant.needs})"
            by = workshop.caught(mutant)
            if not by:
                survivors.append(mutant.name)
            return by or "SURVIVED"

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for mutant, verdict in zip(chosen, pool.map(judge, chosen)):
                print(f"{mutant.name:<45} {verdict}", flush=True)
        print(f"{len(chosen)} mutants, {len(survivors)} survived")
        if survivors:
            sys.exit(1)


if __name__ == "__main__":
    main()
