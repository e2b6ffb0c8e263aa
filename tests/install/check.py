#!/usr/bin/python3
"""Installs into an empty folder and checks what came: programs, man pages, completions, compatibility names.

  check.py BUILD_DIR        a configured and built tree

Also: every option that -help prints is in the man page, and the program answers to the names of other tools.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

NAMES = ("qemu-aarch64", "qemu-aarch64-static", "qemu-riscv64", "qemu-riscv64-static")
failures = []


def expect(condition, text):
    if not condition:
        failures.append(text)


def output(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr if done.returncode == 0 else ""


def check_program(name, prefix, build, names, static=False, help_option="--help", version_option="--version"):
    program = prefix / "bin" / name
    if not (build / "bin" / name).exists():
        return  # this build left it out
    expect(program.exists(), f"bin/{name} is not installed")
    if static:
        expect(b"ld-linux" not in program.read_bytes()[:4096], f"{name} needs a loader: it should be one static binary")
    help_text = output(program, help_option)
    expect(help_text, f"{name} {help_option} fails")
    manual = (prefix / "share/man/man1" / f"{name}.1")
    expect(manual.exists(), f"the manual of {name} is not installed")
    described = manual.read_text().replace("\\-", "-") if manual.exists() else ""
    for option in re.findall(r"^  +(?:-\w, )?(-[\w-]+)", help_text, re.M):
        expect(re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", described), f"the manual of {name} does not describe {option}")
    expect((prefix / "share/bash-completion/completions" / name).exists(), f"no bash completion for {name}")
    expect((prefix / "share/zsh/site-functions" / f"_{name}").exists(), f"no zsh completion for {name}")
    for folder in (prefix / "libexec/myna/compat", build / "bin/compat"):
        for link in names:
            expect((folder / link).is_symlink() and (folder / link).exists(), f"{folder / link} is not a link to the program")
            expect(re.search(r"\d+\.\d+", output(folder / link, version_option)), f"{folder / link} {version_option} fails")


def check_img(prefix, build):
    """myna-img has commands: each command's options are in the manual, and its compatibility name answers."""
    program = prefix / "bin/myna-img"
    manual = prefix / "share/man/man1/myna-img.1"
    expect(manual.exists(), "the manual of myna-img is not installed")
    described = manual.read_text().replace("\\-", "-") if manual.exists() else ""
    commands = re.findall(r"^  ([a-z]+) ", output(program, "--help"), re.M)
    expect(len(commands) > 10, "myna-img --help lists no commands")
    for command in commands:
        section = re.search(rf'^\.SS "{command} .*?(?=^\.S[SH]|\Z)', described, re.M | re.S)
        expect(section, f"the manual of myna-img does not describe {command}")
        for option in re.findall(r"^  (?:-\w, )?(--?[\w-]+)", output(program, command, "--help"), re.M):
            expect(section and option in section.group(), f"the manual of myna-img does not describe {command} {option}")
    for file in ("bash-completion/completions/myna-img", "zsh/site-functions/_myna-img"):
        expect((prefix / "share" / file).exists(), f"share/{file} is not installed")
    for folder in (prefix / "libexec/myna/compat", build / "bin/compat"):
        expect(output(folder / "qemu-img", "--version").startswith("qemu-img version "), f"{folder / 'qemu-img'} --version does not name qemu-img")


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["cmake", "--install", build, "--prefix", folder], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"cmake --install fails:\n{done.stdout}{done.stderr}")
        check_program("myna-user", pathlib.Path(folder), build, NAMES, static=True, help_option="-help", version_option="-version")
        for tool in ("nbd", "io", "storage-daemon"):
            check_program(f"myna-{tool}", pathlib.Path(folder), build, [f"qemu-{tool}"])
        check_img(pathlib.Path(folder), build)
        for name, start, option in (("user", "-st", "-strace"), ("nbd", "--sh", "--shared"), ("io", "--mis", "--misalign")):
            completion = pathlib.Path(folder) / f"share/bash-completion/completions/myna-{name}"
            typed = f'source {completion}; COMP_WORDS=({folder}/bin/myna-{name} {start}); COMP_CWORD=1; _myna_{name} {folder}/bin/myna-{name}; echo "${{COMPREPLY[@]}}"'
            expect(option in output("bash", "-c", typed), f"bash completes {start} of myna-{name} to something else than {option}")
    for text in failures:
        print(text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
