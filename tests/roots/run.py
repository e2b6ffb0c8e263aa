#!/usr/bin/python3
"""Builds a whole Debian system of another architecture and runs checks in it, all through the emulator.

  run.py arm64                          build the root (what is not there yet), install packages, run every check
  run.py riscv64 go java                the root, and these checks only
  run.py arm64 --list                   the checks
  run.py arm64 --shell [COMMAND]       a shell, or a command, inside the root
  run.py arm64 --with binfmt|name       how programs start (below)

  debootstrap --foreign ─▶ second stage in the root ─▶ apt-get install PACKAGES ─▶ checks/NAME.sh, each in the root

  binfmt   a binfmt_misc of the namespace (kernel >= 6.7), with flags POCF: the host's registrations stay as they are
  name     the emulator copied to ROOT/usr/bin/qemu-ARCH-static and named: chroot ROOT /usr/bin/qemu-ARCH-static /bin/sh …

Everything runs in namespaces of its own (user, mount, PID, IPC, UTS) with a limit of processes, so nothing outlives the
command. Roots are kept in $MYNA_CACHE or ~/.cache/myna; --fresh builds again. The emulator is --emulator, $MYNA_USER or
build/release/bin/myna-user; any static user-mode emulator can stand there for comparison. Needs root and debootstrap;
ends with 77 when they are not there. A check is a shell script: exit code 0 is success, 77 is skipped.
"""
import argparse
import ctypes
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
SUITES = {"arm64": "bookworm", "riscv64": "trixie"}
NAMES = {"arm64": "aarch64", "riscv64": "riscv64"}
MACHINE = {"arm64": 183, "riscv64": 243}
PACKAGES = ["python3", "gcc", "g++", "git", "perl", "gdb", "strace", "bubblewrap", "nodejs", "npm", "golang-go", "rustc",
            "default-jdk-headless", "fio", "openssh-server", "openssh-client", "make", "procps", "iproute2", "ca-certificates",
            "file", "netbase", "xz-utils", "systemd-sysv", "dbus", "swtpm", "swtpm-tools", "tpm2-tools"]
TESTSUITE = {"bookworm": "libpython3.11-testsuite", "trixie": "libpython3.13-testsuite"}
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
SKIP = 77
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def checked(what, result):
    if result != 0:
        e = ctypes.get_errno()
        raise OSError(e, f"{what}: {os.strerror(e)}")


def unshare(flags):
    checked("unshare", libc.unshare(flags))


def mount(source, target, kind="none", flags=0, data=""):
    checked(f"mount {target}", libc.mount(str(source).encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()))


