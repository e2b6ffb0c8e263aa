#!/usr/bin/python3
"""QEMU's own tests of its disk tools, run with ours: scripts and the output that they must have, written by others.

  tests/iotests/run.py                       what ./check runs: the quick ones of list.toml
  tests/iotests/run.py --all                 all of list.toml
  tests/iotests/run.py --format qcow2 060 039    these
  tests/iotests/run.py --format raw --proto nbd --reference 001    with Debian's QEMU in the place of our tools

      scripts/debian-source qemu ──▶ tests/qemu-iotests ──▶ its program `check` ──▶ output as expected, or a difference
      build/release/bin/compat ──▶ qemu-img, qemu-io, qemu-nbd, qemu-storage-daemon ──┘
      --all: scripts/foreign-root … qemu-system-x86 ──▶ a machine for the tests that start one (Debian's has no qtest: TCG)

Nothing of those tests is kept here but their numbers. A test passes when its output is to the letter what QEMU's would be.
list.toml says which are expected to pass, and why others are not.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
SUITE = "bookworm"


def script(name, *words):
    done = subprocess.run([TOP / "scripts" / name, *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"run.py: scripts/{name} failed")
    return pathlib.Path(done.stdout.split("\n")[-2])


def machine(folder):
    """A program that starts Debian's qemu-system-x86_64 from where it was unpacked."""
    root = script("foreign-root", "amd64", SUITE, "qemu-system-x86")
    lib = root / "usr/lib/x86_64-linux-gnu"
    # With TCG, which never gets to run a guest's code: the tests ask for the accelerator that does nothing.
    path = folder / "qemu-system-x86_64"
    path.write_text(f"""#!/usr/bin/python3
import os, sys
words, i = [], 1
while i < len(sys.argv):
    if sys.argv[i:i + 2] == ["-accel", "qtest"]:
        i += 2
    else:
        words.append(sys.argv[i])
        i += 1
os.environ["QEMU_MODULE_DIR"] = "{lib}/qemu"
loader = "{root}/lib64/ld-linux-x86-64.so.2"
os.execv(loader, [loader, "--library-path", "{lib}", "{root}/usr/bin/qemu-system-x86_64", "-L", "{root}/usr/share/qemu", "-L", "{root}/usr/share/seabios", "-accel", "tcg", *words])
""")
    path.chmod(0o755)
    return path


def run(tests, fmt, proto, o, source, folder):
    """The tests that failed, and those that could not be run, with the reason."""
    work = folder / f"{fmt}-{proto}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "check").symlink_to(source / "tests/qemu-iotests/check")
    tools = pathlib.Path("/usr/bin") if o.reference else o.bin / "compat"
    sockets = tempfile.mkdtemp(prefix="iotests-")  # names of sockets must be short
    env = dict(os.environ, QEMU_PROG=str(machine(folder) if o.all or o.tests else shutil.which("qemu-system-riscv64")), QEMU_IMG_PROG=str(tools / "qemu-img"), QEMU_IO_PROG=str(tools / "qemu-io"), QEMU_NBD_PROG=str(tools / "qemu-nbd"),
               QSD_PROG=str(tools / "qemu-storage-daemon"), SOCK_DIR=sockets, TEST_DIR=str(work / "scratch"))
    done = subprocess.run(["./check", f"-{fmt}", *([f"-{proto}"] if proto != "file" else []), "-j", str(o.jobs), *tests], cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    shutil.rmtree(sockets, ignore_errors=True)
    text = re.sub(r".*\r", "", done.stdout)
    failed = re.findall(r"^Failures: (.*)$", text, re.M)
    left_out = re.findall(r"^(\S+)\s+not run\s.*?\.\.\.\s+(.*)$", text, re.M)
    if failed or (done.returncode and not failed):
        print(text)
    if done.returncode and not failed:
        sys.exit("run.py: the tests could not be started")
    return failed[0].split() if failed else [], left_out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tests", nargs="*", metavar="NNN", help="tests by number or name; those of list.toml when none is named")
    p.add_argument("--bin", type=pathlib.Path, default=TOP / "build/release/bin", help="the folder with our programs")
    p.add_argument("--format", help="this one alone (with NNN: needed)")
    p.add_argument("--proto", default="file")
    p.add_argument("--all", action="store_true")
    p.add_argument("--reference", action="store_true")
    p.add_argument("--jobs", type=int, default=2)
    o = p.parse_args()
    if o.tests and not o.format:
        p.error("--format says what NNN are run with")
    o.bin = o.bin.resolve()
    source = script("debian-source", "qemu", SUITE)
    folder = o.bin.parent / "iotests"
    folder.mkdir(exist_ok=True)
    wanted = [(o.format, o.proto, o.tests)]
    if not o.tests:
        lists = tomllib.loads((HERE / "list.toml").read_text())["pass"]
        wanted = [(x["format"], x.get("proto", "file"), x["quick"].split() + (x.get("slow", "").split() if o.all else [])) for x in lists if not o.format or x["format"] == o.format]
    problems, count = [], 0
    for fmt, proto, tests in wanted:
        if not tests:
            continue
        failed, left_out = run(tests, fmt, proto, o, source, folder)
        problems += [f"{fmt}:{proto} {t}" for t in failed] + [f"{fmt}:{proto} {t} was not run: {why}" for t, why in left_out]
        count += len(tests)
    print(f"{count} tests, {len(problems)} problems")
    for x in problems:
        print("  " + x)
    return bool(problems)


sys.exit(main())
