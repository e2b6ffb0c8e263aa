#!/usr/bin/env python3
"""The gdb stub under gdb itself: each case starts a guest with -g, runs gdb in batch mode and looks for lines in its output.

  tests/gdb/run.py --guest aarch64 [--only NAME] [--myna PROGRAM] [--work DIR] [--verbose]

gdb is Debian's gdb-multiarch; what it prints is the oracle: a stub that says something wrong makes it say so.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SETUP = "handle SIGUSR1 nostop noprint pass\nset pagination off\nset confirm off\nset width 0\nset debuginfod enabled off\n"


class Case:
    """`script` runs after the connection; every regular expression of `expect` matches the output in this order, none of
    `never` does. `status`: the guest's own. `%S`: the socket."""

    def __init__(self, name, program, script, expect, args=(), status=0, never=(), static=True, connect=True, options="", act=None):
        self.name, self.program, self.script, self.expect, self.args = name, program, script, expect, args
        self.status, self.never, self.static, self.connect, self.options, self.act = status, never, static, connect, options, act


VECTOR = {"aarch64": ("set $v8.d.u[0] = 0x4010000000000000\np $d8.f\np $v8.b.u[6]\np/x $fpcr", [r"\$\d+ = 4\n", r"\$\d+ = 16\n", r"\$\d+ = 0x0"]),
          "riscv64": ("set $fs0 = 4.0\np $fs0.double\np/x $frm", [r"\$\d+ = 4\n", r"\$\d+ = 0x0"])}


def interrupt_later(process):
    """Presses ctrl-C in gdb once the guest has been running for a while."""
    time.sleep(2)
    process.send_signal(signal.SIGINT)


