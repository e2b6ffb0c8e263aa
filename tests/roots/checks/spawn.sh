#!/bin/bash
# processes started from Python: a missing program, a directory, many at once, signals, pipes, ptys
set -e
cat > /tmp/spawn.py <<'P'
import os, subprocess, signal, sys, concurrent.futures, multiprocessing, pty

def main():
    for make in (lambda: subprocess.run(["/nonexistent/program"]), lambda: os.posix_spawn("/nonexistent", ["x"], {})):
        try: make(); sys.exit("no error")
        except FileNotFoundError: pass
    try: subprocess.run(["/etc"]); sys.exit("no error")
    except PermissionError: pass
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(r.stdout == b"%d\n" % i for i, r in enumerate(pool.map(lambda i: subprocess.run(["echo", str(i)], stdout=subprocess.PIPE), range(100))))
    p = subprocess.Popen(["sleep", "30"]); p.send_signal(signal.SIGTERM); assert p.wait() == -15
    with multiprocessing.get_context("spawn").Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]
    with multiprocessing.get_context("fork").Pool(4) as pool: assert sum(pool.map(abs, range(1000))) == 499500
    pid, fd = pty.fork()
    if pid == 0: os.execvp("sh", ["sh", "-c", "test -t 0 && stty size && exit 5"])
    out = b""
    try:
        while True:
            b = os.read(fd, 100)
            if not b: break
            out += b
    except OSError: pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5, out
    assert open("/proc/self/cmdline", "rb").read().startswith(b"python3\0-"), open("/proc/self/cmdline", "rb").read()
    assert os.readlink("/proc/self/exe").startswith("/usr/bin/python3")
    assert os.readlink(f"/proc/{os.getppid()}/exe").endswith("timeout")
    assert "python3" in open("/proc/self/comm").read()

if __name__ == '__main__':
    main()
P
timeout 120 python3 -B /tmp/spawn.py
