#!/usr/bin/python3
"""Which rows of the tables of system calls, and which operations of the rings, the programs use in their tests.

  recorder.py BUILD-DIRECTORY

The programs are linked with filters that show each call which a row allows (filter.cc, ring.cc), and run as their tests run
them. A row of a program's tables that none of its threads used, and that unused.txt gives no reason for, is a failure: it
either has a test that is missing here, or nobody needs it. Exit status 0: there is none.
"""
import collections
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(sys.argv[1]).resolve()
PROGRAMS = BUILD / "recorded"
RECORD = BUILD / "tests/sandbox/recorder/sandbox_record"
TESTS = BUILD / "tests"

# What runs the programs.
WORK = [
    # Not the 500 kills: under a tracer they take a minute, and show nothing that others do not.
    [TESTS / "integration/blk/integration_blk", "~*500 kills*"],
    [TESTS / "integration/net/integration_net"],
    [TESTS / "integration/monitor/integration_monitor", "a guest that reboots*,a terminal is*,a device's process is replaced*"],
]
MACHINE = ["timeout", "-s", "INT", "15", PROGRAMS / "bulkhead", "run", "--kernel", TESTS / "hostile/payload.elf", "--memory",
           "16", "--cpus", "2", "--serial", "none", "--net", "tap"]


def record(folder, command):
    """The rows that it used: (table, row)."""
    file = folder / "rows"
    done = subprocess.run([RECORD, file, *command], env={**os.environ, "BULKHEAD_BIN": str(PROGRAMS)}, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if "ptrace: " in done.stdout:
        print("SKIPPED: this process may not trace")
        sys.exit(0)
    return done, {tuple(line.split("\t")) for line in file.read_text().splitlines()}


def program(table):
    """Its name in unused.txt: the tables of a program's threads and ways to serve are made of the same parts."""
    name = table.split(",")[0]
    return name.split(" ")[0] if name.startswith(("blk", "net")) else name


def by_program(rows):
    found = collections.defaultdict(set)
    for table, row in rows:
        found[program(table)].add(row)
    return found


def reasons():
    listed = set()
    for line in (HERE / "unused.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, row, _reason = line.split("\t")
            listed.add((name, row))
    return listed


def main():
    rows = subprocess.run([RECORD, "--rows"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    known = by_program(tuple(line.split("\t")) for line in rows)
    used = set()
    os.nice(10)  # other tests run meanwhile, and some look at the clock
    with tempfile.TemporaryDirectory(prefix="bhrecord") as name:
        folder = Path(name)
        for command in WORK:
            done, more = record(folder, command)
            used |= more
            if done.returncode != 0:  # a tracer makes all slower: what they find is theirs to say without one
                print(f"{command[0].name}: status {done.returncode}")
        image = folder / "disk"
        image.write_bytes(bytes(1 << 20))
        done, more = record(folder, [*MACHINE, "--disk", f"path={image}"])
        used |= more
        # Without a KVM there is no vcpu-host to judge.
        for table in ("vcpu", "event loop"):
            if not any(of == table for of, _ in more):
                print(f"not judged: {table} (no guest ran: {done.stdout.strip()[-200:]})")
                del known[table]
    seen, excused = by_program(used), reasons()
    if not any(row.startswith("io_uring_enter") for row in seen["blk"]):
        print("SKIPPED: no io_uring on this host")
        return 0
    unused = sorted((name, row) for name in known for row in known[name] - seen[name])
    for name, row in unused:
        print(f"{'unused' if (name, row) not in excused else 'unused here'}: {name}: {row}")
    strangers = sorted(entry for entry in excused if entry[0] in known and entry[1] not in known[entry[0]])
    for name, row in strangers:
        print(f"unused.txt lists what is in no table: {name}: {row}")
    total = sum(len(known[name]) for name in known)
    print(f"{total} rows of {len(known)} programs and threads: {total - len(unused)} used, {len(unused)} not")
    return 1 if strangers or any(entry not in excused for entry in unused) else 0


if __name__ == "__main__":
    sys.exit(main())
