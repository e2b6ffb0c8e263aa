#!/usr/bin/python3
"""Filter nodes: throttle, copy-on-read, blkdebug, blkverify, quorum, raw with offset and size, discard and detect-zeroes.

  filters.py MYNA_IO

The same commands run with qemu-io and with myna-io, each on files of its own; exit codes and the bytes and allocation that
are left must agree. Speeds are measured against the limit that was asked for.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

IO = {"myna": sys.argv[1], "qemu": shutil.which("qemu-io")}
problems = []


def run(*command, cwd):
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def both(top, name, prepare, steps, files=(), maps=()):
    """`steps`: argument lists of the io tool. What is left of `files` (raw bytes) and `maps` (qcow2) must agree."""
    results = {}
    for tool in IO:
        d = top / f"{name}-{tool}"
        d.mkdir()
        for command in prepare:
            subprocess.run(command, shell=True, cwd=d, check=True, stdout=subprocess.DEVNULL)
        codes = []
        for step in steps:
            code, out = run(IO[tool], *step, cwd=d)
            codes.append((code, "Pattern verification failed" in out, "Input/output error" in out))
        left = {f: (d / f).read_bytes() for f in files}
        for m in maps:
            left[m] = [{k: e[k] for k in ("start", "length", "depth", "zero", "data")} for e in json.loads(run("qemu-img", "map", "--output=json", m, cwd=d)[1])]
        results[tool] = (codes, left)
    for i, step in enumerate(steps):
        if results["myna"][0][i] != results["qemu"][0][i]:
            problems.append(f"{name}: {' '.join(step)}: qemu {results['qemu'][0][i]}, myna {results['myna'][0][i]}")
    for f in results["qemu"][1]:
        if results["myna"][1][f] != results["qemu"][1][f]:
            problems.append(f"{name}: {f} differs afterwards: {results['myna'][1][f] if f in maps else ''} {results['qemu'][1][f] if f in maps else ''}")
    return results


def opts(text):
    return ["--image-opts", text]


def main():
    with tempfile.TemporaryDirectory(prefix="myna-filters-") as t:
        top = pathlib.Path(t)
        base = "qemu-img create -q -f raw base.raw 4M; qemu-io -f raw -c 'write -P 0x11 0 3M' base.raw"
        chain = [base, "qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2"]
        cor = "driver=copy-on-read,file.driver=qcow2,file.file.driver=file,file.file.filename=top.qcow2"
        both(top, "copy-on-read", chain, [["-c", "write -P 0x22 70k 10k", "-c", "read -P 0x11 0 1k", "-c", "read -P 0x22 70k 10k", "-c", "read -P 0x11 1000k 300k", "-c", "read -P 0 3500k 4k", *opts(cor)]],
             maps=["top.qcow2"])
        both(top, "copy-on-read-flag", chain, [["-C", "-f", "qcow2", "-c", "read -P 0x11 200k 1k", "top.qcow2"], ["-r", "-C", "-f", "qcow2", "-c", "read 0 1k", "top.qcow2"]], maps=["top.qcow2"])

        two = ["qemu-img create -q -f raw a.raw 1M; qemu-img create -q -f qcow2 b.qcow2 1M"]
        verify = "driver=blkverify,test.driver=qcow2,test.file.driver=file,test.file.filename=b.qcow2,raw.driver=file,raw.filename=a.raw"
        both(top, "blkverify", two, [["-c", "write -P 5 10k 50k", "-c", "read -P 5 10k 50k", "-c", "read -P 0 60k 10k", *opts(verify)]], files=["a.raw"])
        for tool in IO:  # a difference stops both, in their own ways
            d = top / f"verify-differs-{tool}"
            d.mkdir()
            subprocess.run(two[0] + "; qemu-io -f raw -c 'write -P 9 0 1k' a.raw", shell=True, cwd=d, check=True, stdout=subprocess.DEVNULL)
            code, out = run(IO[tool], "-c", "read 0 4k", *opts(verify), cwd=d)
            if code == 0 or (tool == "myna" and "Input/output error" not in out):
                problems.append(f"blkverify with a difference: {tool}: {code} {out}")

        three = ["for i in 0 1 2; do qemu-img create -q -f raw $i.raw 1M; qemu-io -f raw -c 'write -P 7 0 1M' $i.raw; done; qemu-io -f raw -c 'write -P 8 64k 4k' 1.raw"]
        children = "".join(f",children.{i}.driver=raw,children.{i}.file.driver=file,children.{i}.file.filename={i}.raw" for i in range(3))
        quorum = f"driver=quorum,vote-threshold=2{children}"
        both(top, "quorum", three, [["-c", "read -P 7 0 1M", "-c", "write -P 6 100k 10k", "-c", "read -P 6 100k 10k", *opts(quorum)]], files=["0.raw", "1.raw", "2.raw"])
        both(top, "quorum-rewrite", three, [["-c", "read -P 7 64k 4k", *opts(quorum + ",rewrite-corrupted=on")]], files=["0.raw", "1.raw", "2.raw"])
        both(top, "quorum-fifo", three, [["-c", "read -P 7 0 1M", *opts(quorum + ",read-pattern=fifo")]])
        both(top, "quorum-all", three, [["-c", "read -P 7 64k 4k", *opts(quorum.replace("threshold=2", "threshold=3"))], ["-c", "read 0 4k", *opts(quorum.replace("threshold=2", "threshold=4"))],
                                        ["-c", "read 0 4k", *opts(quorum.replace("threshold=2", "threshold=0"))]])

        one = ["qemu-img create -q -f raw d.raw 1M"]
        debug = "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=d.raw,"
        both(top, "blkdebug", one, [
            ["-c", "write -P 1 0 4k", "-c", "write -P 2 64k 4k", "-c", "read -P 2 64k 4k", *opts(debug + "file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.once=on")],
            ["-c", "write -P 1 128k 4k", "-c", "flush", *opts(debug + "file.inject-error.0.event=none,file.inject-error.0.iotype=flush")],
            ["-c", "read 64k 4k", *opts(debug + "file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector=129")],
            ["-c", "read 68k 4k", *opts(debug + "file.inject-error.0.event=none,file.inject-error.0.iotype=read,file.inject-error.0.sector=129")],
            ["-c", "read 64k 4k", *opts(debug + "file.inject-error.0.event=nonsense")],
            ["-c", "read 64k 4k", *opts(debug + "file.inject-error.0.event=none,file.inject-error.0.iotype=nonsense")],
            ["-c", "read -P 2 64k 4k", "-c", "write -P 3 100 10", *opts(debug + "file.align=4096")],
        ], files=["d.raw"])
        # What a format is doing when the error comes: the same request fails in both, and the image stays whole.
        one = ["qemu-img create -q -f qcow2 e.qcow2 1M"]
        debug = "driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename=e.qcow2,"
        both(top, "blkdebug-events", one, [
            ["-c", "write -P 1 0 4k", "-c", "read -P 0 0 4k", *opts(debug + "file.inject-error.0.event=write_aio,file.inject-error.0.once=on")],
            ["-c", "write -P 1 0 4k", "-c", "write -P 2 64k 4k", "-c", "read -P 2 64k 4k", *opts(debug + "file.inject-error.0.event=write_aio,file.inject-error.0.once=on,file.inject-error.0.errno=28")],
            ["-c", "write -P 1 128k 4k", "-c", "flush", *opts(debug + "file.inject-error.0.event=l2_update,file.inject-error.0.errno=5")],
            ["-c", "read 64k 4k", *opts(debug + "file.inject-error.0.event=read_aio,file.inject-error.0.iotype=read")],
            ["-c", "read 64k 4k", *opts(debug + "file.inject-error.0.event=nonsense")],
            ["-c", "read 64k 4k", "-c", "read 64k 4k", *opts(debug + "file.set-state.0.event=l2_load,file.set-state.0.state=1,file.set-state.0.new_state=2,file.inject-error.0.event=read_aio,file.inject-error.0.state=2")],
        ])
        for tool in IO:
            code, out = run("qemu-img", "check", "e.qcow2", cwd=top / f"blkdebug-events-{tool}")
            if code not in (0, 3):
                problems.append(f"after injected errors: {tool}: {out}")
        config = ["qemu-img create -q -f raw d.raw 1M; printf '[inject-error]\\nevent = \"none\"\\niotype = \"write\"\\nsector = \"8\"\\nerrno = \"5\"\\n' > rules"]
        both(top, "blkdebug-config", config, [["-f", "raw", "-c", "write -P 1 0 4k", "blkdebug:rules:d.raw"], ["-f", "raw", "-c", "write -P 1 0 8k", "blkdebug:rules:d.raw"],
                                               ["-f", "raw", "-c", "read 0 8k", "blkdebug:rules:d.raw"]])

        both(top, "blkdebug-named", ["qemu-img create -q -f qcow2 d.qcow2 1M"], [
            ["-c", "open -o driver=blkdebug,image.driver=qcow2,align=4k blkdebug::d.qcow2", "-c", "write -P 3 1000 128k", "-c", "read -P 3 1000 128k"],
            ["-c", "open -o driver=qcow2,file.align=4k blkdebug::d.qcow2", "-c", "read -P 3 1000 128k"]])

        window = ["qemu-img create -q -f raw w.raw 1M; qemu-io -f raw -c 'write -P 3 0 1M' w.raw"]
        raw = "driver=raw,offset=65536,size=131072,file.driver=file,file.filename=w.raw"
        both(top, "window", window, [["-c", "write -P 4 0 4k", "-c", "write -P 5 124k 4k", "-c", "read -P 3 8k 4k", "-c", "length", *opts(raw)], ["-c", "read 128k 512", *opts(raw)], ["-c", "truncate 2M", *opts(raw)],
                                     ["-c", "length", *opts(raw.replace("131072", "2097152"))], ["-c", "length", *opts(raw.replace("131072", "lots"))]], files=["w.raw"])

        zeroes = ["qemu-img create -q -f qcow2 z.qcow2 4M; qemu-io -f qcow2 -c 'write -P 3 0 2M' z.qcow2"]
        plain = "driver=qcow2,file.driver=file,file.filename=z.qcow2"
        both(top, "detect-zeroes", zeroes, [["-c", "write -P 0 0 64k", *opts(plain + ",detect-zeroes=on")], ["-c", "write -P 0 128k 64k", *opts(plain + ",discard=unmap,detect-zeroes=unmap")],
                                            ["-c", "discard 512k 128k", *opts(plain + ",discard=ignore")], ["-c", "discard 1M 128k", *opts(plain + ",discard=unmap")],
                                            ["-c", "read 0 4k", *opts(plain + ",discard=off,detect-zeroes=unmap")], ["-c", "read 0 4k", *opts(plain + ",detect-zeroes=maybe")]], maps=["z.qcow2"])

        # 1 MiB at 512 KiB a second, of which a tenth of a second's worth is let through at once: 1.8 s for 60 requests.
        d = top / "throttle"
        d.mkdir()
        subprocess.run("qemu-img create -q -f raw t.raw 4M", shell=True, cwd=d, check=True)
        began = time.monotonic()
        writes = [x for i in range(16) for x in ("-c", f"write {i * 64}k 64k")]
        node = "driver=throttle,limits.bps-total=524288,file.driver=raw,file.file.driver=file,file.file.filename=t.raw"
        code, out = run(IO["myna"], *writes, *opts(node), cwd=d)
        took = time.monotonic() - began
        if code != 0 or took < 1.5:
            problems.append(f"throttle: took {took:.2f} s: {out if code else ''}")
        for bad in ("bps-total=1,limits.bps-read=1", "bps-total-max=1", "bps-total=10,limits.bps-total-max=5", "nonsense=1"):
            if run(IO["myna"], "-c", "read 0 1k", *opts(node.replace("bps-total=524288", bad)), cwd=d)[0] == 0:
                problems.append(f"throttle: {bad} was taken")
        for tool in IO:
            began = time.monotonic()
            code, out = run(IO[tool], "--object", "throttle-group,id=g,x-bps-total=524288", *writes, *opts("driver=throttle,throttle-group=g,file.driver=raw,file.file.driver=file,file.file.filename=t.raw"), cwd=d)
            took = time.monotonic() - began
            if code != 0 or took < 1.5:
                problems.append(f"throttle-group: {tool} took {took:.2f} s: {out if code else ''}")
        for bad in ("x-bps-total=1,x-bps-read=1", "x-bps-total-max=1", "x-bps-total=10,x-bps-total-max=5", "nonsense=1"):
            codes = {tool: run(IO[tool], "--object", f"throttle-group,id=g,{bad}", "-c", "read 0 1k", d / "t.raw", cwd=d)[0] for tool in IO}
            if codes["myna"] != codes["qemu"]:
                problems.append(f"throttle-group,{bad}: {codes}")
    print(f"{len(problems)} problems")
    for p in problems:
        print(p)
    return 1 if problems else 0


sys.exit(main())