def cases(guest):
    registers, register_lines = VECTOR[guest]
    # gdb knows system call numbers of aarch64 only.
    calls = [
        Case("step-system-call", "plain", "break main\ncontinue\ndelete\ncatch syscall write\ncontinue\ncontinue\nx/i $pc-4\nstepi\ndelete\ncontinue",
             [r"Breakpoint 1, main", r"Catchpoint 2 \(call to syscall write\)", r"Catchpoint 2 \(returned from syscall write\)", r"svc", r"exited with code 03"], status=3),
    ] if guest == "aarch64" else []
    return calls + [
        Case("breakpoints", "plain", "break add\ncontinue\nbt\np a\np b\nfinish\ndelete\ncontinue",
             [r"Breakpoint 1, add \(a=0, b=(b@entry=)?0\)", r"#0 +add", r"#1 .* in work", r"#2 .* in main", r"= 0\n", r"Value returned is \$\d+ = 0",
              r"Inferior 1 \(process \d+\) exited with code 03"], status=3),
        Case("conditional", "plain", "break add if b == 3\ncontinue\np b\np counter\nkill", [r"Breakpoint 1, add \(a=3, b=(b@entry=)?3\)", r"= 3\n", r"= 3\n", r"killed"], status=-9),
        Case("hardware-break", "plain", "hbreak work\ncontinue\nbt 1\ndelete\ncontinue", [r"Hardware assisted breakpoint 1", r"Breakpoint 1, work \(n=(n@entry=)?5\)", r"exited with code 03"], status=3),
        Case("step", "plain", "break add\ncontinue\np $pc\nstepi\nstepi\np $pc\nnext\nnext\nnext\ninfo symbol $pc\ndelete\ncontinue",
             [r"Breakpoint 1, add", r"<add\+\d+>", r"<add\+\d+>", r"work \+ \d+|work in section|main", r"exited with code 03"], status=3),
        Case("watch", "plain", "break main\ncontinue\nwatch watched\ncontinue\ncontinue\ndelete\ncontinue",
             [r"Hardware watchpoint 2: watched", r"Old value = 0\nNew value = 6", r"Old value = 6\nNew value = 7", r"exited with code 03"], status=3),
        Case("watch-exact", "plain", "break fill\ncontinue\nwatch block[40]\nrwatch block[41]\ncontinue\np block[0]\ncontinue\ncontinue",
             [r"Hardware watchpoint 2", r"Hardware read watchpoint 3", r"Old value = 0 '\\000'\nNew value = 120 'x'", r"Old value = 120 'x'\nNew value = 121 'y'", r"exited with code 03"], status=3),
        Case("watch-read", "plain", "break peek\ncontinue\nrwatch watched\ncontinue\ninfo symbol $pc\nawatch number\ncontinue\ndelete\ncontinue",
             [r"Hardware read watchpoint 2: watched\n\nValue = 7", r"peek", r"Hardware access \(read/write\) watchpoint 3: number", r"exited with code 03"], status=3),
        Case("watch-shared", "processes", "break in_parent\ncontinue\nwatch shared[1]\ncontinue\ncontinue\ndelete\ncontinue",
             [r"in_parent \(n=(n@entry=)?1\)", r"watchpoint 2: shared\[1\]", r"Old value = 0\nNew value = 3", r"Old value = 3\nNew value = 9", r"exited with code 016"], args=["shared"], status=14),
        Case("watch-local", "plain", "break add if a == 1\ncontinue\nup\nwatch sum\ncontinue\ndelete\ncontinue", [r"Breakpoint 1, add", r"[Ww]atchpoint 2: sum", r"New value = 3", r"exited with code 03"], status=3),
        Case("registers", "plain", f"break add\ncontinue\n{registers}\np $sp == (void*)$sp\nset var counter = 40\nfinish\np counter\ndelete\ncontinue",
             [r"Breakpoint 1", *register_lines, r"= 1\n", r"= 41\n", r"exited with code 03"], status=3),
        Case("call-function", "plain", "break work\ncontinue\ndelete\np add(3, 4)\np counter\nset var number = 10\ncontinue",
             [r"Breakpoint 1", r"= 7\n", r"= 1\n", r"number 30 signals 10", r"exited with code 03"], status=3),
        Case("memory", "plain", "break main\ncontinue\nx/s \"hello\"\nset var block[3] = 'k'\np block[3]\nx/4xb block\nx/x 0x10\ncontinue",
             [r"hello", r"107 'k'", r"0x00\s+0x00\s+0x00\s+0x6b", r"Cannot access memory at address 0x10"], status=3),
        Case("signal", "plain", "handle SIGUSR1 stop print\ncontinue\np $_siginfo.si_signo\nsignal 0", [r"Program received signal SIGUSR1", r"= 10\n", r"number 7.5 signals 0", r"exited with code 03"], status=3),
        Case("signal-pass", "plain", "handle SIGUSR1 nostop noprint pass\ncontinue", [r"number 7.5 signals 10", r"exited with code 03"], status=3, never=[r"received signal"]),
        Case("signal-other", "plain", "break peek\ncontinue\ndelete\nsignal SIGUSR1", [r"Breakpoint 1", r"signals 20", r"exited with code 03"], status=3),
        Case("fatal", "processes", "continue\nbt -1\ncontinue", [r"Program received signal SIGABRT", r"in main", r"Program terminated with signal SIGABRT"], args=["die"], status=-6),
        Case("interrupt", "processes", "continue\nset var go_on = 1\ncontinue", [r"Program received signal SIGINT", r"exited with code 01"], args=["sleep"], status=1, act=interrupt_later),
        Case("threads", "threads", "break all_here\ncontinue\ninfo threads\nthread apply all bt 1\nbreak in_thread\ncontinue\nthread\ndelete\ncontinue",
             [r"Breakpoint 1, all_here", r"worker-\d", r"worker-\d", r"worker-\d", r"Thread 4", r"Thread 3", r"Thread 2", r"hit Breakpoint 2, in_thread", r"total 600", r"exited normally"]),
        Case("threads-step", "threads", "break in_thread\ncontinue\nset scheduler-locking on\nstepi\nstepi\nset scheduler-locking off\ndelete\ncontinue", [r"in_thread", r"total 600", r"exited normally"]),
        Case("threads-watch", "threads", "break all_here\ncontinue\nwatch total if total > 595\ncontinue\ndelete\ncontinue", [r"Hardware watchpoint 2: total", r"New value = (59[6-9]|600)", r"total 600", r"exited normally"]),
        Case("fork-parent", "processes", "break in_child\nbreak in_parent\ncontinue\np n\ncontinue", [r"Detaching after fork from child", r"Breakpoint 2, in_parent \(n=(n@entry=)?5\)", r"exited with code 07"], args=["fork"], status=7, never=[r"Breakpoint 1,"]),
        Case("fork-child", "processes", "set follow-fork-mode child\nbreak in_child\nbreak in_parent\ncontinue\np n\ncontinue",
             [r"Attaching after .* fork to child", r"hit Breakpoint 1\.?1?, in_child \(n=(n@entry=)?4\)", r"exited with code 05"], args=["fork"], status=7, never=[r"in_parent \(n"]),
        Case("fork-held", "processes", "set detach-on-fork off\ncatch fork\ncontinue\nstepi\ninferior 2\ncontinue\ndetach inferiors 2\ninferior 1\ndelete\ncontinue",
             [r"Catchpoint 1 \(forked process \d+\)", r"held by 'set detach-on-fork off'", r"exited with code 07"], args=["fork"], status=7),
        Case("non-stop", "processes", "detach\nset non-stop on\npython\ntry: gdb.execute('target remote %S')\nexcept gdb.error as e: print('refused:', e)\nend\nset non-stop off\ntarget remote %S\nset var go_on = 1\ncontinue",
             [r"detached", r"refused: .*[Nn]on-stop", r"exited with code 01"], args=["sleep"], status=1, options=",suspend=n"),
        Case("catch-fork", "processes", "catch fork\ncontinue\nbt 1\ncontinue", [r"Catchpoint 1 \(forked process \d+\)", r"exited with code 07"], args=["fork"], status=7),
        Case("vfork-parent", "processes", "catch vfork\nbreak in_parent\ncontinue\ncontinue\ncontinue", [r"Catchpoint 1 \(vforked process \d+\)", r"Breakpoint 2, in_parent \(n=(n@entry=)?23\)", r"exited with code 031"], args=["vfork"], status=25),
        Case("vfork-child", "processes", "set follow-fork-mode child\nbreak after_exec\ncontinue\nbt\ncontinue",
             [r"Attaching after .* vfork to child", r"is executing new program", r"Breakpoint 1\.?\d?, after_exec \(n=(n@entry=)?20\)", r"exited with code 027"], args=["vfork"], status=25),
        Case("exec", "processes", "catch exec\ncontinue\nbreak after_exec\ncontinue\ncontinue", [r"Catchpoint 1 \(exec'd .*processes", r"Breakpoint 2, after_exec \(n=(n@entry=)?20\)", r"exited with code 027"], args=["exec"], status=23),
        Case("dynamic", "plain", "break work\ncontinue\nbt\ninfo sharedlibrary\ninfo auxv\ndelete\ncontinue", [r"Breakpoint 1, work", r"in main", r"libc\.so\.6", r"AT_ENTRY", r"exited with code 03"], status=3, static=False),
        Case("no-file", "plain", "break work\ncontinue\nbt 1\ndelete\ncontinue", [r"Breakpoint 1, work", r"exited with code 03"], status=3, connect="no-file"),
        Case("detach", "plain", "break add\ncontinue\ndetach", [r"Breakpoint 1, add", r"detached"], status=3),
        Case("attach-late", "processes", "set var go_on = 1\ncontinue", [r"exited with code 01"], args=["sleep"], status=1, options=",suspend=n"),
        Case("attach-again", "processes", "p go_on\ndetach\ntarget remote %S\nset var go_on = 1\ncontinue", [r"= 0", r"detached", r"exited with code 01"], args=["sleep"], status=1, options=",suspend=n"),
    ]


