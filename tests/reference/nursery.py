"""Python processes forked from one that has imported everything, which saves each of them seconds.

JAX starts in the forked processes, not before, so that each sets it up as a process of its own does.
"""

import json
import subprocess
import sys

# reads a line of JSON each: begin a process, signal one, or wait for its end. Only the parent of a process
# may send it signals: to others its number may be another one's by then
PROGRAM = """
import builtins, json, os, signal, sys, warnings

import dynamics.cli
import dynamics.cli.check, dynamics.cli.figures, dynamics.cli.report, dynamics.cli.run, dynamics.cli.shared
import dynamics.cli.sweep, dynamics.cli.work, dynamics.engine.processes, dynamics.sweep.run
from dynamics import experiments
import encodings.cp437, fileinput, h5netcdf, matplotlib.pyplot, scipy.linalg, threadpoolctl

for name in experiments.names():
    experiments.get(name)


def become(asked):
    for number, place in enumerate((os.devnull, asked["out"], asked["err"])):
        flags = os.O_RDWR if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(place, flags), number)
    os.chdir(asked["at"])
    sys.path[0] = ""  # as Python has it with -m and -c
    words = list(asked["words"])
    while words[0] == "-W":
        action, category = words[1].split("::")
        warnings.simplefilter(action, getattr(builtins, category))
        words = words[2:]
    how, what, *rest = words
    sys.argv = [what if how == "-m" else how, *rest]
    if how == "-m":
        assert what == "dynamics"
        dynamics.cli.entry()
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "words" in asked:
        child = os.fork()
        if child == 0:
            code = 0
            signal.alarm(900)  # who hangs is killed
            try:
                become(asked)
            except SystemExit as stop:
                code = stop.code or 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(child, flush=True)
    elif "signal" in asked:
        os.kill(asked["process"], asked["signal"])
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(asked["process"], 0)[1]), flush=True)
"""


class Nursery:
    """Starts processes by the words that follow `python`: -W, then -m dynamics or -c CODE, and arguments."""

    def __init__(self, folder, environment):
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],  # named in lists of processes
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def begin(self, words, at):
        """A process that has begun in the folder `at`."""
        self.count += 1
        out, err = (self.folder / f"{name}{self.count}" for name in ("out", "err"))
        self.say(words=words, at=str(at), out=str(out), err=str(err))
        return Forked(self, int(self.process.stdout.readline()), out, err)

    def run(self, words, at):
        """Exit code (negative: the signal), output and errors of a process."""
        return self.begin(words, at).end()

    def say(self, **asked):
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def close(self):
        """Ends when every process has."""
        self.process.stdin.close()
        self.process.wait(timeout=60)


class Forked:
    """One of its processes."""

    def __init__(self, nursery, number, out, err):
        self.nursery, self.number, self.out, self.err = nursery, number, out, err

    def send_signal(self, how):
        self.nursery.say(process=self.number, signal=int(how))

    def end(self):
        """Wait; exit code, output and errors."""
        self.nursery.say(process=self.number)
        code = int(self.nursery.process.stdout.readline())
        return code, self.out.read_text(), self.err.read_text()
