#!/usr/bin/python3
"""Checks what a compiler does not: layers, file sizes, head comments, links of the docs, and what must not be in the tree.

  tests/style/check.py              all rules; prints file:line: what is wrong, and what to do
  tests/style/check.py --format     also whether clang-format would change C++ sources (a list, not an error)

Only files that git knows are looked at; where there is no git, all files outside build/.
"""
import pathlib
import re
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
LONGEST = 800
# Files that are one table each: their length is the length of what they describe.
TABLES = ["src/ir/ops.inc", "*.decode", "*/syscall_table*", "*/golden/*", "LICENSE"]
# Contracts that stand below the folder they live in, just above the layer named here; the later ones come lower.
LOW_CONTRACTS = {"guest/common": "softfp", "ir/types.h": "softfp", "ir/ops.inc": "softfp"}

problems = []


def problem(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def files():
    listed = None
    if shutil.which("git"):
        listed = subprocess.run(["git", "-C", TOP, "ls-files", "--cached", "--others", "--exclude-standard", "-z"], capture_output=True, text=True)
    if listed and listed.returncode == 0:
        names = [n for n in listed.stdout.split("\0") if n and (TOP / n).is_file()]
    else:
        names = [str(p.relative_to(TOP)) for p in TOP.rglob("*") if p.is_file()]
    return sorted(pathlib.PurePosixPath(n) for n in names if not n.startswith(("build/", ".git/")) and "__pycache__" not in n)


def text_of(path):
    try:
        return (TOP / path).read_text()
    except UnicodeDecodeError:
        return None


def is_table(path):
    return any(path.match(t) for t in TABLES)


# ---- Includes point downwards

def layers():
    """The folders of src/ in the order of dependencies, lowest first, as src/CMakeLists.txt has them."""
    order = re.search(r"foreach\(folder ([^)]*)\)", (TOP / "src/CMakeLists.txt").read_text()).group(1).split()
    for contract, after in LOW_CONTRACTS.items():
        order.insert(order.index(after) + 1, contract)
    return order


def layer_of(path, order):
    found = [f for f in order if path == f or path.startswith(f + "/")]
    return max(found, key=len) if found else None


def check_includes(path, text, order):
    mine = layer_of(str(path.relative_to("src")), order)
    if mine is None:
        problem(path, 1, f"folder is not in the order of src/CMakeLists.txt: {' '.join(order)}")
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match or not (TOP / "src" / match.group(1)).exists():
            continue
        other = layer_of(match.group(1), order)
        if other and order.index(other) > order.index(mine):
            problem(path, number, f"{mine} includes {match.group(1)}, which is above it; move what both need down")
        parts, own = match.group(1).split("/"), path.parts[1:]
        if own[0] == "guest" and len(own) > 2 and parts[0] == "guest" and len(parts) > 2 and parts[1] not in ("common", own[1]):
            problem(path, number, f"guest/{own[1]} includes another guest's {match.group(1)}; share it in guest/common")


# ---- Every file by itself

COMMENT = {".h": "//", ".cpp": "//", ".c": "//", ".inc": "//", ".S": "//", ".cmake": "#", ".toml": "#", ".decode": "#"}
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE = re.compile(r"/(?:wo" + r"rk|ro" + r"ot)/|/ho" + r"me/[a-z]|\b[a-z0-9.-]*(?:de" + r"b\.debian\.org|registry\.[a-z]+js\.org|py" + r"pi\.org|pythonho" + r"sted\.org|proxy\.gol" + r"ang\.org)")


def head_comment(path, text):
    lines = text.splitlines()
    first = lines[0] if lines else ""
    if first.startswith("#!"):
        first = next((line for line in lines[1:] if line.strip()), "")
        return first.startswith("#") or first.startswith('"""')
    if path.suffix == ".py":
        return first.startswith(('"""', "#"))
    return first.startswith((COMMENT[path.suffix], "/*"))


def check_file(path, text):
    lines = text.splitlines()
    if len(lines) > LONGEST and not is_table(path) and path.suffix in (*COMMENT, ".py"):
        problem(path, len(lines), f"longer than {LONGEST} lines; split it by topic, or, if it is one table, list it in tests/style/check.py")
    if (path.suffix in COMMENT or path.suffix == ".py" or text.startswith("#!")) and lines and not head_comment(path, text):
        header = path.with_suffix(".h")
        if not (path.suffix == ".cpp" and (TOP / header).exists()):
            problem(path, 1, "has no head comment: say what the file is for and how it works")
    for number, line in enumerate(lines, 1):
        if UNFINISHED.search(line):
            problem(path, number, "an unfinished mark: do it, or write it into the tracker")
        if MACHINE.search(line):
            problem(path, number, "a path of one machine, or the host of a package archive; take it from the environment or /etc/apt")


# ---- Documentation

def check_links(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", line) if path.suffix == ".md" else []:
            if "://" not in target and not (TOP / path.parent / target).exists():
                problem(path, number, f"links to {target}, which is not there")
        for target in set(re.findall(r"\bdocs/[\w-]+\.md\b", line)):
            if not (TOP / target).exists() and f"]({target})" not in line:
                problem(path, number, f"names {target}, which is not there")


def check_scripts(path, text):
    first = text.split("\n", 1)[0]
    if not first.startswith("#!"):
        return
    if "python" in first:
        try:
            compile(text, str(path), "exec")
        except SyntaxError as e:
            problem(path, e.lineno or 1, f"is not valid Python: {e.msg}")
    else:
        shell = "bash" if "bash" in first else "sh"
        done = subprocess.run([shell, "-n", TOP / path], capture_output=True, text=True)
        if done.returncode:
            problem(path, 1, f"is not valid shell: {done.stderr.strip()}")
    if not (TOP / path).stat().st_mode & 0o111:
        problem(path, 1, "starts with #! but is not executable")


def check_licence():
    licence = TOP / "LICENSE"
    if not licence.exists() or "GNU GENERAL PUBLIC LICENSE" not in licence.read_text():
        problem("LICENSE", 1, "must be the text of the GNU General Public License")
    if "GPL-2.0-or-later" not in (TOP / "README.md").read_text():
        problem("README.md", 1, "does not name the licence (GPL-2.0-or-later)")


def show_format(paths):
    sources = [str(TOP / p) for p in paths if p.suffix in (".h", ".cpp") and p.parts[0] == "src"]
    done = subprocess.run(["clang-format-19", "--dry-run", *sources], capture_output=True, text=True)
    changed = sorted({line.split(":", 1)[0] for line in done.stderr.splitlines() if "-Wclang-format" in line})
    print(f"clang-format would change {len(changed)} of {len(sources)} files", *[str(pathlib.Path(c).relative_to(TOP)) for c in changed], sep="\n  ")


def main():
    order, paths = layers(), files()
    for path in paths:
        text = text_of(path)
        if text is None or path.name == "LICENSE":
            continue
        check_file(path, text)
        check_links(path, text)
        check_scripts(path, text)
        if path.parts[0] == "src" and len(path.parts) > 2 and path.suffix in (".h", ".cpp", ".inc"):
            check_includes(path, text, order)
    check_licence()
    if "--format" in sys.argv:
        show_format(paths)
    for text in problems:
        print(text)
    print(f"{len(paths)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
