"""The host's side of one run of the lab: its control port, its standard input, QEMU's monitor.

  host.py save    RUN SECONDS SNAPSHOT          wait until the lab is ready, write its state to SNAPSHOT
  host.py boot    RUN SECONDS JOB INTERACTIVE   wait until it is ready, start JOB, wait until it is done
  host.py restore RUN SECONDS JOB INTERACTIVE   the same for a lab that comes out of a snapshot

RUN holds the sockets ctl, in, mon. Exit status: 0 done, 124 time limit, 125 failure, 130 ended by Ctrl-].
"""
import json
import os
import select
import shlex
import socket
import sys
import termios
import time
import tty

ESCAPE = b"\x1d"  # Ctrl-]


class Lab:
    def __init__(self, run, seconds):
        self.run = run
        self.end = time.time() + seconds

    def left(self):
        left = self.end - time.time()
        if left <= 0:
            sys.exit(124)
        return left

    def connect(self, name):
        while self.left():
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(os.path.join(self.run, name))
                return connection
            except OSError:
                connection.close()
                time.sleep(0.02)


class Lines:
    """The lines that come in over a socket."""

    def __init__(self, lab, name):
        self.lab = lab
        self.socket = lab.connect(name)
        self.buffer = b""

    def receive(self):
        """More bytes; False at the end of the connection."""
        self.socket.settimeout(self.lab.left())
        try:
            data = self.socket.recv(4096)
        except socket.timeout:
            sys.exit(124)
        except OSError:
            return False
        self.buffer += data
        return bool(data)

    def line(self):
        while b"\n" not in self.buffer:
            if not self.receive():
                sys.exit(125)
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()


class Monitor(Lines):
    """QEMU's monitor protocol."""

    def __init__(self, lab):
        super().__init__(lab, "mon")
        self.line()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            reply = json.loads(self.line())
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                print(f"lab: {command}: {reply['error']['desc']}", file=sys.stderr)
                sys.exit(125)


def save(monitor, path):
    monitor.call("migrate-set-parameters", **{"max-bandwidth": 1 << 33})
    monitor.call("migrate", uri="exec:cat > " + shlex.quote(path))
    while True:
        status = monitor.call("query-migrate").get("status")
        if status == "completed":
            break
        if status in ("failed", "cancelled"):
            sys.exit(125)
        time.sleep(0.05)
    monitor.call("quit")


def pump_until_done(control, port, lab):
    """Copies our standard input to the lab's until the job is done."""
    sources = [0, control.socket]
    while b"\n" not in control.buffer:
        readable, _, _ = select.select(sources, [], [], lab.left())
        if control.socket in readable and not control.receive():
            sys.exit(125)
        if 0 in readable:
            data = os.read(0, 4096)
            if ESCAPE in data and os.isatty(0):
                sys.exit(130)
            if data:
                port.settimeout(lab.left())
                port.sendall(data)
            else:
                sources.remove(0)
                port.shutdown(socket.SHUT_WR)


def run(lab, control, job, interactive):
    if not interactive:
        control.socket.sendall(b"%d %s 0\n" % (time.time(), job.encode()))
        control.line()
        return
    port = lab.connect("in")
    terminal = termios.tcgetattr(0) if os.isatty(0) else None
    control.socket.sendall(b"%d %s 1\n" % (time.time(), job.encode()))
    try:
        if terminal:
            tty.setraw(0)
        pump_until_done(control, port, lab)
    finally:
        if terminal:
            termios.tcsetattr(0, termios.TCSADRAIN, terminal)


def main():
    mode, directory, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    lab = Lab(directory, seconds)
    control = Lines(lab, "ctl")
    if mode == "restore":
        monitor = Monitor(lab)
        while monitor.call("query-status")["status"] != "running":
            time.sleep(0.02)
    elif control.line() != "ready":
        sys.exit(125)
    if mode == "save":
        save(Monitor(lab), sys.argv[4])
        return
    ready = time.time()
    run(lab, control, sys.argv[4], sys.argv[5] == "1")
    with open(os.path.join(directory, "times"), "w", encoding="ascii") as times:
        times.write(f"{ready} {time.time()}\n")
    # The lab switches itself off; whoever started it kills it if it does not.
    lab.end = time.time() + 5
    while control.receive():
        pass


try:
    main()
except OSError as problem:
    print(f"lab: {problem}", file=sys.stderr)
    sys.exit(125)