class Root:
    def __init__(self, args):
        self.arch, self.suite = args.arch, args.suite or SUITES[args.arch]
        cache = pathlib.Path(os.environ.get("MYNA_CACHE") or pathlib.Path.home() / ".cache/myna")
        self.path = cache / "debootstrap" / f"{self.suite}-{self.arch}{args.name and '-' + args.name}"
        self.log = self.path.with_name(self.path.name + ".log")
        self.emulator = pathlib.Path(args.emulator or os.environ.get("MYNA_USER") or TOP / "build/release/bin/myna-user").resolve()
        self.by, self.processes, self.net = args.by, args.processes, False
        self.inside = f"/usr/bin/qemu-{NAMES[self.arch]}-static"

    def stage(self, name):
        return self.path.with_name(f"{self.path.name}.{name}")

    def registration(self):
        """The line that binfmt_misc takes. The F flag opens the emulator now, by its path outside of the root."""
        def quoted(data):
            return "".join(f"\\x{b:02x}" for b in data)
        magic = bytearray(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0" + bytes([MACHINE[self.arch], 0]))
        mask = bytearray(b"\xff\xff\xff\xff\xff\xff\xff\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff")
        return f":qemu-{NAMES[self.arch]}:M::{quoted(magic)}:{quoted(mask)}:{self.path}{self.inside}:POCF"

    def populate(self):
        """The root's /proc, /dev and /sys, in namespaces of our own."""
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        mount(self.path, self.path, flags=MS_BIND | MS_REC)
        proc = self.path / "proc"
        if proc.is_symlink():  # debootstrap's way in some containers
            proc.unlink()
            proc.mkdir()
        mount("proc", proc, "proc")
        dev = self.path / "dev"
        mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755")
        for node in ("null", "zero", "full", "random", "urandom", "tty"):
            (dev / node).touch()
            mount(f"/dev/{node}", dev / node, flags=MS_BIND)
        for d in ("pts", "shm"):
            (dev / d).mkdir()
        mount("devpts", dev / "pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
        mount("tmpfs", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV)
        os.symlink("pts/ptmx", dev / "ptmx")
        for n, name in enumerate(("stdin", "stdout", "stderr")):
            os.symlink(f"/proc/self/fd/{n}", dev / name)
        os.symlink("/proc/self/fd", dev / "fd")
        mount("/sys", self.path / "sys", flags=MS_BIND | MS_REC)

    def register(self, top):
        misc = top / "proc/sys/fs/binfmt_misc"
        mount("binfmt_misc", misc, "binfmt_misc")
        (misc / "register").write_text(self.registration())

    def enter(self, command, env, timeout=None, out=None, by=None):
        """Runs a command in the root; its exit code, or None when it took too long (everything in it is killed)."""
        ready_r, ready_w = os.pipe()
        go_r, go_w = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                unshare(CLONE_NEWUSER)
                os.write(ready_w, b"x")
                os.read(go_r, 1)
                self.first_process(command, env, out, by or self.by)
            except BaseException as e:  # noqa: BLE001: the child must not return
                print(f"run.py: {e}", file=sys.stderr)
                os._exit(126)
        os.close(ready_w)
        os.read(ready_r, 1)
        for what in ("uid", "gid"):
            pathlib.Path(f"/proc/{pid}/{what}_map").write_text("0 0 65536\n")
        os.write(go_w, b"x")
        for fd in (ready_r, go_r, go_w):
            os.close(fd)
        deadline = time.monotonic() + timeout if timeout else None
        while True:
            done, status = os.waitpid(pid, os.WNOHANG if deadline else 0)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return None
            time.sleep(0.02)

    def first_process(self, command, env, out, by):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | (CLONE_NEWNET if self.net else 0))
        libc.prctl(1, signal.SIGKILL)
        init = os.fork()
        if init != 0:
            _, status = os.waitpid(init, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)
        libc.prctl(1, signal.SIGKILL)
        if by == "host":
            mount("none", "/", flags=MS_REC | MS_PRIVATE)
            mount("proc", "/proc", "proc")
        else:
            self.populate()
        if by in ("binfmt", "host"):
            self.register(pathlib.Path("/") if by == "host" else self.path)
        else:
            command = [self.inside, command[0], *command[1:]]
        resource.setrlimit(resource.RLIMIT_NPROC, (self.processes, self.processes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.net:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
        main = os.fork()
        if main == 0:
            if out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            if by != "host":
                # Not chroot: who is in one may make no user namespaces.
                os.chdir(self.path)
                checked("pivot_root", libc.syscall(PIVOT_ROOT, b".", b"."))
                checked("umount", libc.umount2(b".", 2))
                os.chdir("/")
            os.umask(0o22)
            os.execve(command[0], command, env)
        while True:  # reaps what its parents left
            done, status = os.wait()
            if done == main:
                os._exit(os.waitstatus_to_exitcode(status) & 0xff)

    def environment(self):
        given = {name: os.environ[name] for name in ("MYNA_MODULES", "MYNA_PERL_TESTS") if name in os.environ}  # for checks
        return {**given, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "TERM": "dumb", "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive", "NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/host-ca.pem"}

    # ---- building

    def step(self, name, command, by=None):
        if self.stage(name).exists():
            return
        print(f"{self.path.name}: {name} …", flush=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(self.log, "ab") as log:
            log.write(f"==== {name}: {command}\n".encode())
            log.flush()
            status = self.enter(["/bin/sh", "-ec", command], self.environment(), out=log, by=by)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        if status != 0:
            sys.exit(f"{self.path.name}: {name} failed ({status}); the log is {self.log}")
        self.stage(name).write_text(f"{spent:.1f} s CPU\n")
        print(f"{self.path.name}: {name} done, {spent:.1f} s CPU", flush=True)

    def build(self, packages):
        mirror = mirror_of_this_machine()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.stage("first").exists():
            if not shutil.which("debootstrap"):
                skip("debootstrap is not installed")
            print(f"{self.path.name}: debootstrap --foreign …", flush=True)
            with open(self.log, "ab") as log:
                if subprocess.run(["debootstrap", "--foreign", "--variant=minbase", f"--arch={self.arch}", self.suite, self.path, mirror],
                                  stdout=log, stderr=log, check=False).returncode != 0:
                    sys.exit(f"debootstrap failed; the log is {self.log}")
            self.stage("first").touch()
        self.install_emulator()
        # What the machine's user trusts, so that tools that fetch work behind the same proxies.
        ca = self.path / "etc/ssl/certs/host-ca.pem"
        if pathlib.Path("/etc/ssl/certs/ca-certificates.crt").exists():
            ca.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy("/etc/ssl/certs/ca-certificates.crt", ca)
        # The name of a container manager tells debootstrap that device nodes cannot be made here.
        self.step("second", "container=lxc /debootstrap/debootstrap --second-stage")
        (self.path / "etc/apt/sources.list").write_text(f"deb {mirror} {self.suite} main\n")
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
        if not (self.path / "etc/hosts").exists():  # an installer's work
            (self.path / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
        (self.path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (self.path / "usr/sbin/policy-rc.d").chmod(0o755)
        self.step("update", "apt-get -q update")
        for package in packages:
            self.step(f"install-{package}", f"apt-get -q -y --no-install-recommends install {package}")

    def install_emulator(self):
        to = self.path / self.inside[1:]
        new = to.with_name(to.name + ".new")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.emulator, new)
        new.chmod(0o755)
        os.replace(new, to)

    # ---- checks

    def check(self, name, rounds, timeout):
        script = HERE / "checks" / f"{name}.sh"
        inside = self.path / "srv/checks"
        shutil.copytree(HERE / "checks", inside, dirs_exist_ok=True)
        output = self.path.with_name(f"{self.path.name}.check-{name}.log")
        text = script.read_text()
        # A script that says "# runs on the host" gets the root's path, and binfmt_misc; otherwise it runs in the root.
        host = "# runs on the host" in text
        command = ["/bin/bash", "-x", str(script), str(self.path)] if host else ["/bin/bash", "-x", f"/srv/checks/{name}.sh"]
        self.net = "# network: none" in text
        for n in range(rounds):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            with open(output, "wb") as out:
                status = self.enter(command, self.environment(), timeout, out, by="host" if host else None)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
            if status != 0:
                break
        verdict = {0: "ok", SKIP: "skipped", None: f"took longer than {timeout} s"}.get(status, f"FAILED ({status})")
        print(f"{name:14} {verdict:10} {spent:8.1f} s CPU", flush=True)
        if status not in (0, SKIP):
            tail = output.read_bytes()[-3000:].decode(errors="replace")
            print("".join(f"    {line}\n" for line in tail.splitlines()[-25:]), end="")
            print(f"    whole output: {output}\n    again: tests/roots/run.py {self.arch} --with {self.by} {name}", flush=True)
        return status in (0, SKIP)


def mirror_of_this_machine():
    if os.environ.get("MYNA_MIRROR"):
        return os.environ["MYNA_MIRROR"]
    release = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release", encoding="utf-8") if "=" in line)
    code = release.get("VERSION_CODENAME", "").strip('"')
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI) $(COMPONENT)", "Created-By: Packages"],
                            stdout=subprocess.PIPE, check=False, text=True).stdout
    for line in listed.splitlines():
        suite, uri, component = line.split()
        if suite == code and component == "main":
            return uri
    sys.exit("no Debian mirror in /etc/apt: add one there, or set MYNA_MIRROR to its address")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("arch", choices=sorted(SUITES))
    p.add_argument("checks", nargs="*", help="names of checks; none: all")
    p.add_argument("--suite", help="bookworm for arm64, trixie for riscv64")
    p.add_argument("--name", default="", help="keeps this root beside the others")
    p.add_argument("--emulator", help="the static user-mode emulator")
    p.add_argument("--with", dest="by", choices=("binfmt", "name"), default="binfmt")
    p.add_argument("--fresh", action="store_true", help="build the root again")
    p.add_argument("--build-only", action="store_true")
    p.add_argument("--if-built", action="store_true", help="skip unless the root is there: builds nothing, needs no network")
    p.add_argument("--packages", help="instead of the usual ones, separated by commas ('' for none)")
    p.add_argument("--rounds", type=int, default=1, help="run each check so often")
    p.add_argument("--timeout", type=float, default=1800, help="seconds a check may take")
    p.add_argument("--processes", type=int, default=3000, help="limit of processes in the root")
    p.add_argument("--list", action="store_true")
    p.add_argument("--shell", nargs="?", const="", metavar="COMMAND")
    args = p.parse_intermixed_args()
    names = sorted(f.stem for f in (HERE / "checks").glob("*.sh"))
    if args.list:
        for name in names:
            print(f"{name:14} {(HERE / 'checks' / (name + '.sh')).read_text().splitlines()[1].lstrip('# ')}")
        return 0
    for name in args.checks:
        if name not in names:
            sys.exit(f"'{name}' is not a check; there are {', '.join(names)}")
    if os.getuid() != 0:
        skip("building a root needs root (uids of a whole system are mapped)")
    root = Root(args)
    if not root.emulator.exists():
        skip(f"no emulator at {root.emulator}")
    if args.fresh:
        shutil.rmtree(root.path, ignore_errors=True)
        for f in root.path.parent.glob(root.path.name + ".*"):
            f.unlink()
    if args.shell is not None:
        root.install_emulator()
        command = ["/bin/sh", "-c", args.shell] if args.shell else ["/bin/bash"]
        return root.enter(command, root.environment())
    if args.if_built:
        if not all(root.stage(name).exists() for name in ("second", "install-python3", "install-strace", "install-bubblewrap")):
            skip(f"there is no root yet; tests/roots/run.py {args.arch} builds it")
        root.install_emulator()
    else:
        root.build([*PACKAGES, *filter(None, [TESTSUITE.get(root.suite)])] if args.packages is None else [x for x in args.packages.split(",") if x])
    if args.build_only:
        return 0
    good = [root.check(name, args.rounds, args.timeout) for name in args.checks or names]
    print(f"{sum(good)} of {len(good)} checks passed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
