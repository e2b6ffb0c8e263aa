#!/usr/bin/python3
"""Runs the same commands with qemu-img and with myna-img called as qemu-img, and compares all that a script can see.

  compare.py PROGRAM [--only WORD] [--keep] [--verbose]

Each scenario of scenarios.txt is run twice, in two folders: stdout (JSON as JSON), stderr, exit codes must be equal after
each command, and at its end the guest bytes of every image the scenario left behind, read by the other tool; qcow2 images of ours
must be sound for qemu-img's check. A line of a scenario is a command of the tool; one that begins with '!' is a shell
command that prepares both folders alike; '?' before a command: only exit codes are compared (texts differ, as
docs/compatibility.md says); '~': the text of stderr is not compared.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ORACLE = shutil.which("qemu-img")
# What differs from run to run, or by the host's file system: sizes on disk, dates, times.
VOLATILE = {"actual-size", "date-sec", "date-nsec"}


def parse_scenarios(text):
    name, lines, out = None, [], []
    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            if name:
                out.append((name, lines))
            name, lines = line[1:-1], []
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    out.append((name, lines))
    return out


def scrub(value):
    if isinstance(value, dict):
        return {k: scrub(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [scrub(v) for v in value]
    return value


def normal(text):
    try:
        if text.lstrip()[:1] in "{[" and text.strip():
            return json.dumps(scrub(json.loads(text)), sort_keys=True, indent=1)
    except ValueError:
        pass
    text = text.split("\r")[-1] if "\r" in text else text
    text = re.sub(r"disk size: .*", "disk size: X", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"completed in [\d.]+ seconds", "completed in T seconds", text)
    text = re.sub(r"#block\d+", "#block", text)
    text = re.sub(r"\nIs another process using the image \[(.*)\]\? \(.*\)", r"\nIs another process using the image [\1]?", text)
    text = re.sub(r"\nDid you mean '.*'\?", "", text)
    return text.rstrip("\n")


def run(command, folder, tool):
    environment = dict(os.environ, PATH=f"{tool.parent}:{os.environ['PATH']}", LC_ALL="C", TZ="UTC")
    for _ in range(5):
        done = subprocess.run(command, cwd=folder, shell=isinstance(command, str), capture_output=True, timeout=120, env=environment)
        # qemu-img measures the processor for LUKS, and gives up when others keep it from doing so.
        if b"Unable to get accurate CPU usage" not in done.stderr:
            break
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def images_of(folder):
    return sorted(p.name for p in folder.iterdir() if p.is_file() and p.suffix in (".raw", ".qcow2"))


def same_bytes(name, theirs, ours, tool):
    """The other tool reads each image; both must hold the same."""
    problems = []
    if not (theirs / name).exists() or not (ours / name).exists():
        return [f"{name} is in one folder only"]
    qcow2 = name.endswith(".qcow2")
    kind = ["-f", "qcow2", "-F", "qcow2"] if qcow2 else ["-f", "raw", "-F", "raw"]
    code, out, err = run([ORACLE, "compare", "-U", *kind, theirs / name, ours / name], ours, tool)
    if code:
        problems.append(f"{name}: qemu-img compare: {out}{err}")
    code, out, err = run([str(tool), "compare", *kind, theirs / name, ours / name], ours, tool)
    if code:
        problems.append(f"{name}: myna-img compare: {out}{err}")
    if qcow2:
        code, out, err = run([ORACLE, "check", "-f", "qcow2", ours / name], ours, tool)
        if code:
            problems.append(f"{name}: qemu-img check of ours: {out}{err}")
    return problems


def check(name, lines, root, tool, verbose):
    theirs, ours = root / "theirs", root / "ours"
    problems = []
    for folder in (theirs, ours):
        folder.mkdir()
    oracle_link = root / "oracle" / "qemu-img"
    oracle_link.parent.mkdir(exist_ok=True)
    oracle_link.symlink_to(ORACLE)
    no_images = any(line == "no-images" for line in lines)
    for line in lines:
        if line == "no-images":
            continue
        if line.startswith("!"):
            for folder in (theirs, ours):
                code, out, err = run(line[1:], folder, oracle_link)
                if code:
                    problems.append(f"preparation failed: {line}\n{out}{err}")
            continue
        codes_only, no_errors = line.startswith("?"), line.startswith("~")
        words = shlex.split(line.lstrip("?~ "))
        want = run([str(oracle_link), *words], theirs, oracle_link)
        have = run([str(tool), *words], ours, tool)
        want_n = [want[0]] + ([] if codes_only else [normal(want[1])]) + ([] if codes_only or no_errors else [normal(want[2])])
        have_n = [have[0]] + ([] if codes_only else [normal(have[1])]) + ([] if codes_only or no_errors else [normal(have[2])])
        if verbose or want_n != have_n:
            if want_n != have_n:
                problems.append(f"{line}\n  qemu-img {want_n[0]}: " + "\n    ".join(want_n[1:]) + f"\n  myna-img {have_n[0]}: " + "\n    ".join(have_n[1:]))
    if not no_images:
        for image in sorted(set(images_of(theirs)) | set(images_of(ours))):
            problems += same_bytes(image, theirs, ours, tool)
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    a = parser.parse_args()
    if not ORACLE:
        sys.exit("qemu-img is missing: scripts/install-deps check")
    failed = total = 0
    with tempfile.TemporaryDirectory(prefix="myna-img-") as top:
        tool = pathlib.Path(top) / "qemu-img"
        tool.symlink_to(a.program.resolve())
        for name, lines in parse_scenarios((HERE / "scenarios.txt").read_text()):
            if a.only not in name:
                continue
            root = pathlib.Path(top) / name.replace(" ", "-")
            root.mkdir()
            problems = check(name, lines, root, tool, a.verbose)
            total += sum(not line.startswith("!") for line in lines)
            failed += bool(problems)
            for p in problems:
                print(f"[{name}] {p}")
            shutil.rmtree(root)
    print(f"{total} commands, {failed} scenarios differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
