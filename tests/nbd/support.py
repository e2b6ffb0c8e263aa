"""What the tests of the disk tools share: running programs, servers that are ended, expectations."""
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SEED = int(os.environ.get("MYNA_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
failures = []


def expect(condition, text):
    if not condition:
        failures.append(text)
        print("FAILED:", text)


def run(*command, check=True, timeout=60, **more):
    """The finished process; its output as text. With `check`, a failure is a failed expectation."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", timeout=timeout, **more)
    if check:
        expect(done.returncode == 0, f"{' '.join(map(str, command))} gives {done.returncode}: {done.stdout}{done.stderr}")
    return done


def listens(socket):
    """Whether a server listens at this socket: its name is there a little earlier, and a trial connection would count as a client."""
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split(maxsplit=7)
        if words[-1] == str(socket) and int(words[3], 16) & 0x10000:  # __SO_ACCEPTCON
            return True
    return False


@contextlib.contextmanager
def server(socket, *command, **more):
    """A server that is ready when it listens at its socket; ended by SIGTERM."""
    pathlib.Path(socket).unlink(missing_ok=True)
    deadline = time.time() + 20
    while listens(socket) and time.time() < deadline:  # the server before this one: its socket may be listed for a moment after its end
        time.sleep(0.01)
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
    while not listens(socket) and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    try:
        if not listens(socket):
            raise RuntimeError(f"{command} did not come up: {process.stderr.read() if process.poll() is not None else 'no socket'}")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            expect(False, f"{command} does not end on SIGTERM")


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        sys.exit(f"these programs are missing: {' '.join(missing)} (scripts/install-deps check)")


def same(a, b):
    return pathlib.Path(a).read_bytes() == pathlib.Path(b).read_bytes()


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix="myna-nbd-") as name:
        yield pathlib.Path(name)


def finish():
    if failures:
        print(f"{len(failures)} failures; MYNA_TEST_SEED={SEED} repeats the run")
    return 1 if failures else 0
