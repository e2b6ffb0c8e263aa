#!/usr/bin/python3
"""Runs whole programs under Myna and compares what they print with the native build, the native twin or qemu-user.

  run.py own    --guest riscv64 --build O2 [--only signals]     src/, listed in own.toml
  run.py random --guest aarch64 --seed 1 --count 20             programs made by random_c.py
  run.py debian --guest aarch64 [--set coreutils] [--only xz]   Debian's own programs, listed in debian.toml

The emulator is --myna, or $MYNA_USER, or build/release/bin/myna-user; --option passes an option on to it. Everything
built or fetched is kept in --work (build/programs), so a second run is quick. A failure prints the difference and the
command that repeats it. Ends with 77 when something it needs is not there (CTest counts that as skipped).
"""
import argparse
import difflib
import glob
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
TIMEOUT = 180
SKIP = 77
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/nonexistent", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1",
               "OPENSSL_CONF": "/dev/null", "TZ": "UTC"}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def run(command, cwd=None, stdin=b"", env=None):
    """(status, output, errors) of a command, killed with all it started when it takes too long. Status None: too long."""
    def limits():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process = subprocess.Popen([str(c) for c in command], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**ENVIRONMENT, **(env or {})}, start_new_session=True, preexec_fn=limits)
    try:
        out, err = process.communicate(stdin, timeout=TIMEOUT)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return None, out, err


def shown(command):
    return " ".join(f"'{c}'" if set(str(c)) & set(" '$*?()") else str(c) for c in command)


def difference(expected, got):
    """The first lines in which two outputs differ."""
    if b"\0" in expected[:4000] or b"\0" in got[:4000]:
        at = next((i for i, (a, b) in enumerate(zip(expected, got)) if a != b), min(len(expected), len(got)))
        return f"    binary, {len(expected)} bytes expected, {len(got)} printed, first difference at {at}"
    lines = difflib.unified_diff(expected.decode(errors="replace").splitlines(), got.decode(errors="replace").splitlines(), "expected", "printed", n=0, lineterm="")
    return "\n".join("    " + line[:200] for line in list(lines)[:12])


class Results:
    def __init__(self, again):
        self.passed, self.failed, self.again = 0, 0, again

    def note(self, name, problem, command, option):
        if problem is None:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED {name}: {problem}\n  the command: {shown(command)}\n  to repeat the test: {self.again} {option}", flush=True)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed else 0


def compare(expected, got):
    """None, or what is different between two (status, output, errors)."""
    if got[0] is None:
        return f"took longer than {TIMEOUT} s\n{tail(got)}"
    if got[0] != expected[0]:
        return f"ended with {got[0]}, not {expected[0]}\n{tail(got)}"
    if got[1] != expected[1]:
        return f"printed something else\n{difference(expected[1], got[1])}"
    return None


def tail(result):
    text = (result[1][-300:] + result[2][-500:]).decode(errors="replace").strip()
    return "\n".join("    " + line for line in text.splitlines()[-6:])


# ---- Programs of our own

