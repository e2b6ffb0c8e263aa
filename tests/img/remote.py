#!/usr/bin/python3
"""Disk images on web, FTP and ssh servers: nginx, pyftpdlib and sshd serve, myna-img and myna-io read and write, local copies
say what is right.

  remote.py MYNA_IMG MYNA_IO

The servers are Debian's own programs, unpacked into the private cache (scripts/foreign-root) and run from there; they listen
on loopback only.
"""
import base64
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
problems = []


def expect(condition, text):
    if not condition:
        problems.append(text)
        print("FAILED:", text)


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, errors="replace", **more)
    return done.returncode, done.stdout, done.stderr


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def serving(port, command, **more):
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
    try:
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} does not listen: {process.stderr.read() if process.poll() is not None else ''}")
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def make_images(folder):
    rng = random.Random(5)
    with open(folder / "disk.raw", "wb") as f:
        f.truncate(24 << 20)
        for _ in range(50):
            f.seek(rng.randrange(0, 23 << 20))
            f.write(rng.randbytes(rng.randrange(1, 100000)))
    expect(run("qemu-img", "convert", "-c", "-O", "qcow2", folder / "disk.raw", folder / "disk.qcow2")[0] == 0, "qemu-img convert")
    (folder / "empty.raw").write_bytes(b"")


def reads_as(img, url, folder, *more):
    out = folder / "out.raw"
    code, _, err = run(img, "convert", *more, "-O", "raw", url, out)
    expect(code == 0 and out.read_bytes() == (folder / "disk.raw").read_bytes(), f"{url} does not read as the disk it is: {err}")