def build(guest, program, static, folder):
    out = folder / f"{program}.{guest}{'' if static else '.dynamic'}"
    source = HERE / f"{program}.c"
    if not out.exists() or out.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([f"{guest}-linux-gnu-gcc", "-g", "-O1", "-pthread", *(["-static"] if static else []), "-o", out, source], check=True)
    return out


def run(case, args, folder):
    program = build(args.guest, case.program, case.static, args.work)
    where = folder / f"{case.name}.socket"
    sysroot = [] if case.static else ["-L", f"/usr/{args.guest}-linux-gnu"]
    emulator = subprocess.Popen([args.myna, *args.option, *sysroot, "-g", f"{where}{case.options}", program, *case.args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(200):
            if where.exists() or emulator.poll() is not None:
                break
            time.sleep(0.02)
        script = folder / f"{case.name}.gdb"
        script.write_text(f"{SETUP}target remote {where}\n" + case.script.replace("%S", str(where)) + "\n")
        gdb = subprocess.Popen(["gdb-multiarch", "-nx", "-batch", "-x", script, *([] if case.connect == "no-file" else [program])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
        if case.act:
            case.act(gdb)
        output, _ = gdb.communicate(timeout=60)
        emulated, _ = emulator.communicate(timeout=20)
        output += emulated.decode(errors="replace")
    except subprocess.TimeoutExpired:
        gdb.kill()
        output = gdb.communicate()[0] + "\n(timed out)"
        return "timed out", output
    finally:
        if emulator.poll() is None:
            emulator.kill()
    problems = []
    text = output
    for pattern in case.expect:
        found = re.search(pattern, text)
        # What the guest prints comes at the end, whenever it was printed.
        if not found and not re.search(pattern, output):
            problems.append(f"no line for {pattern!r}")
        elif found and "total" not in pattern and "signals" not in pattern:
            text = text[found.end():]
    problems += [f"there is {p!r}" for p in case.never if re.search(p, output)]
    if re.search(r"packet|protocol|Remote connection closed|Reply contains", output):
        problems.append("gdb complains about the stub")
    if case.status is not None and emulator.returncode != case.status:
        problems.append(f"the guest ended with {emulator.returncode}, not {case.status}")
    return "; ".join(problems), output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guest", required=True, choices=["aarch64", "riscv64"])
    parser.add_argument("--only")
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--myna", default=os.environ.get("MYNA_USER", "build/release/bin/myna-user"))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/gdb"))
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    for tool in ("gdb-multiarch", f"{args.guest}-linux-gnu-gcc"):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not installed ('scripts/install-deps check' installs it)")
            return 77
    args.work.mkdir(parents=True, exist_ok=True)
    args.myna = os.path.abspath(args.myna)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(args.guest):
            if args.only and args.only != case.name:
                continue
            problem, output = run(case, args, pathlib.Path(folder))
            print(f"{'FAIL' if problem else 'ok  '} {args.guest} {case.name}" + (f": {problem}" if problem else ""), flush=True)
            if problem or args.verbose:
                print("    " + output.replace("\n", "\n    "), flush=True)
            failed += bool(problem)
    if failed:
        print(f"{failed} failed; one alone: tests/gdb/run.py --guest {args.guest} --only NAME --verbose")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