def build(source, target, command):
    """Compiles unless the target is newer; safe beside other runs that build the same."""
    newest = max(p.stat().st_mtime for p in [source, *source.parent.glob("*.h")])
    if target.exists() and target.stat().st_mtime >= newest:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}")
    done = subprocess.run([*command, "-o", part, source, "-pthread", "-lm"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"cannot compile: {shown([*command, source])}\n{done.stderr}")
    part.rename(target)


def compiler(machine, source):
    name = ("" if machine == "native" else f"{machine}-linux-gnu-") + ("g++" if source.suffix == ".cpp" else "gcc")
    return shutil.which(name) or skip(f"{name} is not installed; scripts/install-deps check installs it")


COMMON = ["-w", "-fsigned-char", "-frounding-math", "-fno-math-errno"]


def run_own(args):
    table = tomllib.loads((HERE / "own.toml").read_text())
    how = table["builds"].get(args.build) or sys.exit(f"no build '{args.build}'; there are: {' '.join(table['builds'])}")
    results = Results(f"{sys.argv[0]} own --guest {args.guest} --build {args.build}")
    root = ["-L", f"/usr/{args.guest}-linux-gnu"] if args.build == "dynamic" else []
    for name, row in table["programs"].items():
        if (args.only and args.only != name) or name not in how.get("only", [name]):
            continue
        source = next(HERE.glob(f"src/{name}.c*"))
        level = [f for f in how["flags"] if f.startswith("-O")] if args.build != "fused" else ["-O3"]
        contract = [] if any("contract" in f for f in how["flags"]) else ["-ffp-contract=off"]
        guest = args.work / args.guest / args.build / name
        build(source, guest, [compiler(args.guest, source), *COMMON, *contract, *how["flags"], *(f.replace("SRC", str(HERE / "src")) for f in how.get("guest", [])),
                              *how.get(args.guest, [])])
        if how.get("expect", row["expect"]) == "native":
            native = args.work / "native" / args.build / name
            build(source, native, [compiler("native", source), *COMMON, *contract, *level])
            expected = run([native])
        else:
            expected = run([qemu(args.guest), *root, guest])
        command = [*args.emulator, *root, guest]
        results.note(f"{args.guest} {args.build} {name}", compare(expected, run(command)), command, f"--only {name}")
    return results.end()


def qemu(guest):
    return shutil.which(f"qemu-{guest}-static") or shutil.which(f"qemu-{guest}") or skip(f"qemu-{guest} is not installed; scripts/install-deps check installs it")


def run_random(args):
    sys.path.insert(0, str(HERE))
    import random_c
    results = Results(f"{sys.argv[0]} random --guest {args.guest}")
    folder = args.work / "random"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seed, args.seed + args.count):
        source = folder / f"{seed}.c"
        text = random_c.generate(seed)
        if not source.exists() or source.read_text() != text:
            source.write_text(text)
        level = f"-O{seed % 4}"
        options = [level, "-w", "-ffp-contract=off", "-fsigned-char", "-fno-strict-aliasing", "-fno-math-errno"]
        # Hosts differ in the sign of the NaN that an operation makes, so the expected output is the same binary's under QEMU.
        guest = folder / f"{seed}-{args.guest}"
        build(source, guest, [compiler(args.guest, source), *options, "-static"])
        command = [*args.emulator, guest]
        results.note(f"{args.guest} random program {seed} ({level})", compare(run([qemu(args.guest), guest]), run(command)), command, f"--seed {seed} --count 1")
    print(f"seeds {args.seed} to {args.seed + args.count - 1}")
    return results.end()


# ---- Debian's programs

