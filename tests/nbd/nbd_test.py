#!/usr/bin/python3
"""The NBD server against real clients, and the NBD client against real servers.

  nbd_test.py BIN_DIR server|client|tls|hostile      MYNA_TEST_SEED repeats a run

server: nbdinfo, nbdcopy, libnbd's Python module, qemu-img, qemu-io and fio against myna-nbd
client: myna-io over nbd:// against qemu-nbd, nbdkit and myna-nbd; a server that dies
tls:    certificates and pre-shared keys in both directions
hostile: peers that lie, in both directions; each must end in an error and leave the server serving
"""
import json
import os
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import time

from support import SEED, expect, finish, folder, need, run, same, server

BIN = pathlib.Path(sys.argv[1])
NBD, IO, IMG = BIN / "myna-nbd", BIN / "myna-io", BIN / "myna-img"
MIB = 1 << 20


def image_with_holes(path, rng, size=24 * MIB):
    with open(path, "wb") as f:
        f.truncate(size)
        for _ in range(12):
            f.seek(rng.randrange(size // 4096 - 64) * 4096)
            f.write(rng.randbytes(rng.randrange(1, 200000)))
        f.truncate(size)


def test_server(d, rng):
    need("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "fio")
    import nbd
    sock, uri = d / "s", f"nbd+unix:///?socket={d}/s"
    raw, copy, qcow2 = d / "raw", d / "copy", d / "qcow2"
    image_with_holes(raw, rng)
    run("qemu-img", "convert", "-O", "qcow2", raw, qcow2)

    # What clients are told is what they are told by qemu-nbd.
    for fmt, image, more in (("raw", raw, []), ("qcow2", qcow2, ["-x", "a name", "-D", "some text"]), ("qcow2", qcow2, ["-A", "-r"]), ("raw", raw, ["-e", "5", "-o", "1048576"])):
        told = []
        name = more[1].replace(" ", "%20") if more[:1] == ["-x"] else ""
        for program in (NBD, "qemu-nbd"):
            with server(sock, program, "-t", "-f", fmt, "-k", sock, *more, image):
                info = json.loads(run("nbdinfo", "--json", "--list", f"nbd+unix:///?socket={sock}").stdout)
                listed = run(NBD, "-L", "-k", sock).stdout
                by_peer = run("qemu-nbd", "-L", "-k", sock).stdout
                expect(listed == by_peer, f"-L of myna-nbd and qemu-nbd differ at {program}:\n{listed}{by_peer}")
                for e in info["exports"]:
                    e.pop("export-size-str", None)
                    e.pop("content", None)
                told.append(info)
        expect(told[0] == told[1], f"nbdinfo {fmt} {more}:\n{told[0]}\n{told[1]}")
        del name

    # Copies, both ways, with one and with several connections; holes stay holes.
    for fmt, image in (("raw", raw), ("qcow2", qcow2)):
        with server(sock, NBD, "-t", "-e", "0", "-f", fmt, "-k", sock, "-A", image):
            for options in ([], ["--connections=1", "--requests=1"], ["--request-size=4096"], ["--synchronous"], ["--no-extents"]):
                copy.unlink(missing_ok=True)
                run("nbdcopy", *options, uri, copy)
                expect(same(raw, copy), f"nbdcopy {options} from {fmt}")
            expect(run("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, uri, check=False).returncode == 0, f"qemu-img compare over {fmt}")
            ours = run("nbdinfo", "--map", uri).stdout
            depth = run("nbdinfo", "--map=qemu:allocation-depth", uri).stdout
        with server(sock, "qemu-nbd", "-t", "-e", "0", "-f", fmt, "-k", sock, "-A", image):
            for context, got in (("base:allocation", ours), ("qemu:allocation-depth", depth)):
                wanted = run("nbdinfo", f"--map={context}", uri).stdout
                expect(got == wanted, f"{context} of {fmt}:\n{got}instead of\n{wanted}")
    for fmt in ("raw", "qcow2"):
        target = d / "target"
        target.unlink(missing_ok=True)
        run("qemu-img", "create", "-q", "-f", fmt, target, str(raw.stat().st_size))
        with server(sock, NBD, "-t", "-e", "0", "-f", fmt, "-k", sock, target):
            # One request at a time to qcow2: many parallel writes into new clusters can still lose one of them (docs/nbd.md).
            run("nbdcopy", "--flush", raw, uri)
        expect(run("qemu-img", "compare", raw, target, check=False).returncode == 0, f"nbdcopy to {fmt}")
        expect(run("qemu-img", "check", target, check=False).returncode in (0, 63), f"check of {fmt} after nbdcopy")

    # Random commands by libnbd against a shadow.
    size = 4 * MIB
    for fmt in ("raw", "qcow2"):
        target = d / "target"
        target.unlink(missing_ok=True)
        run("qemu-img", "create", "-q", "-f", fmt, target, str(size))
        shadow = bytearray(size)
        with server(sock, NBD, "-t", "-f", fmt, "-k", sock, target):
            h = nbd.NBD()
            h.add_meta_context("base:allocation")
            h.connect_uri(uri)
            for _ in range(int(os.environ.get("MYNA_TEST_OPS", 400))):
                at = rng.randrange(size)
                n = min(rng.choice([1, 512, 4096, 65536, rng.randrange(1, 300000)]), size - at)
                kind = rng.choice(["write", "write", "zero", "read", "read", "status", "flush", "cache", "fast"])
                fua = rng.choice([0, nbd.CMD_FLAG_FUA])
                if kind == "write":
                    data = rng.randbytes(n)
                    h.pwrite(data, at, fua)
                    shadow[at:at + n] = data
                elif kind == "zero":
                    h.zero(n, at, fua | rng.choice([0, nbd.CMD_FLAG_NO_HOLE]))
                    shadow[at:at + n] = bytes(n)
                elif kind == "fast":
                    try:
                        h.zero(n, at, nbd.CMD_FLAG_FAST_ZERO)
                        shadow[at:at + n] = bytes(n)
                    except nbd.Error as e:
                        expect(e.errno == "ENOTSUP", f"fast zero: {e}")
                elif kind == "read":
                    chunks = []
                    got = h.pread(n, at) if rng.random() < 0.5 else h.pread_structured(n, at, lambda b, o, s, e: chunks.append((o, len(b))), nbd.CMD_FLAG_DF)
                    expect(len(chunks) < 2, f"{fmt}: a read that must not be fragmented came as {chunks}")
                    expect(got == shadow[at:at + n], f"{fmt}: read of {n} at {at}")
                elif kind == "cache":
                    h.cache(n, at)
                elif kind == "flush":
                    h.flush()
                else:
                    runs = []
                    h.block_status(n, at, lambda ctx, offset, entries, err: runs.extend(zip(entries[::2], entries[1::2])))
                    where = at
                    for length, flags in runs:
                        if flags & 2:
                            expect(not any(shadow[where:where + length][:max(0, at + n - where)]), f"{fmt}: zero by block status at {where}")
                        where += length
            # Errors come as the right ones, and the connection lives on.
            h.set_strict_mode(0)
            for what, wanted in ((lambda: h.pread(1, size), "EINVAL"), (lambda: h.pwrite(b"x", size), "ENOSPC"), (lambda: h.pread(64 * MIB, 0), "EINVAL"),
                                 (lambda: h.zero(2, size - 1), "ENOSPC"), (lambda: h.cache(1, size), "EINVAL")):
                try:
                    what()
                    expect(False, f"no error where {wanted} is due")
                except nbd.Error as e:
                    expect(e.errno in (wanted, "ERANGE"), f"{e} instead of {wanted}")
            expect(h.pread(size - 7, 7) == shadow[7:], f"{fmt}: everything at the end")
            h.shutdown()
        run("qemu-img", "convert", "-f", fmt, "-O", "raw", target, copy)
        expect(copy.read_bytes() == shadow, f"{fmt}: the file after the server ended")

    # Many requests at a time; a second client waits or is served; life cycle.
    run("qemu-img", "create", "-q", "-f", "qcow2", qcow2, "32M")
    with server(sock, NBD, "-t", "-e", "4", "-f", "qcow2", "-k", sock, qcow2):
        run("fio", "--name=t", "--ioengine=nbd", f"--uri={uri}", "--rw=randrw", "--bs=4k", "--iodepth=32", "--size=32M", "--io_size=8M", "--verify=crc32c",
            "--verify_fatal=1", "--serialize_overlap=1", "--output=/dev/null", cwd=d)
    expect(run("qemu-img", "check", qcow2).returncode == 0, "check after fio")
    with server(sock, NBD, "-f", "raw", "-k", sock, raw) as process:
        run("nbdinfo", "--size", uri)
        process.wait(10)
        expect(process.returncode == 0, "not persistent: ends with its client")
    expect(not sock.exists(), "the socket is removed")
    run(NBD, "--fork", "--pid-file", d / "pid", "-f", "raw", "-k", sock, raw)
    expect(run("nbdinfo", "--size", uri).stdout == f"{raw.stat().st_size}\n", "a forked server serves")
    run("qemu-img", "bitmap", "--add", "--enable", "-f", "qcow2", qcow2, "b0")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", "-c", "write -P 2 1M 128k", qcow2)
    run("qemu-img", "snapshot", "-c", "snap", qcow2)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 3 0 64k", qcow2)
    maps = []
    for program in (NBD, "qemu-nbd"):
        with server(sock, program, "-t", "-r", "-f", "qcow2", "-B", "b0", "-k", sock, qcow2):
            maps.append(run("nbdinfo", "--map=qemu:dirty-bitmap:b0", uri).stdout)
        with server(sock, program, "-t", "-f", "qcow2", "-l", "snap", "-k", sock, qcow2):
            run("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 64k", uri)
    expect(maps[0] == maps[1], f"qemu:dirty-bitmap:\n{maps[0]}{maps[1]}")
    # One that an image behind the exported one has.
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", qcow2, "-F", "qcow2", d / "over")
    behind = []
    for program in (NBD, "qemu-nbd"):
        with server(sock, program, "-t", "-r", "-f", "qcow2", "-k", sock, "-B", "b0", d / "over"):
            behind.append(run("nbdinfo", "--map=qemu:dirty-bitmap:b0", uri).stdout)
    expect(behind[0] == behind[1], f"bitmap of a backing file:\n{behind[0]}{behind[1]}")
    with server(sock, NBD, "-s", "-t", "-f", "qcow2", "-k", sock, qcow2):
        before = qcow2.read_bytes()
        run("qemu-io", "-f", "raw", "-c", "write -P 9 0 64k", "-c", "read -P 9 0 64k", uri)
        expect(qcow2.read_bytes() == before, "-s leaves the image alone")
    with server(sock, NBD, "-t", "-f", "raw", "--detect-zeroes=unmap", "-k", sock, raw):
        run("qemu-io", "-f", "raw", "-c", f"write -P 0 0 {raw.stat().st_size}", uri)
    expect(raw.stat().st_blocks == 0, "--detect-zeroes=unmap makes holes")
    for words, wanted in ((["nonexistent"], "Could not open 'nonexistent': No such file"), (["-c", "/dev/nonexistent", raw], "Failed to open /dev/nonexistent"),
                          (["-d", "/dev/nonexistent"], "/dev/nonexistent"), (["-B", "b", "-k", sock, raw], "Bitmap 'b' is not found"), (["--formt=raw", raw], "Did you mean '--format'"),
                          ([], "Invalid number of arguments"), (["-k", sock, "-p", "1", raw], "Unix socket can't be used"), (["--cache=x", raw], "Invalid cache mode"),
                          (["--fork", "nonexistent"], "No such file")):
        done = run(NBD, *words, check=False)
        expect(done.returncode == 1 and wanted in done.stderr, f"{words}: {done}")


def test_client(d, rng):
    need("qemu-nbd", "nbdkit", "qemu-img")
    sock, uri = d / "s", f"nbd+unix:///?socket={d}/s"
    raw, out = d / "raw", d / "out"
    image_with_holes(raw, rng)
    kit = ["nbdkit", "-f", "-U", sock]
    servers = [("qemu-nbd", ["qemu-nbd", "-t", "-f", "raw", "-k", sock, raw]), ("myna-nbd", [NBD, "-t", "-f", "raw", "-k", sock, raw]), ("nbdkit", [*kit, "file", raw]),
               ("nbdkit without structured replies", [*kit, "--no-sr", "file", raw]), ("nbdkit old style", [*kit, "-o", "file", raw]),
               ("nbdkit that knows one option", [*kit, "--mask-handshake=0", "file", raw]), ("nbdkit that sends no zeroes", [*kit, "--mask-handshake=2", "file", raw]),
               ("nbdkit without zero and trim", [*kit, "--filter=nozero", "--filter=nocache", "file", raw]),
               ("nbdkit with 4 KiB blocks", [*kit, "--filter=blocksize-policy", "file", raw, "blocksize-minimum=4096", "blocksize-preferred=4096", "blocksize-maximum=1M"])]
    for name, command in servers:
        with server(sock, *command):
            size = raw.stat().st_size
            at = rng.randrange(size - MIB)
            with open(raw, "rb") as f:
                f.seek(at)
                data = f.read(600)
            old = "old style" in name  # nbdkit 1.32 offers flush and FUA to old-style clients and refuses them, libnbd's too: only read
            got = run(IO, *(["-r"] if old else []), "-f", "raw", "-c", f"read -v {at} 600", "-c", "length", uri).stdout
            dumped = bytes(int(x, 16) for line in got.splitlines() if re.match(r"[0-9a-f]{8}: ", line) for x in line[11:].split("  ")[0].split()[:16] if re.fullmatch("[0-9a-f]{2}", x))
            expect(dumped[:600] == data, f"{name}: read at {at}")
            expect("24 MiB" in got, f"{name}: size")
            if old:
                continue
            run(IO, "-f", "raw", "-c", "write -P 1 1000 5000", "-c", "write -z 64k 200k", "-c", "discard 1M 1M", "-c", "write -f -P 2 2M 3M", "-c", "read -P 1 1000 5000", "-c", "read -P 0 64k 200k",
                "-c", "read -P 2 2M 3M", "-c", *[x for i in range(20) for x in (f"aio_write -q -P {i} {6 * MIB + i * 70000} 70000", "-c")], "aio_flush", "-c", "flush",
                *[x for i in range(20) for x in ("-c", f"read -P {i} {6 * MIB + i * 70000} 70000")], "-c", "map", uri)
        image_with_holes(raw, rng)
    # A format over the network, and how names are written.
    run("qemu-img", "create", "-q", "-f", "qcow2", d / "q", "8M")
    run("qemu-io", "-c", "write -P 7 1M 1M", d / "q")
    with server(sock, "qemu-nbd", "-t", "-f", "raw", "-x", "exp", "-k", sock, d / "q"):
        for words in ([f"nbd+unix:///exp?socket={sock}"], [f"nbd:unix:{sock}:exportname=exp"], ["--image-opts", f"driver=qcow2,file.driver=nbd,file.server.type=unix,file.server.path={sock},file.export=exp"],
                      [f'json:{{"driver":"qcow2","file":{{"driver":"nbd","export":"exp","server":{{"type":"unix","path":"{sock}"}}}}}}']):
            run(IO, "-r", "-c", "read -P 7 1M 1M", "-c", "read -P 0 0 1M", *words)
        for name, wanted in ((f"nbd+unix:///other?socket={sock}", "export"), (f"nbd+unix:///exp?socket={sock}x", "No such file"), ("nbd+unix:///x", "socket"), ("nbd://", "host")):
            done = run(IO, "-c", "length", name, check=False)
            expect(done.returncode == 1 and wanted in done.stderr, f"{name}: {done}")
    # A server for one client serves one command, also where the format has to be guessed.
    for command in ([IMG, "info"], [IMG, "map"], [IO, "-r", "-c", "read -P 7 1M 1M"], [IMG, "convert", "-O", "raw", "TARGET"]):
        with server(sock, "qemu-nbd", "-f", "raw", "-k", sock, d / "q"):
            run(*command[:-1], *([uri, out] if command[-1] == "TARGET" else [command[-1], uri]))
    # A dirty bitmap looked at through "map", and one that is not there.
    run("qemu-img", "bitmap", "--add", "-g", "64k", d / "q", "b")
    run("qemu-io", "-c", "write -P 8 2M 128k", "-c", "write -P 8 5M 1k", d / "q")
    with server(sock, "qemu-nbd", "-t", "-r", "-f", "qcow2", "-B", "b", "-k", sock, d / "q"):
        for context in ("qemu:dirty-bitmap:b", "base:allocation"):
            words = ["map", "--output=json", "--image-opts", f"driver=nbd,server.type=unix,server.path={sock},x-dirty-bitmap={context}"]
            expect(run(IMG, *words).stdout == run("qemu-img", *words).stdout, f"map of {context}")
        words[-1] = words[-1].replace("base:allocation", "qemu:dirty-bitmap:c")
        done = run(IMG, *words, check=False)
        expect(done.returncode == 1 and "requested x-dirty-bitmap qemu:dirty-bitmap:c not found" in done.stderr, f"no such bitmap: {done}")
    # A server that goes away: an error without patience, none with it.
    command = ["qemu-nbd", "-t", "-f", "raw", "-k", sock, raw]
    for delay in (0, 10):
        with server(sock, *command) as first:
            io = subprocess.Popen([IO, "--image-opts", f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={sock},file.reconnect-delay={delay}"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            io.stdin.write("read 0 512\n")
            io.stdin.flush()
            time.sleep(0.5)
            first.kill()
            first.wait()
        io.stdin.write("read 512 512\n")
        io.stdin.flush()
        time.sleep(0.5)
        with server(sock, *command):
            io.stdin.write("quit\n")
            text, errors = io.communicate(timeout=20)
        expect(("read 512/512 bytes at offset 512" in text) == (delay > 0), f"reconnect-delay={delay}: {text}{errors}")


def test_tls(d, rng):
    need("certtool", "psktool", "nbdinfo", "qemu-nbd", "nbdkit")
    sock = d / "s"
    raw = d / "raw"
    image_with_holes(raw, rng, 4 * MIB)
    pki = d / "pki"
    pki.mkdir()
    quiet = dict(cwd=pki)
    (pki / "ca.info").write_text("cn = Test CA\nca\ncert_signing_key\n")
    run("certtool", "--generate-privkey", "--outfile", "ca-key.pem", **quiet)
    run("certtool", "--generate-self-signed", "--load-privkey", "ca-key.pem", "--template", "ca.info", "--outfile", "ca-cert.pem", **quiet)
    for who, role in (("server", "tls_www_server"), ("client", "tls_www_client")):
        (pki / f"{who}.info").write_text(f"organization = Tests\ncn = localhost\ndns_name = localhost\nip_address = 127.0.0.1\n{role}\nencryption_key\nsigning_key\n")
        run("certtool", "--generate-privkey", "--outfile", f"{who}-key.pem", **quiet)
        run("certtool", "--generate-certificate", "--load-ca-certificate", "ca-cert.pem", "--load-ca-privkey", "ca-key.pem", "--load-privkey", f"{who}-key.pem", "--template", f"{who}.info",
            "--outfile", f"{who}-cert.pem", **quiet)
    psk = d / "psk"
    psk.mkdir()
    run("psktool", "-u", "alice", "-p", psk / "keys.psk")
    bare = d / "bare"
    bare.mkdir()
    shutil.copy(pki / "ca-cert.pem", bare)

    def port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def wait_for(n):
        deadline = time.time() + 30
        while time.time() < deadline:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", n)) == 0:
                    return
            time.sleep(0.05)
        expect(False, f"no server at port {n}")

    def x509(end, folder=pki):
        return ["--object", f"tls-creds-x509,id=t,endpoint={end},dir={folder},verify-peer=yes"]

    def key(end):
        return ["--object", f"tls-creds-psk,id=t,endpoint={end},dir={psk}" + (",username=alice" if end == "client" else "")]

    for kind in (x509, key):
        for program in (NBD, "qemu-nbd"):
            n = port()
            process = subprocess.Popen([str(x) for x in (program, "-t", "-f", "raw", "-b", "127.0.0.1", "-p", n, *kind("server"), "--tls-creds", "t", raw)], stderr=subprocess.DEVNULL)
            try:
                wait_for(n)
                opts = f"driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=127.0.0.1,file.server.port={n},file.tls-creds=t"
                run(IO, *kind("client"), "--image-opts", "-r", "-c", "read -q 0 4M", opts)
                run("qemu-io", *kind("client"), "--image-opts", "-r", "-c", "read -q 0 4M", opts)
                plain = run(IO, "-r", "-c", "length", f"nbd://127.0.0.1:{n}", check=False)
                expect(plain.returncode == 1 and "TLS" in plain.stderr, f"without TLS at {program}: {plain}")
                if kind is x509:
                    nobody = run(IO, *x509("client", bare), "--image-opts", "-r", "-c", "length", opts, check=False)
                    expect(nobody.returncode == 1, f"a client without a certificate at {program}")
                    listed = run(NBD, "-L", *x509("client"), "--tls-creds", "t", "-b", "127.0.0.1", "-p", n).stdout
                    expect("exports available: 1" in listed, f"-L with TLS: {listed}")
                else:
                    run("nbdinfo", f"nbds://alice@127.0.0.1:{n}/?tls-psk-file={psk}/keys.psk")
            finally:
                process.terminate()
                process.wait(60)
    # Authorisation by name, which is the whole distinguished name in the order of the certificate.
    for identity, wanted in (("O=Tests,CN=localhost", 0), ("CN=localhost,O=Tests", 1), ("O=Tests,CN=somebody", 1)):
        for program in (NBD, "qemu-nbd"):
            n = port()
            process = subprocess.Popen([str(x) for x in (program, "-t", "-f", "raw", "-b", "127.0.0.1", "-p", n, *x509("server"), "--tls-creds", "t", "--object",
                                                         f"authz-simple,id=z,identity={identity.replace(',', ',,')}", "--tls-authz", "z", raw)], stderr=subprocess.DEVNULL)
            try:
                wait_for(n)
                done = run(IO, *x509("client"), "--image-opts", "-r", "-c", "length",
                           f"driver=raw,file.driver=nbd,file.server.type=inet,file.server.host=127.0.0.1,file.server.port={n},file.tls-creds=t", check=False)
                expect(done.returncode == wanted, f"authz-simple {identity} at {program}: {done}")
            finally:
                process.terminate()
                process.wait(20)
    with server(sock, "nbdkit", "-f", "-U", sock, "--tls=require", f"--tls-psk={psk}/keys.psk", "file", raw):
        run(IO, *key("client"), "--image-opts", "-r", "-c", "read -q 0 4M", f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={sock},file.tls-creds=t")
    # Over a socket of this machine nobody knows whose certificate it must be, unless it is said.
    with server(sock, "qemu-nbd", "-t", "-f", "raw", "-k", sock, *x509("server"), "--tls-creds", "t", raw):
        opts = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={sock},file.tls-creds=t"
        done = run(IO, *x509("client"), "--image-opts", "-r", "-c", "read -q 0 4M", opts, check=False)
        expect(done.returncode == 1 and "No hostname for certificate validation" in done.stderr, f"a certificate of anybody: {done}")
        run(IO, *x509("client"), "--image-opts", "-r", "-c", "read -q 0 4M", opts + ",file.tls-hostname=localhost")
        done = run(IO, *x509("client"), "--image-opts", "-r", "-c", "read -q 0 4M", opts + ",file.tls-hostname=example.org", check=False)
        expect(done.returncode == 1 and "does not match the hostname example.org" in done.stderr, f"a certificate of another host: {done}")
    done = run(NBD, *x509("client"), "--tls-creds", "t", "-f", "raw", raw, check=False)
    expect(done.returncode == 1 and "endpoint" in done.stderr, f"client credentials for a server: {done}")


def test_hostile(d, rng):
    sock, uri = d / "s", f"nbd+unix:///?socket={d}/s"
    raw = d / "raw"
    image_with_holes(raw, rng, 4 * MIB)
    go = struct.pack(">QIIIH", 0x49484156454F5054, 7, 6, 0, 0)
    hello = struct.pack(">I", 3)

    def option(number, data=b"", length=None):
        return struct.pack(">QII", 0x49484156454F5054, number, len(data) if length is None else length) + data

    def request(command, offset=0, length=0, flags=0, magic=0x25609513):
        return struct.pack(">IHHQQI", magic, flags, command, 1, offset, length)

    attacks = [b"", b"\xff" * 4, hello + b"x" * 100, hello + option(3, length=0xffffffff), hello + option(7, b"\xff" * 64), hello + option(6, struct.pack(">I", 1 << 30)),
               hello + option(10, struct.pack(">II", 0, 0xffffffff)), hello + option(8) + option(10, struct.pack(">III", 0, 0xffffffff, 0xffffffff)), hello + option(99, b"y" * 5000),
               hello + option(1, b"nonexistent"), hello + go + b"z" * 28, hello + go + request(1, 0, 0xffffffff), hello + go + request(1, 0, 33 << 20) + b"w" * 1000,
               hello + go + request(0, 0, 0xffffffff), hello + go + request(0, 2**64 - 1, 2), hello + go + request(77), hello + go + request(0, 0, 4096, 0xffff) + request(7, 0, 4096),
               hello + go + request(1, 0, 1 << 20) + b"short", hello + option(5), hello + option(8) + option(8) + go + request(7, 0, 4096), hello + option(11) + go + b"\0" * 32]
    with server(sock, NBD, "-t", "-e", "0", "-f", "raw", "-k", sock, raw) as process:
        for attack in attacks + [hello + go + rng.randbytes(rng.randrange(1, 4000)) for _ in range(100)] + [hello + option(rng.randrange(12), rng.randbytes(rng.randrange(64))) for _ in range(100)]:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(sock))
                s.settimeout(5)
                try:
                    s.sendall(attack)
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except (ConnectionError, BrokenPipeError):
                    pass
                except TimeoutError:
                    expect(False, f"the server holds on to a client that sent {attack[:40]!r}")
        expect(process.poll() is None, "the server lives")
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        expect(int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) < 400_000, "the server's memory is bounded")
        run("nbdinfo", "--size", uri)

    # Servers that lie to our client.
    good = struct.pack(">QQH", 0x4E42444D41474943, 0x49484156454F5054, 3)
    ack = struct.pack(">QIII", 0x3E889045565A9, 8, 1, 0)

    def reply(number, kind, data=b"", length=None):
        return struct.pack(">QIII", 0x3E889045565A9, number, kind, len(data) if length is None else length) + data

    refuse11 = reply(11, 0x80000001)
    info = reply(7, 3, struct.pack(">HQH", 0, 1 << 20, 1)) + reply(7, 1)
    start = good + refuse11 + ack + reply(10, 1) + info
    lies = [b"", b"x" * 200, struct.pack(">QQ", 0x4E42444D41474943, 1), good + b"q" * 100, good + reply(11, 1, b"data"), good + refuse11 + reply(8, 1, length=0xffffffff),
            good + refuse11 + ack + reply(10, 4, b"ab"), good + refuse11 + ack + reply(10, 1) + reply(7, 3, b"\0"), good + refuse11 + ack + reply(10, 1) + reply(7, 1),
            good + refuse11 + ack + reply(10, 1) + reply(7, 3, struct.pack(">HIII", 3, 3, 5, 0)), good + refuse11 + ack + reply(10, 1) + reply(7, 3, struct.pack(">HQH", 0, 2**64 - 1, 1)) + reply(7, 1),
            start + b"\0" * 20, start + struct.pack(">IHHQI", 0x668E33EF, 1, 1, 1, 4096 + 8) + struct.pack(">Q", 1 << 40) + b"a" * 4096,
            start + struct.pack(">IHHQI", 0x668E33EF, 1, 1, 1, 0xffffffff) + struct.pack(">Q", 0), start + struct.pack(">IHHQI", 0x668E33EF, 1, 0, 1, 0),
            start + struct.pack(">IHHQI", 0x668E33EF, 1, 2, 1, 12) + struct.pack(">QI", 0, 0xffffffff), start + struct.pack(">IHHQI", 0x668E33EF, 1, 0x8001, 1, 6) + struct.pack(">IH", 5, 65535),
            start + struct.pack(">IHHQI", 0x668E33EF, 0, 0x7777, 1, 4), start + struct.pack(">IIQ", 0x67446698, 0, 99)]
    lies += [start + rng.randbytes(rng.randrange(1, 300)) for _ in range(20)] + [good + rng.randbytes(rng.randrange(1, 300)) for _ in range(20)]
    for lie in lies:
        sock.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(sock))
            s.listen(4)
            client = subprocess.Popen([IO, "-r", "-f", "raw", "-c", "read 0 4096", uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            peer, _ = s.accept()
            peer.settimeout(5)
            try:
                peer.sendall(lie)
                time.sleep(0.02)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
            except OSError:
                pass
            s.close()
            try:
                text, errors = client.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                client.kill()
                expect(False, f"the client waits for a server that sent {lie[:60]!r}")
                continue
            peer.close()
            expect(client.returncode == 1, f"the client takes {lie[-60:]!r}: {client.returncode} {text}{errors}")


def main():
    rng = random.Random(SEED)
    with folder() as d:
        {"server": test_server, "client": test_client, "tls": test_tls, "hostile": test_hostile}[sys.argv[2]](d, rng)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