def web(img, io, root, folder):
    plain, secure = free_port(), free_port()
    key, cert, template = folder / "key.pem", folder / "cert.pem", folder / "template"
    template.write_text("cn = localhost\ndns_name = localhost\ntls_www_server\nsigning_key\nexpiration_days = 2\n")
    run("certtool", "--generate-privkey", "--outfile", key)
    run("certtool", "--generate-self-signed", "--load-privkey", key, "--template", template, "--outfile", cert)
    (folder / "users").write_text("jane:{PLAIN}open sesame\n")
    temp = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log; events {{}}
        http {{ access_log {folder}/access.log; {temp} root {folder};
            server {{ listen 127.0.0.1:{plain};
                location /whole/ {{ alias {folder}/; max_ranges 0; }}
                location /moved {{ return 302 http://127.0.0.1:{plain}/disk.qcow2; }}
                location /evil {{ return 302 file:///etc/passwd; }}
                location /private/ {{ alias {folder}/; auth_basic x; auth_basic_user_file {folder}/users; }}
                location /cookie/ {{ if ($http_cookie != "token=7") {{ return 403; }} alias {folder}/; }} }}
            server {{ listen 127.0.0.1:{secure} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; }} }}""")
    with serving(plain, [root / "usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf"],
                 env={**os.environ, "LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")}):
        at = f"http://127.0.0.1:{plain}"
        for name in ("disk.raw", "disk.qcow2", "moved"):
            reads_as(img, f"{at}/{name}", folder)
        code, out, _ = run(img, "info", "--output=json", f"{at}/disk.qcow2")
        expect(code == 0 and json.loads(out)["virtual-size"] == 24 << 20, "info over http")
        expect(run(img, "compare", f"{at}/disk.raw", folder / "disk.qcow2")[1].strip() == "Images are identical.", "compare over http")
        expect(run(img, "info", f"{at}/empty.raw")[0] == 0, "an empty file over http")

        # An overlay over a remote image, as an operator would try an image out.
        overlay = folder / "overlay.qcow2"
        expect(run(img, "create", "-f", "qcow2", "-b", f"{at}/disk.qcow2", "-F", "qcow2", overlay)[0] == 0, "an overlay over http")
        expect(run(io, "-c", "write -P 7 1M 64k", overlay)[0] == 0, "a write to the overlay")
        code, out, err = run(io, "-r", "-c", "read -P 7 1M 64k", overlay)
        expect(code == 0 and "failed" not in out + err, f"the overlay's own bytes: {out}{err}")
        expect(run(img, "compare", overlay, folder / "disk.raw")[0] == 1, "an overlay that was written is another disk")

        # Reading in small pieces asks the server seldom.
        (folder / "access.log").write_text("")
        run(io, "-r", "-f", "raw", *[w for i in range(40) for w in ("-c", f"read {i * 4096} 4096")], f"{at}/disk.raw")
        asked = (folder / "access.log").read_text().count("GET ")
        expect(0 < asked <= 2, f"40 reads of 4 KiB in a row cost {asked} requests")

        def fails(url, word, *more):
            code, out, err = run(img, "info", *more, url)
            expect(code == 1 and word in err and err.startswith("myna-img: Could not open "), f"{url}: {code} {out}{err}")
        fails(f"{at}/none", "404")
        fails(f"{at}/whole/disk.raw", "Server does not support 'range' (byte ranges).")
        fails(f"{at}/evil", "CURL: Error opening file: ")
        fails(f"http://127.0.0.1:{free_port()}/x", "onnect")
        fails(f"https://127.0.0.1:{secure}/disk.raw", "certificate")
        code, _, err = run(img, "convert", "-n", "-O", "raw", folder / "disk.raw", f"{at}/disk.raw")
        expect(code == 1 and "curl driver does not support writes" in err, f"writing over http: {err}")

        def opts(driver, port, path, **more):
            return "json:" + json.dumps({"driver": "raw", "file": {"driver": driver, "url": f"{driver}://127.0.0.1:{port}{path}", **more}})
        reads_as(img, opts("https", secure, "/disk.raw", sslverify="off"), folder)
        reads_as(img, opts("http", plain, "/disk.raw", readahead=512), folder)
        reads_as(img, opts("http", plain, "/private/disk.raw", username="jane", **{"password-secret": "p"}), folder, "--object", "secret,id=p,data=open sesame")
        fails(opts("http", plain, "/private/disk.raw"), "401")
        reads_as(img, opts("http", plain, "/cookie/disk.raw", cookie="token=7"), folder)
        fails(opts("http", plain, "/cookie/disk.raw"), "403")
        # A server that ignores ranges though it is said not to: an error, not wrong bytes.
        code, _, err = run(img, "convert", "-O", "raw", opts("http", plain, "/whole/disk.raw", **{"force-range": "on"}), folder / "out.raw")
        expect(code == 1 and re.search("status 200", err), f"a server without ranges: {err}")
        fails(opts("http", plain, "/disk.raw", sslverify="perhaps"), "sslverify")
        fails(opts("http", plain, "/disk.raw", timeout="long"), "timeout")
        fails("json:" + json.dumps({"driver": "https", "url": f"http://127.0.0.1:{plain}/x"}), "does not start with 'https://'")


def ftp(img, root, folder):
    port = free_port()
    script = (f"from pyftpdlib.authorizers import DummyAuthorizer as A\nfrom pyftpdlib.handlers import FTPHandler as H\n"
              f"from pyftpdlib.servers import FTPServer as S\na = A(); a.add_anonymous({str(folder)!r}); a.add_user('jane', 'sesame', {str(folder)!r})\n"
              f"H.authorizer = a\nS(('127.0.0.1', {port}), H).serve_forever()\n")
    with serving(port, [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(root / "usr/lib/python3/dist-packages")}):
        at = f"ftp://127.0.0.1:{port}"
        for name in ("disk.raw", "disk.qcow2"):
            reads_as(img, f"{at}/{name}", folder)
        reads_as(img, "json:" + json.dumps({"driver": "raw", "file": {"driver": "ftp", "url": f"{at}/disk.raw", "username": "jane", "password-secret": "p"}}), folder,
                 "--object", "secret,id=p,data=sesame")
        code, _, err = run(img, "info", f"{at}/none")
        expect(code == 1 and "CURL: Error opening file: " in err, f"a missing file over ftp: {err}")


def ssh(img, io, root, folder):
    """sshd runs as an ordinary user of a sandbox that the private cache is the root of; the client has a home of its own."""
    home, data = folder / "home", folder / "ssh"
    (home / ".ssh").mkdir(parents=True)
    data.mkdir()
    for key in (data / "host", home / ".ssh/id_ed25519"):
        run(root / "usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    (data / "authorized").write_text((home / ".ssh/id_ed25519.pub").read_text())
    (data / "passwd").write_text("guest:x:1000:1000::/data:/bin/sh\n")
    (data / "conf").write_text("ListenAddress 127.0.0.1\nHostKey /data/host\nAuthorizedKeysFile /data/authorized\nStrictModes no\nUsePAM no\n"
                               "PidFile none\nSubsystem sftp /usr/lib/openssh/sftp-server\n")
    (data / "disk.raw").write_bytes((folder / "disk.raw").read_bytes())
    port = free_port()
    sandbox = ["bwrap", "--unshare-user", "--unshare-pid", "--die-with-parent", "--uid", "1000", "--gid", "1000"]
    for name in ("usr", "lib", "lib64", "bin", "sbin"):
        if (root / name).is_symlink():
            sandbox += ["--symlink", os.readlink(root / name), "/" + name]
        elif (root / name).exists():
            sandbox += ["--ro-bind", root / name, "/" + name]
    sandbox += ["--dev", "/dev", "--proc", "/proc", "--dir", "/run", "--bind", data, "/data", "--ro-bind", data / "passwd", "/etc/passwd"]
    client = ["bwrap", "--dev-bind", "/", "/", "--bind", home, pathlib.Path.home(), "--unsetenv", "SSH_AUTH_SOCK"]
    host_key = (data / "host.pub").read_text().split()[1]
    digest = hashlib.sha256(base64.b64decode(host_key)).hexdigest()

    def tool(program, *words):
        return run(*client, program, *words)

    with serving(port, [*sandbox, "/usr/sbin/sshd", "-D", "-e", "-f", "/data/conf", "-p", port]):
        at = f"ssh://guest@127.0.0.1:{port}/data"
        code, _, err = tool(img, "info", f"{at}/disk.raw")
        expect(code == 1 and "known_hosts" in err, f"an unknown server: {err}")
        (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} ssh-ed25519 {host_key}\n")
        out = folder / "out.raw"
        code, _, err = tool(img, "convert", "-O", "raw", f"{at}/disk.raw", out)
        expect(code == 0 and out.read_bytes() == (folder / "disk.raw").read_bytes(), f"reading by ssh: {err}")
        for form in ("raw", "qcow2", "vmdk"):
            code, _, err = tool(img, "convert", "-O", form, folder / "disk.raw", f"{at}/made.{form}")
            expect(code == 0, f"writing {form} by ssh: {err}")
            expect(run("qemu-img", "compare", "-F", form, "-f", "raw", folder / "disk.raw", data / f"made.{form}")[0] == 0, f"{form} written by ssh is another disk")
        code, _, err = tool(img, "resize", "-f", "raw", f"{at}/made.raw", "+1M")
        expect(code == 0 and (data / "made.raw").stat().st_size == 25 << 20, f"growing by ssh: {err}")
        code, text, err = tool(io, "-f", "raw", "-c", "write -P 9 5000 70000", "-c", "flush", "-c", "read -P 9 5000 70000", f"{at}/made.raw")
        expect(code == 0 and "failed" not in text + err and (data / "made.raw").read_bytes()[5000:75000] == b"\x09" * 70000, f"writes by ssh: {text}{err}")

        # The storage daemon creates what a location of QMP names.
        location = {"server": {"host": "127.0.0.1", "port": str(port)}, "path": "/data/created.raw", "user": "guest"}
        daemon = [*client, pathlib.Path(img).with_name("myna-storage-daemon"), "--chardev", "stdio,id=c", "--monitor", "chardev=c"]
        with subprocess.Popen([str(w) for w in daemon], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            for command, arguments in (("qmp_capabilities", {}), ("blockdev-create", {"job-id": "j", "options": {"driver": "ssh", "location": location, "size": 3 << 20}})):
                process.stdin.write(json.dumps({"execute": command, "arguments": arguments}))
            process.stdin.flush()
            for line in process.stdout:
                if '"concluded"' in line:
                    break
            process.stdin.write('{"execute": "quit"}')
            process.stdin.close()
        expect((data / "created.raw").exists() and (data / "created.raw").stat().st_size == 3 << 20, "blockdev-create by ssh")

        place = {"driver": "ssh", "server": {"host": "127.0.0.1", "port": str(port)}, "path": "/data/disk.raw", "user": "guest"}
        def with_check(**check):
            return tool(img, "info", "json:" + json.dumps({"driver": "raw", "file": {**place, "host-key-check": check}}))
        (home / ".ssh/known_hosts").unlink()
        expect(with_check(mode="none")[0] == 0, "host-key-check.mode=none")
        expect(with_check(mode="hash", type="sha256", hash=digest)[0] == 0, "the right hash of the host's key")
        code, _, err = with_check(mode="hash", type="sha256", hash="0" * 64)
        expect(code == 1 and "does not match" in err, f"a wrong hash of the host's key: {err}")
        expect(tool(img, "info", f"{at}/disk.raw?host_key_check=sha256:{digest}")[0] == 0, "host_key_check of an URL")
        code, _, err = tool(img, "info", f"{at}/none?host_key_check=no")
        expect(code == 1 and "No such file or directory" in err, f"a missing file by ssh: {err}")
        (home / ".ssh/id_ed25519").unlink()
        code, _, err = tool(img, "info", f"{at}/disk.raw?host_key_check=no")
        expect(code == 1 and "failed to authenticate" in err, f"no key: {err}")
    code, _, err = run(img, "info", f"ssh://127.0.0.1:{free_port()}/x?host_key_check=no")
    expect(code == 1 and "failed to establish SSH session" in err, f"no server: {err}")
    for name, word in (("ssh://127.0.0.1", "missing remote path"), ("ssh:///x", "missing hostname"), ("ssh://h:no/x", "numeric port"),
                       ("ssh://h/x?host_key_check=md6:00", "host_key_check")):
        code, _, err = run(img, "info", name)
        expect(code == 1 and word in err, f"{name}: {err}")


def main():
    img, io = sys.argv[1:3]
    fetched = subprocess.run([HERE.parent.parent / "scripts/foreign-root", "amd64", "bookworm", "nginx-light", "python3-pyftpdlib", "openssh-server", "openssh-client"], stdout=subprocess.PIPE, text=True)
    if fetched.returncode:
        sys.exit("Debian's nginx-light, python3-pyftpdlib and openssh-server cannot be fetched (scripts/foreign-root)")
    root = pathlib.Path(fetched.stdout.strip().splitlines()[-1])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_images(folder)
        web(img, io, root, folder)
        ftp(img, root, folder)
        if run("bwrap", "--unshare-user", "--unshare-pid", "--uid", "1000", "--dev-bind", "/", "/", "true")[0] == 0:
            ssh(img, io, root, folder)
        else:
            print("ssh is not tested: bwrap cannot make a user namespace here")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