def make_data(folder):
    """The input files: text, a table, pairs, bytes, and half a MiB of both; the same everywhere."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    state = 2024

    def number(limit):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & (2 ** 64 - 1)
        return (state >> 33) % limit
    vocabulary = ["".join("abcdeqrstuz"[number(11)] for _ in range(2 + number(7))) for _ in range(500)]
    lines = [" ".join(vocabulary[min(number(500), number(500))] for _ in range(1 + number(9))) for _ in range(1500)]
    files = {"words": "\n".join(lines) + "\n", "table": "".join(f"row {i} {vocabulary[number(500)]} {number(100000)}\n" for i in range(120)),
             "pairs": "".join(f"{vocabulary[i]} {vocabulary[i + 1 + number(40)]}\n" for i in range(50))}
    for name, text in files.items():
        (folder / name).write_text(text)
    noise = bytes(number(256) for _ in range(20000))
    (folder / "binary").write_bytes(noise)
    (folder / "big").write_bytes((files["words"].encode() * 8 + noise + bytes(5000)) * 2)
    (folder / "done").write_text("")


def in_root(root, pattern):
    found = sorted(glob.glob(str(root / pattern)))
    return pathlib.Path(found[0]) if found else sys.exit(f"{root}/{pattern}: nothing there; remove {root} and the folder of the same name in ../apt to fetch it anew")


def run_debian(args):
    fetched = subprocess.run([TOP / "scripts/real-programs", "all"], capture_output=True, text=True)
    roots = {g: (pathlib.Path(r), pathlib.Path(t)) for g, r, t in (line.split() for line in fetched.stdout.splitlines())}
    if args.guest not in roots:
        skip(f"Debian's programs could not be fetched:\n{fetched.stderr}")
    root, twin = roots[args.guest]
    data = args.work / "data"
    make_data(data)
    unit = args.work / f"unit-{args.guest}.i"
    if not unit.exists():
        source = TOP / "tests/programs/src/integer.c"
        subprocess.run([compiler(args.guest, source), "-E", "-P", "-o", unit, source], check=True)
    words = {"{data}": str(data), "{scripts}": str(HERE / "scripts"), "{unit}": str(unit)}
    loader = [twin / "lib64/ld-linux-x86-64.so.2", "--library-path", twin / "usr/lib/x86_64-linux-gnu"]
    perl = ":".join([*glob.glob(str(twin / "usr/lib/x86_64-linux-gnu/perl-base")), *glob.glob(str(twin / "usr/share/perl/5.*.*")), *glob.glob(str(twin / "usr/lib/x86_64-linux-gnu/perl/5.*.*"))])

    def arguments(step):
        out = []
        for word in step[1:]:
            for name, value in words.items():
                word = word.replace(name, value)
            out.append(word)
        return out

    results = Results(f"{sys.argv[0]} debian --guest {args.guest}")
    for case in tomllib.loads((HERE / "debian.toml").read_text())["case"]:
        if (args.only and args.only not in case["name"]) or (args.set and args.set != case["set"]):
            continue
        outputs, problem, command = {}, None, []
        for side in ("expected", "got"):
            folder = args.work / "debian" / args.guest / case["name"] / side
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            outputs[side] = []
            for number, step in enumerate(case["steps"]):
                env = None
                if side == "got":
                    command = [*args.emulator, "-L", root, in_root(root, step[0]), *arguments(step)]
                elif case.get("oracle") == "qemu":
                    command = [qemu(args.guest), "-L", root, in_root(root, step[0]), *arguments(step)]
                else:
                    program = in_root(twin, case.get("twin", step[0]))
                    # A static program runs as it is, the others by the twin's own loader and libraries.
                    command = [*([] if "busybox" in program.name else loader), program, *arguments(step)]
                    env = {"PERL5LIB": perl}
                outputs[side].append((run(command, cwd=folder, stdin=case.get("stdin", "").encode() if number == 0 else b"", env=env), command))
        for (expected, _), (got, ran) in zip(outputs["expected"], outputs["got"]):
            problem = compare(expected, got)
            command = ran
            if problem:
                break
        for name in case.get("files", []) if not problem else []:
            paths = [args.work / "debian" / args.guest / case["name"] / side / name for side in ("expected", "got")]
            if not paths[1].exists():
                problem = f"did not write {name}"
            elif paths[0].read_bytes() != paths[1].read_bytes():
                problem = f"wrote another {name}\n{difference(*(p.read_bytes() for p in paths))}"
        results.note(f"{args.guest} {case['name']}", problem, command, f"--only {case['name']}")
    return results.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["own", "random", "debian"])
    parser.add_argument("--guest", required=True, choices=["aarch64", "riscv64"])
    parser.add_argument("--build", default="O2", help="own: a build of own.toml")
    parser.add_argument("--set", help="debian: only cases of this set")
    parser.add_argument("--only", help="only this program or case")
    parser.add_argument("--seed", type=int, default=1, help="random: the first program's")
    parser.add_argument("--count", type=int, default=20, help="random: how many")
    parser.add_argument("--myna", default=os.environ.get("MYNA_USER", str(TOP / "build/release/bin/myna-user")))
    parser.add_argument("--option", action="append", default=[], help="passed to the emulator, e.g. --option=-accel --option=interp")
    parser.add_argument("--work", type=pathlib.Path, default=TOP / "build/programs")
    args = parser.parse_args()
    args.work = args.work.resolve()
    if not os.access(args.myna, os.X_OK):
        skip(f"{args.myna} is not there; build it, or name another with --myna")
    args.emulator = [os.path.abspath(args.myna), *args.option]
    return {"own": run_own, "random": run_random, "debian": run_debian}[args.what](args)


if __name__ == "__main__":
    sys.exit(main())
