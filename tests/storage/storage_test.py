#!/usr/bin/python3
"""myna-storage-daemon against the documented one, and with real clients.

  storage_test.py BIN SUITE      BIN: folder of the programs; SUITE: answers, jobs, exports, options

answers: the same QMP scripts to both daemons; answers, error classes and messages, and events must be the same.
jobs:    jobs under load by NBD clients: what the target has must be what the client wrote (a shadow in memory says), as
         qemu-img reads it. MYNA_TEST_SEED repeats a run, MYNA_TEST_ROUNDS makes it longer.
exports: nbdinfo, nbdcopy, qemu-img over NBD; the FUSE file read and written by dd, cmp and qemu-img (skipped without FUSE).
options: the command line: --daemonize, --pidfile, key=value and JSON forms, errors.
"""
import atexit
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BIN, SUITE = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
OURS, THEIRS = BIN / "myna-storage-daemon", shutil.which("qemu-storage-daemon")
problems = []


def expect(what, got, want):
    if got != want:
        problems.append(f"{what}:\n    got  {got}\n    want {want}")


def sh(line, cwd, check=True):
    r = subprocess.run(line, shell=True, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=60)
    if check and r.returncode != 0:
        problems.append(f"{line}: exit {r.returncode}: {r.stdout}")
    return r.stdout


def nbdinfo(uri, cwd):
    # What it says of the disk's content needs a tool more, and need not be text.
    return json.loads(sh(f"nbdinfo --json --no-content '{uri}'", cwd))["exports"][0]


def end_process(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Daemon:
    """A daemon with a QMP monitor at q.sock of its folder."""

    def __init__(self, binary, cwd, *options):
        self.cwd = cwd
        self.process = subprocess.Popen([str(binary), "--chardev", "socket,id=c,path=q.sock,server=on,wait=off", "--monitor", "chardev=c", *options], cwd=cwd)
        atexit.register(self.process.kill)
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(400):
            try:
                self.socket.connect(os.path.relpath(cwd / "q.sock"))
                break
            except OSError:
                time.sleep(0.05)
        self.socket.settimeout(100)  # a busy machine, not a hang, takes so long
        self.buffer, self.events = b"", []
        self.greeting = self.message()
        self("qmp_capabilities")

    def message(self):
        while b"\n" not in self.buffer:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError("the daemon closed the monitor")
            self.buffer += more
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def raw(self, text):
        self.socket.sendall(text.encode())
        while True:
            m = self.message()
            if "event" not in m:
                return m
            self.events.append(m)

    def __call__(self, command, **arguments):
        return self.raw(json.dumps({"execute": command, "arguments": {k.replace("_", "-"): v for k, v in arguments.items()}}))

    def good(self, command, **arguments):
        m = self(command, **arguments)
        if "return" not in m:
            problems.append(f"{command} {arguments}: {m}")
        return m.get("return")

    def wait(self, event, **data):
        """The first event of that kind and data, heard already or still to come."""
        seen = 0
        while True:
            while seen < len(self.events):
                e = self.events[seen]
                seen += 1
                if e["event"] == event and all(e.get("data", {}).get(k) == v for k, v in data.items()):
                    return e
            self.events.append(self.message())

    def end(self):
        self.socket.close()
        self.process.terminate()
        code = self.process.wait(30)
        if code != 0:
            problems.append(f"the daemon ended with {code}")


def same_shape(m, cwd):
    """What two daemons must have in common of a message."""
    m = dict(m)
    m.pop("timestamp", None)

    def clean(j):
        if isinstance(j, dict):
            grown = ("virtual-size",) if j.get("format") == "file" else ()  # how far a file has grown is each one's own affair
            return {k: clean(v) for k, v in sorted(j.items()) if k not in ("actual-size", "busy", *grown)}
        if isinstance(j, list):
            return [clean(v) for v in j]
        return j
    return re.sub("#block[0-9]+", "#block", json.dumps(clean(m)).replace(str(cwd) + "/", ""))


def answers(top):
    setup = ("qemu-img create -q -f qcow2 a.qcow2 1M; qemu-io -f qcow2 -c 'write -P 1 0 256k' a.qcow2; qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2; "
             "qemu-io -f qcow2 -c 'write -P 2 128k 256k' b.qcow2; qemu-img create -q -f raw t.raw 1M; qemu-img create -q -f qcow2 o.qcow2 1M; qemu-img create -q -f raw small.raw 64k; qemu-img create -q -f raw t2.raw 1M; "
             "qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2")

    def c(command, **a):
        return json.dumps({"execute": command, "arguments": {k.replace("_", "-"): v for k, v in a.items()}})
    unix = {"type": "unix", "data": {"path": "n.sock"}}
    file = lambda name, f: c("blockdev-add", driver="file", node_name=name, filename=f)
    qcow2 = lambda name, f, **a: c("blockdev-add", driver="qcow2", node_name=name, file={"driver": "file", "filename": f}, **a)

    def opened(name, f, **a):
        return {"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": f}, **{k.replace("_", "-"): v for k, v in a.items()}}

    def act(*actions, grouped=False):
        return c("transaction", actions=[{"type": t, "data": d} for t, d in actions], **({"properties": {"completion-mode": "grouped"}} if grouped else {}))
    scripts = {
        "grammar": [c("foo"), "{'execute': 'query-block-exports', 'id': 'x\\'y'}", '{"execute": 5}', '{"arguments": {}}', '{"execute": "query-jobs", "bogus": 1}', '{"execute": "query-jobs", "arguments": []}', "[]",
                    c("query-jobs", bogus=1), c("blockdev-del"), c("blockdev-del", node_name=7), c("qmp_capabilities"), '{"execute": "query-jobs", "id": {"a": [1]}}'],
        "nodes": [c("blockdev-add"), c("blockdev-add", driver="file"), c("blockdev-add", driver="file", filename="a.qcow2"), c("blockdev-add", driver="nope", node_name="x"),
                  c("blockdev-add", driver="file", node_name="fa", filename="a.qcow2", bogus=1), file("fa", "none"), file("fa", "a.qcow2"), file("fa", "a.qcow2"), c("blockdev-add", driver="qcow2", node_name="a", file="fz"),
                  c("blockdev-add", driver="qcow2", node_name="a", file="fa"), c("blockdev-del", node_name="fa"), c("blockdev-del", node_name="zz"), c("query-named-block-nodes", flat=True), c("query-named-block-nodes"),
                  c("block_resize", node_name="a", size=2097152), c("query-named-block-nodes", flat=True), c("block_resize", node_name="zz", size=1), c("blockdev-del", node_name="a"), c("blockdev-del", node_name="fa"), c("query-named-block-nodes"),
                  qcow2("b", "b.qcow2", backing=None), c("blockdev-del", node_name="b"), c("query-block")],
        "exports": [c("query-block-exports"), qcow2("a", "a.qcow2"), c("block-export-add", type="nbd", id="e", node_name="a"), c("nbd-server-stop"), c("nbd-server-start", addr=unix), c("nbd-server-start", addr=unix),
                    c("block-export-add", type="nbd", id="e", node_name="q"), c("block-export-add", type="nbd", id="e", node_name="a", writable=True), c("block-export-add", type="nbd", id="e", node_name="a"), c("query-block-exports"),
                    c("blockdev-del", node_name="a"), c("block-export-del", id="zz"), c("block-export-del", id="e"), ["BLOCK_EXPORT_DELETED"], c("block-export-add", type="nbd", id="e", node_name="a", bitmaps=["none"]), c("nbd-server-stop"), c("blockdev-del", node_name="a")],
        "mirror": [qcow2("a", "a.qcow2"), file("t", "t.raw"), file("s", "small.raw"), c("blockdev-mirror", device="a", target="t", sync="full"), c("blockdev-mirror", job_id="j", device="a", target="a", sync="full"),
                   c("blockdev-mirror", job_id="j", device="a", target="t", sync="what"), c("blockdev-mirror", job_id="j", device="a", target="t", sync="full", granularity=1000),
                   c("blockdev-mirror", job_id="j", device="a", target="t", sync="full"), ["BLOCK_JOB_READY"], c("query-jobs"), c("query-block-jobs"),
                   c("job-finalize", id="j"), c("job-dismiss", id="j"), c("job-complete", id="zz"), c("job-complete", id="j"), ["JOB_STATUS_CHANGE", "null"], c("query-jobs"), c("block-job-cancel", device="j"), c("block-job-complete", device="j"), c("job-pause", id="j"),
                   c("blockdev-mirror", job_id="k", device="a", target="t", sync="full"), ["BLOCK_JOB_READY"], c("block-job-cancel", device="k"), ["JOB_STATUS_CHANGE", "null"],
                   c("blockdev-mirror", job_id="k", device="a", target="t", sync="full"), ["BLOCK_JOB_READY"], c("job-cancel", id="k"), ["JOB_STATUS_CHANGE", "null"]],
        "replaces": [qcow2("a", "a.qcow2"), c("blockdev-add", driver="copy-on-read", node_name="r", file="a"), file("t", "t.raw"), file("s", "t2.raw"),
                     c("blockdev-mirror", job_id="j", device="r", target="t", sync="full", replaces="zz"), c("blockdev-mirror", job_id="j", device="r", target="t", sync="full", replaces="s"),
                     c("blockdev-mirror", job_id="j", device="r", target="t", sync="full", replaces="a"), ["BLOCK_JOB_READY"],
                     c("job-complete", id="j"), ["JOB_STATUS_CHANGE", "null"], c("blockdev-del", node_name="t"), c("blockdev-del", node_name="a"), c("blockdev-del", node_name="r"), c("blockdev-del", node_name="t")],
        "reopen": [qcow2("a", "a.qcow2", read_only=True), qcow2("b", "b.qcow2", backing="a"), c("query-named-block-nodes", flat=True), c("blockdev-reopen", options=[opened("zz", "a.qcow2")]), c("block-dirty-bitmap-add", node="b", name="x"),
                   c("blockdev-reopen", options=[opened("a", "a.qcow2", read_only=False)]), c("query-named-block-nodes", flat=True),
                   c("block-commit", job_id="c", device="b"), ["BLOCK_JOB_READY"], c("job-cancel", id="c"), ["JOB_STATUS_CHANGE", "null"],
                   c("blockdev-reopen", options=[opened("a", "a.qcow2", read_only=True)]), c("blockdev-reopen", options=[opened("b", "b.qcow2", read_only=True, backing="a")]), c("query-named-block-nodes", flat=True),
                   c("blockdev-reopen", options=[opened("b", "b.qcow2", read_only=False, backing="a")]), c("block-dirty-bitmap-remove", node="b", name="x"), c("blockdev-del", node_name="b"), c("blockdev-del", node_name="a")],
        # A base that is only read is written to while the job takes, and afterwards when it became the active layer.
        "commit-read-only": [qcow2("a", "a.qcow2", read_only=True), qcow2("b", "b.qcow2", backing="a"), c("block-commit", job_id="c", device="b"), ["BLOCK_JOB_READY"], c("job-cancel", id="c"), ["JOB_STATUS_CHANGE", "null"],  # qemu leaves it writable here
                             c("block-commit", job_id="c", device="b"), ["BLOCK_JOB_READY"], c("job-complete", id="c"), ["JOB_STATUS_CHANGE", "null"], c("query-named-block-nodes", flat=True)],
        "change-backing": [qcow2("a", "a.qcow2", read_only=True), qcow2("b", "b.qcow2", backing="a", read_only=True), qcow2("c", "c.qcow2", backing="b"), c("change-backing-file", device="c", image_node_name="b", backing_file="other.qcow2"),
                           c("change-backing-file", device="c", image_node_name="zz", backing_file="x"), c("change-backing-file", device="zz", image_node_name="b", backing_file="x"), c("change-backing-file", device="b", image_node_name="c", backing_file="x"),
                           c("change-backing-file", device="c", image_node_name="a", backing_file="x")],
        "commit-behind": [qcow2("c", "c.qcow2"), c("block-commit", job_id="m", device="c", top="b.qcow2", base="a.qcow2"), ["JOB_STATUS_CHANGE", "null"], c("query-named-block-nodes", flat=True),
                          c("block-commit", job_id="c", device="c"), ["BLOCK_JOB_READY"], c("job-complete", id="c"), ["JOB_STATUS_CHANGE", "null"], c("query-named-block-nodes", flat=True)],
        "qom": [c("qom-list", path="/objects"), c("qom-list", path="/nope"), c("qom-list"), c("object-add", qom_type="secret", id="s", data="abc"), c("object-add", qom_type="throttle-group", id="g", limits={"bps-total": 1000}),
                c("object-add", qom_type="authz-simple", id="z", identity="me"), c("object-add", qom_type="tls-creds-anon", id="t", endpoint="server"), c("object-add", qom_type="tls-creds-anon", id="u"),
                c("qom-list", path="/objects"), c("qom-list", path="objects/"), c("qom-list", path="s"), c("qom-list", path="/objects/g"), c("qom-list", path="objects/z"), c("qom-list", path="/objects/t"), c("qom-list", path="/s"), c("qom-list", path="/objects/s/x"),
                *[c("qom-get", path="/objects/" + o, property=p) for o, names in {"s": "format loaded type file keyid nope", "g": "limits x-bps-total x-iops-size type", "z": "identity", "t": "endpoint verify-peer dir priority loaded type", "u": "endpoint"}.items() for p in names.split()],
                c("qom-get", path="/", property="type"), c("qom-get", path="/objects", property="s"), c("qom-get", path="/", property="objects"), c("qom-get", path="/objects", property="nope"), c("qom-get", path="zz", property="type"),
                c("qom-set", path="/objects/g", property="limits", value={"iops-total": 5}), c("qom-get", path="g", property="limits"), c("qom-set", path="g", property="x-bps-total", value=7), c("qom-set", path="g", property="limits", value={"zz": 1}),
                c("qom-set", path="g", property="limits", value=1), c("qom-set", path="g", property="limits", value={"bps-total": "x"}), c("qom-set", path="s", property="type", value="x"), c("qom-set", path="s", property="nope", value="x"), c("qom-set", path="zz", property="type", value="x"),
                c("qom-list-properties", typename="nope"), c("blockdev-add", driver="throttle", node_name="th", throttle_group="g", file={"driver": "file", "filename": "t.raw"}), c("object-del", id="g"), c("blockdev-del", node_name="th"), c("object-del", id="g"),
                c("object-del", id="g"), c("qom-list", path="g")],
        "backup": [qcow2("a", "a.qcow2"), file("t", "t.raw"), c("blockdev-backup", job_id="k", device="a", target="t", sync="incremental"), c("blockdev-backup", job_id="k", device="a", target="t", sync="incremental", bitmap="none"),
                   c("blockdev-backup", job_id="k", device="a", target="t", sync="full", auto_finalize=False, auto_dismiss=False), ["BLOCK_JOB_PENDING"], c("job-pause", id="k"), c("job-complete", id="k"), c("job-finalize", id="k"),
                   ["JOB_STATUS_CHANGE", "concluded"], c("query-jobs"), c("job-cancel", id="k"), c("job-dismiss", id="k"), c("query-jobs")],
        "stream": [qcow2("a", "a.qcow2"), qcow2("b", "b.qcow2", backing="a"), c("query-named-block-nodes", flat=True), c("block-stream", job_id="s", device="b", base_node="zz"), c("block-stream", job_id="s", device="b"),
                   ["JOB_STATUS_CHANGE", "null"], c("query-named-block-nodes", flat=True), c("blockdev-del", node_name="a")],
        "stream-behind": [qcow2("a", "a.qcow2"), qcow2("b", "b.qcow2", backing="a"), c("block-stream", job_id="s", device="b", base_node="a"), ["JOB_STATUS_CHANGE", "null"], c("query-jobs"), c("query-named-block-nodes", flat=True)],
        "commit": [qcow2("a", "a.qcow2"), qcow2("b", "b.qcow2", backing="a"), c("block-commit", job_id="c", device="b", base_node="b"), c("block-commit", job_id="c", device="b"), ["BLOCK_JOB_READY"], c("job-complete", id="c"), ["JOB_STATUS_CHANGE", "null"]],
        "bitmaps": [qcow2("a", "a.qcow2"), c("block-dirty-bitmap-add", node="a", name="b0"), c("block-dirty-bitmap-add", node="a", name="b0"), c("block-dirty-bitmap-add", node="a", name=""), c("block-dirty-bitmap-add", node="a", name="g", granularity=1000),
                    c("block-dirty-bitmap-add", node="zz", name="g"), c("query-named-block-nodes", flat=True), c("block-dirty-bitmap-disable", node="a", name="b0"), c("block-dirty-bitmap-clear", node="a", name="b0"),
                    c("block-dirty-bitmap-remove", node="a", name="zz"), c("block-dirty-bitmap-add", node="a", name="p", persistent=True), c("block-dirty-bitmap-merge", node="a", target="b0", bitmaps=["p"]),
                    c("block-dirty-bitmap-merge", node="a", target="b0", bitmaps=["zz"]), c("block-dirty-bitmap-remove", node="a", name="b0"), c("block-dirty-bitmap-remove", node="a", name="p")],
        "transaction": [qcow2("a", "a.qcow2"), qcow2("o", "o.qcow2", backing=None), file("t", "t.raw"), act(), act(("abort", {})), act(("what", {})), c("transaction"), c("transaction", actions=[{"type": "abort"}]), c("transaction", actions=[1]),
                        c("transaction", actions=[{"type": "abort", "data": {}}], properties={"completion-mode": "what"}), act(("block-dirty-bitmap-add", {"node": "a"})), act(("block-dirty-bitmap-add", {"node": "a", "name": 1})),
                        act(("block-dirty-bitmap-add", {"node": "a", "name": "x", "zz": 1})), act(("blockdev-del", {"node-name": "a"})),
                        # nothing of it happens
                        act(("block-dirty-bitmap-add", {"node": "a", "name": "b0"}), ("abort", {})), act(("block-dirty-bitmap-add", {"node": "a", "name": "p", "persistent": True}), ("block-dirty-bitmap-clear", {"node": "a", "name": "zz"})),
                        act(("blockdev-snapshot", {"node": "a", "overlay": "o"}), ("abort", {})), act(("blockdev-snapshot-internal-sync", {"device": "a", "name": "one"}), ("abort", {})),
                        act(("blockdev-backup", {"job-id": "k", "device": "a", "target": "t", "sync": "full"}), ("abort", {})), ["JOB_STATUS_CHANGE", "null"], c("query-jobs"), c("query-named-block-nodes", flat=True),
                        # all of it does
                        act(("block-dirty-bitmap-add", {"node": "a", "name": "b0"}), ("block-dirty-bitmap-add", {"node": "a", "name": "b1", "disabled": True}), ("block-dirty-bitmap-merge", {"node": "a", "target": "b1", "bitmaps": ["b0"]}),
                            ("block-dirty-bitmap-disable", {"node": "a", "name": "b0"}), ("block-dirty-bitmap-enable", {"node": "a", "name": "b1"}), ("block-dirty-bitmap-clear", {"node": "a", "name": "b1"})), c("query-named-block-nodes", flat=True),
                        act(("block-dirty-bitmap-enable", {"node": "a", "name": "b0"}), ("block-dirty-bitmap-disable", {"node": "a", "name": "b1"}), ("block-dirty-bitmap-remove", {"node": "a", "name": "b1"}), ("abort", {})), c("query-named-block-nodes", flat=True),
                        act(("block-dirty-bitmap-remove", {"node": "a", "name": "b1"}), ("block-dirty-bitmap-remove", {"node": "a", "name": "b0"})), c("query-named-block-nodes", flat=True),
                        act(("blockdev-backup", {"job-id": "k", "device": "a", "target": "t", "sync": "full"})), ["JOB_STATUS_CHANGE", "null"],
                        act(("blockdev-snapshot", {"node": "a", "overlay": "o"}))],
        "grouped": [qcow2("a", "a.qcow2"), qcow2("o", "o.qcow2", backing=None), file("t", "t.raw"), file("s", "t2.raw"),
                    act(("blockdev-snapshot", {"node": "a", "overlay": "o"}), grouped=True), act(("block-dirty-bitmap-add", {"node": "a", "name": "b0"}), grouped=True),
                    act(("blockdev-backup", {"job-id": "k", "device": "a", "target": "t", "sync": "full", "auto-finalize": False}), grouped=True),
                    ["BLOCK_JOB_PENDING"], c("job-finalize", id="k"), ["JOB_STATUS_CHANGE", "null"]],
        "snapshots": [qcow2("a", "a.qcow2"), qcow2("o", "o.qcow2", backing=None), c("blockdev-snapshot", node="a", overlay="o"), c("blockdev-snapshot", node="a", overlay="o"),
                      c("blockdev-snapshot-internal-sync", device="o", name="one"), c("blockdev-snapshot-delete-internal-sync", device="o", name="two")],
        "create": [c("blockdev-create", job_id="cr", options={"driver": "file", "filename": "n.raw", "size": 1048576}), ["JOB_STATUS_CHANGE", "concluded"], c("query-jobs"), c("job-dismiss", id="cr"), file("n", "n.raw"),
                   c("blockdev-create", job_id="cr", options={"driver": "qcow2", "file": "n", "size": 4194304, "cluster-size": 4096}), ["JOB_STATUS_CHANGE", "concluded"], c("job-dismiss", id="cr"),
                   c("blockdev-add", driver="qcow2", node_name="q", file="n"), c("query-named-block-nodes", flat=True)],
    }
    unordered = ("reopen", "qom", "commit-read-only", "commit-behind")  # the order of nodes and objects is not said anywhere
    for name, script in scripts.items():
        heard = {}
        for who, binary in (("myna", OURS), ("qemu", THEIRS)):
            cwd = top / f"{name}-{who}"
            cwd.mkdir()
            sh(setup, cwd)
            d = Daemon(binary, cwd)
            out = []
            for line in script:
                if isinstance(line, list):
                    d.wait(line[0], **({"status": line[1]} if len(line) > 1 else {}))
                    d.events, kept = [], d.events
                    out.append(("(events)", [same_shape(e, cwd) for e in kept if e.get("data", {}).get("status") not in ("paused", "running")]))
                else:
                    out.append((line, same_shape(d.raw(line), cwd)))
            d.end()
            heard[who] = out
        for (line, ours), (_, theirs) in zip(heard["myna"], heard["qemu"]):
            if name in unordered:
                ours, theirs = (sorted(json.dumps(n) for n in json.loads(m)["return"]) if isinstance(m, str) and m.startswith('{"return": [') else m for m in (ours, theirs))
            if isinstance(ours, list) and isinstance(theirs, list) and name in unordered:
                ours, theirs = [x for x in ours if x not in theirs], [x for x in theirs if x not in ours]
            if ours != theirs:
                problems.append(f"{name}: {line}\n    myna {ours}\n    qemu {theirs}")
        if name == "change-backing":
            expect(name, *(json.loads(sh("qemu-img info -U --output=json b.qcow2", top / f"{name}-{who}"))["backing-filename"] for who in ("myna", "qemu")))
    schema(top)


def paths(schema):
    """What libvirt asks a schema for: "blockdev-add/arg-type/+qcow2/backing", the kind of type that is there, and whether
    it may be left out."""
    by_name = {e["name"]: e for e in schema}
    found = {}

    def follow(prefix, name, depth, above, optional=False):
        e = by_name[name]  # every name must be defined
        kind = e["meta-type"]
        if kind == "array":
            found[prefix] = ("array", optional)
            return follow(prefix + "/[]", e["element-type"], depth, above)
        if kind == "enum":
            expect(f"{prefix}: values and members", [m["name"] for m in e["members"]], e["values"])
            found[prefix] = ("enum", optional, frozenset(e["values"]))
        elif kind == "builtin":
            found[prefix] = (e["json-type"], optional)
        elif kind == "alternate":
            found[prefix] = ("alternate", optional)
            for m in e["members"]:
                kind = by_name[m["type"]]["meta-type"]
                follow(prefix + "/" + (m["type"] if kind == "builtin" else kind), m["type"], depth, above)
        else:
            found[prefix] = ("object", optional)
            if depth == 6 or name in above:
                return
            for m in e["members"]:
                follow(prefix + "/" + m["name"], m["type"], depth + 1, above | {name}, "default" in m)
            for v in e.get("variants", ()):
                expect(f"{prefix}: the tag", e["tag"] in [m["name"] for m in e["members"]], True)
                follow(prefix + "/+" + v["case"], v["type"], depth + 1, above | {name})

    for e in schema:
        if e["meta-type"] in ("command", "event"):
            follow(e["name"] + "/arg-type", e["arg-type"], 0, frozenset())
            if "ret-type" in e:
                follow(e["name"] + "/ret-type", e["ret-type"], 0, frozenset())
    return found


# Ours beyond the documented daemon's.
BEYOND = re.compile(r"^blockdev-create/arg-type/options/\+(?!ssh/)")


def schema(top):
    """Every path of ours is one of the documented daemon's, with a type of the same kind, and required where it is there;
    what is required there, ours has, too. And commands want what the schema says that they want."""
    answers, missing, types = {}, {}, {}
    for who, binary in (("myna", OURS), ("qemu", THEIRS)):
        cwd = top / f"schema-{who}"
        cwd.mkdir()
        d = Daemon(binary, cwd)
        answers[who] = d.good("query-qmp-schema")
        commands = {c["name"] for c in d.good("query-commands")}
        expect(f"{who}: commands of the schema", {e["name"] for e in answers[who] if e["meta-type"] == "command"}, commands)
        missing[who] = {name: d(name).get("error", {}).get("desc", "") for name in sorted(commands - {"quit", "qmp_capabilities", "query-qmp-schema"})}
        types[who] = {t["name"]: (t.get("parent"), t.get("abstract"), sorted((p["name"], p["type"]) for p in d("qom-list-properties", typename=t["name"]).get("return", ())))
                      for t in d.good("qom-list-types", abstract=True) if t["name"] in types.get("myna", [t["name"]])}  # qemu's does not survive the question for each of its own
        d.end()
    ours, theirs = paths(answers["myna"]), paths(answers["qemu"])
    both = {p.split("/")[0] for p in ours} & {p.split("/")[0] for p in theirs}
    print(f"query-qmp-schema: {len(both)} commands and events compared, {len(ours)} paths of ours, {len(theirs)} of qemu's")
    for path, (kind, optional, *values) in ours.items():
        if path.split("/")[0] not in both:
            continue
        if path not in theirs:
            if not BEYOND.search(path):
                problems.append(f"schema: {path} is not in qemu's")
            continue
        their_kind, their_optional, *their_values = theirs[path]
        if BEYOND.search(path):
            pass
        elif kind != their_kind:
            problems.append(f"schema: {path} is of kind {kind}, qemu's of kind {their_kind}")
        elif kind == "enum" and not values[0] <= their_values[0]:
            problems.append(f"schema: {path} has values that qemu's has not: {sorted(values[0] - their_values[0])}")
        if optional != their_optional:
            problems.append(f"schema: {path} is {'optional' if optional else 'required'}, and qemu's is not")
    for path, (kind, optional, *_) in theirs.items():
        if path not in ours and path.rsplit("/", 1)[0] in ours and not optional and "/[]" not in path[-3:] and "+" not in path.rsplit("/", 1)[1] and ours[path.rsplit("/", 1)[0]][0] == "object":
            problems.append(f"schema: {path} is required in qemu's, and not in ours")
    for kind, row in types["myna"].items():
        expect(f"qom type {kind}", row, types["qemu"].get(kind))
    for name, error in missing["myna"].items():
        # Which of several is told may differ; that something is missing must not.
        if name in missing["qemu"] and ("is missing" in error) != ("is missing" in missing["qemu"][name]):
            problems.append(f"{name} without arguments: {error!r}, qemu {missing['qemu'][name]!r}")


class Load:
    """Random writes through NBD, kept in a shadow."""

    def __init__(self, uri, size, seed):
        import nbd
        self.h = nbd.NBD()
        self.h.connect_uri(uri)
        self.r = random.Random(seed)
        self.shadow = bytearray(self.h.pread(size, 0))

    def step(self):
        r, size = self.r, len(self.shadow)
        at, n = r.randrange(size), 1 << r.randrange(4, 18)
        n = min(n, size - at)
        what = r.randrange(10)
        if what < 7:
            data = bytes([r.randrange(1, 256)]) * n
            self.h.pwrite(data, at)
            self.shadow[at:at + n] = data
        elif what < 9:
            self.h.zero(n, at)
            self.shadow[at:at + n] = bytes(n)
        elif self.h.pread(n, at) != self.shadow[at:at + n]:
            problems.append(f"reading {n} bytes at {at} during a job gave something else than was written")

    def steps_until(self, stop):
        while not stop.is_set():
            self.step()

    def close(self):
        self.h.shutdown()


def content(path, fmt, cwd):
    sh(f"qemu-img convert -f {fmt} -O raw {path} content.raw", cwd)
    return (cwd / "content.raw").read_bytes()


def jobs(top):
    seed = int(os.environ.get("MYNA_TEST_SEED", time.time_ns() & 0xffffffff))
    rounds = int(os.environ.get("MYNA_TEST_ROUNDS", 1))
    print(f"MYNA_TEST_SEED={seed}")
    r = random.Random(seed)
    size = 8 << 20
    for number in range(rounds):
        for kind in ("mirror", "mirror-blocking", "mirror-replaces", "mirror-cancel", "mirror-top", "backup", "backup-cancel", "incremental", "transaction", "grouped", "stream", "stream-base", "stream-behind", "commit-active", "commit-middle"):
            cwd = top / f"{kind}-{number}"
            cwd.mkdir()
            sh(f"qemu-img create -q -f qcow2 base.qcow2 {size}; qemu-io -f qcow2 -c 'write -P 0x11 0 3M' -c 'write -P 0x12 5M 1M' base.qcow2; qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 mid.qcow2; "
               "qemu-io -f qcow2 -c 'write -P 0x21 1M 1M' -c 'write -z 5M 512k' mid.qcow2; qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2; qemu-io -f qcow2 -c 'write -P 0x31 1536k 1M' top.qcow2; "
               f"qemu-img create -q -f qcow2 t.qcow2 {size}; qemu-img create -q -f raw t.raw {size}; qemu-img create -q -f raw bad.raw {size}; qemu-img create -q -f qcow2 inc.qcow2 {size}", cwd)
            d = Daemon(OURS, cwd)
            for name in ("base", "mid", "top"):
                d.good("blockdev-add", driver="qcow2", node_name=name, file={"driver": "file", "filename": f"{name}.qcow2"}, backing={"base": None, "mid": "base", "top": "mid"}[name],
                       **({"read_only": True} if name == "base" and kind.startswith("commit") and r.randrange(2) else {}))
            d.good("blockdev-add", driver="qcow2", node_name="t", file={"driver": "file", "filename": "t.qcow2"}, backing=None)
            d.good("blockdev-add", driver="raw", node_name="u", file={"driver": "file", "filename": "t.raw"})
            d.good("nbd-server-start", addr={"type": "unix", "data": {"path": "n.sock"}})
            d.good("blockdev-add", driver="copy-on-read", node_name="above", file="top")
            through = "above" if kind == "mirror-replaces" else "top"
            d.good("block-export-add", type="nbd", id="e", node_name=through, name="disk", writable=True)
            load = Load(f"nbd+unix:///disk?socket={cwd}/n.sock", size, r.getrandbits(32))
            for _ in range(20):
                load.step()
            speed = r.choice([0, 4 << 20, 16 << 20])
            common = {"job_id": "j", "speed": speed}
            before = bytes(load.shadow)
            target, result = None, None
            if kind.startswith("mirror"):
                target = "u" if kind != "mirror-top" and r.randrange(2) else "t"
                d.good("blockdev-mirror", device=through, target=target, sync="top" if kind == "mirror-top" else "full", copy_mode="write-blocking" if kind == "mirror-blocking" else "background",
                       **({"replaces": "top"} if through == "above" else {}), **common)
            elif kind.startswith("backup"):
                target = "u"
                d.good("blockdev-backup", device="top", target=target, sync="full", **common)
            elif kind == "incremental":
                target = "u"
                d.good("blockdev-backup", device="top", target=target, sync="full", **common)
                d.wait("JOB_STATUS_CHANGE", status="null")
                d.events = []
                d.good("block-dirty-bitmap-add", node="top", name="b", persistent=bool(r.randrange(2)))
                # What was written between the backup and the bitmap is not in either: nobody writes here.
                for _ in range(20):
                    load.step()
                before = bytes(load.shadow)
                d.good("blockdev-backup", device="top", target=target, sync="incremental", bitmap="b", **common)
            elif kind == "transaction":
                # A full backup and the bitmap begin at one moment, while the client writes: the next backup misses nothing.
                target = "u"
                stop, crowd = threading.Event(), Load(f"nbd+unix:///disk?socket={cwd}/n.sock", size, r.getrandbits(32))
                thread = threading.Thread(target=crowd.steps_until, args=(stop,))
                thread.start()
                d.good("transaction", actions=[{"type": "blockdev-backup", "data": {"job-id": "full", "device": "top", "target": target, "sync": "full"}},
                                               {"type": "block-dirty-bitmap-add", "data": {"node": "top", "name": "b", "persistent": bool(r.randrange(2))}}])
                d.wait("JOB_STATUS_CHANGE", id="full", status="null")
                stop.set()
                thread.join()
                crowd.close()
                load.shadow = bytearray(load.h.pread(size, 0))
                before = bytes(load.shadow)
                d.events = []
                d.good("blockdev-backup", device="top", target=target, sync="incremental", bitmap="b", **common)
            elif kind == "grouped":
                # One of two fails, which ends the other one, too.
                target = "u"
                d.good("blockdev-add", driver="raw", node_name="bad", file={"driver": "blkdebug", "image": {"driver": "file", "filename": "bad.raw"}, "inject-error": [{"event": "none", "iotype": "write", "sector": 4096}]})
                d.good("transaction", properties={"completion-mode": "grouped"}, actions=[{"type": "blockdev-backup", "data": {"job-id": i, "device": "base" if i == "two" else "top", "target": t, "sync": "full"}} for i, t in (("one", "bad"), ("two", "t"))])
                for i in ("one", "two"):
                    d.wait("JOB_STATUS_CHANGE", id=i, status="null")
                ended = {e["data"]["device"]: e["event"] for e in d.events if e["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")}
                expect("grouped: ends", ended, {"one": "BLOCK_JOB_COMPLETED", "two": "BLOCK_JOB_CANCELLED"})
                d.events = []
                before = bytes(load.shadow)
                d.good("blockdev-backup", device="top", target=target, sync="full", **common)
            elif kind == "stream":
                d.good("block-stream", device="top", **common)
            elif kind == "stream-base":
                d.good("block-stream", device="top", base_node="base", **common)
            elif kind == "stream-behind":
                # Onto the node right behind: there is nothing to copy, and the job ends.
                d.good("block-stream", device="top", base_node="mid", **common)
            elif kind == "commit-active":
                d.good("block-commit", device="top", base_node="base", **common)
            else:
                d.good("block-commit", device="top", top_node="mid", base_node="base", **common)
            paused = False
            for i in range(60):
                load.step()
                if i == 20:
                    paused = "return" in d("job-pause", id="j")
                if i == 30 and paused:
                    d("job-resume", id="j")
            if kind.endswith("cancel"):
                d("job-cancel", id="j")
            elif kind.startswith("mirror") or kind == "commit-active":
                d("block-job-set-speed", device="j", speed=0)
                d.wait("BLOCK_JOB_READY")
                for _ in range(20):
                    load.step()
                d.good("job-complete", id="j")
            else:
                d("block-job-set-speed", device="j", speed=0)
            for _ in range(20):
                load.step()
            d.wait("JOB_STATUS_CHANGE", status="null")
            ends = [e["event"] + ": " + str(e["data"].get("error")) for e in d.events if e["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")]
            if not kind.endswith("cancel"):
                expect(f"{kind}: the job's end", ends[-1:], ["BLOCK_JOB_COMPLETED: None"])
            for _ in range(20):
                load.step()
            if load.h.pread(size, 0) != load.shadow:
                problems.append(f"{kind}: after the job the client reads something else than it wrote")
            load.close()
            d.end()
            if kind in ("mirror", "mirror-blocking", "mirror-replaces", "mirror-top"):
                result = content("t.qcow2" if target == "t" else "t.raw", "qcow2" if target == "t" else "raw", cwd) if kind != "mirror-top" else None
                if kind == "mirror-top":
                    sh("qemu-img rebase -u -f qcow2 -b mid.qcow2 -F qcow2 t.qcow2", cwd)
                    result = content("t.qcow2", "qcow2", cwd)
                if result != load.shadow:
                    problems.append(f"{kind}: the target is not what the client wrote")
            elif kind in ("backup", "incremental", "transaction", "grouped"):
                if content("t.raw", "raw", cwd) != before:
                    problems.append(f"{kind}: the target is not the source as it was at the beginning")
            if kind == "stream":
                info = json.loads(sh("qemu-img info --output=json top.qcow2", cwd))
                expect("stream: backing file", info.get("backing-filename"), None)
            if kind in ("stream-base", "stream-behind", "commit-middle"):
                info = json.loads(sh("qemu-img info --output=json top.qcow2", cwd))
                expect(f"{kind}: backing file", info.get("backing-filename"), "mid.qcow2" if kind == "stream-behind" else "base.qcow2")
            if kind not in ("mirror", "mirror-blocking", "mirror-replaces", "mirror-top", "commit-active"):
                if content("top.qcow2", "qcow2", cwd) != load.shadow:
                    problems.append(f"{kind}: the image is not what the client wrote")
            if kind == "commit-active" and content("base.qcow2", "qcow2", cwd) != load.shadow:
                problems.append("commit-active: base is not what the client wrote")
            for image in ("base.qcow2", "mid.qcow2", "top.qcow2", "t.qcow2"):
                code = subprocess.run(["qemu-img", "check", "-q", "-U", image], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
                if code != 0:
                    problems.append(f"{kind}: qemu-img check {image}: {code}")
            shutil.rmtree(cwd)
    errors(top)


def errors(top):
    """A target that fails: the job ends, goes on, or stops until it is resumed."""
    for policy in ("report", "ignore", "stop"):
        for job in ("blockdev-mirror", "blockdev-backup"):
            cwd = top / f"errors-{policy}-{job}"
            cwd.mkdir()
            sh("qemu-img create -q -f raw s.raw 4M; qemu-io -f raw -c 'write -P 7 0 4M' s.raw; qemu-img create -q -f raw t.raw 4M", cwd)
            d = Daemon(OURS, cwd)
            d.good("blockdev-add", driver="raw", node_name="s", file={"driver": "file", "filename": "s.raw"})
            d.good("blockdev-add", driver="raw", node_name="t", file={"driver": "blkdebug", "image": {"driver": "file", "filename": "t.raw"}, "inject-error": [{"event": "none", "iotype": "write", "sector": 4096, "once": True}]})
            d.good(job, job_id="j", device="s", target="t", sync="full", on_target_error=policy)
            e = d.wait("BLOCK_JOB_ERROR")
            expect(f"{job} {policy}", (e["data"]["operation"], e["data"]["action"]), ("write", policy))
            if policy == "stop":
                d.wait("JOB_STATUS_CHANGE", status="paused")
                expect("io-status", d.good("query-block-jobs")[0]["io-status"], "failed")
                d.good("job-resume", id="j")
            if policy != "report" and job == "blockdev-mirror":
                d.wait("BLOCK_JOB_READY")
                d.good("job-complete", id="j")
            d.wait("JOB_STATUS_CHANGE", status="null")
            done = [x["data"] for x in d.events if x["event"] == "BLOCK_JOB_COMPLETED"]
            expect(f"{job} {policy}: error of the job", [("error" in x) for x in done], [policy == "report"])
            d.end()
            if policy != "report":
                expect(f"{job} {policy}: target", (cwd / "t.raw").read_bytes() == b"\7" * (4 << 20), True)


def exports(top):
    cwd = top / "exports"
    cwd.mkdir()
    sh("qemu-img create -q -f qcow2 a.qcow2 16M; qemu-io -f qcow2 -c 'write -P 9 1M 2M' a.qcow2; touch mount.raw", cwd)
    d = Daemon(OURS, cwd, "--blockdev", "file,node-name=f,filename=a.qcow2", "--blockdev", "qcow2,node-name=q,file=f", "--nbd-server", "addr.type=unix,addr.path=n.sock",
               "--export", "nbd,id=e,node-name=q,name=disk,writable=on,description=a disk")
    uri = f"nbd+unix:///disk?socket={cwd}/n.sock"
    info = nbdinfo(uri, cwd)
    expect("nbdinfo", (info["export-name"], info["export-size"], info["description"], info["is_read_only"]), ("disk", 16 << 20, "a disk", False))
    sh(f"nbdcopy '{uri}' out.raw", cwd)
    data = (cwd / "out.raw").read_bytes()
    expect("nbdcopy", (data[:1 << 20] == bytes(1 << 20), data[1 << 20:3 << 20] == b"\x09" * (2 << 20)), (True, True))
    sh(f"qemu-io -f raw -c 'write -P 5 8M 64k' '{uri}'", cwd)
    expect("map", json.loads(sh(f"qemu-img map --output=json '{uri}'", cwd))[0]["zero"], True)
    expect("del while in use", d("block-export-del", id="zz")["error"]["desc"], "Export 'zz' is not found")
    fuse = d("block-export-add", type="fuse", id="m", node_name="q", mountpoint=str(cwd / "mount.raw"), writable=True)
    if "error" in fuse and not os.access("/dev/fuse", os.W_OK):
        print("no FUSE here")
    elif "error" in fuse and "mount" in fuse["error"]["desc"] and os.environ.get("MYNA_TEST_NO_FUSE"):
        print("FUSE mounts are not allowed here")
    else:
        expect("fuse export", fuse, {"return": {}})
        sh("nbdcopy '%s' now.raw; cmp mount.raw now.raw" % uri, cwd)
        sh("dd if=/dev/urandom of=part bs=1M count=2 status=none; dd if=part of=mount.raw bs=64k seek=80 conv=notrunc,fsync status=none; dd if=mount.raw bs=64k skip=80 count=32 status=none | cmp - part", cwd)
        sh("fallocate -p -o 1M -l 1M mount.raw", cwd)
        expect("a hole punched through FUSE", sh("qemu-img convert -f raw -O raw mount.raw punched.raw; cmp -n 1048576 -i 1048576:0 punched.raw /dev/zero && echo zero", cwd).strip(), "zero")
        expect("not growable", "File too large" in sh("dd if=/dev/zero of=mount.raw bs=64k seek=256 count=1 conv=notrunc status=none", cwd, check=False), True)
        expect("size", os.stat(cwd / "mount.raw").st_size, 16 << 20)
        expect("query-block-exports", sorted(e["type"] for e in d.good("query-block-exports")), ["fuse", "nbd"])
        d.good("block-export-del", id="m")
        d.wait("BLOCK_EXPORT_DELETED", id="m")
        expect("unmounted", os.stat(cwd / "mount.raw").st_size, 0)
    import nbd
    h = nbd.NBD()
    h.connect_uri(uri)
    expect("in use", d("block-export-del", id="e").get("error", {}).get("desc"), "export 'e' still in use")
    d.good("block-export-del", id="e", mode="hard")
    expect("gone", d.good("query-block-exports"), [])
    d.end()
    sh("qemu-img check -q a.qcow2", cwd)


def options(top):
    cwd = top / "options"
    cwd.mkdir()
    sh("qemu-img create -q -f qcow2 a.qcow2 1M", cwd)
    line = ["--blockdev", '{"driver":"qcow2","node-name":"q","file":{"driver":"file","filename":"%s"}}' % (cwd / "a.qcow2"), "--nbd-server", f"addr.type=unix,addr.path={cwd}/n.sock", "--export", "type=nbd,id=e,node-name=q",
            "--pidfile", str(cwd / "pid"), "--daemonize"]
    r = subprocess.run([OURS, *line], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    expect("--daemonize", (r.returncode, r.stdout), (0, ""))
    if r.returncode == 0:
        pid = int((cwd / "pid").read_text())
        atexit.register(end_process, pid)  # a failed test leaves nobody behind
        expect("served", nbdinfo(f"nbd+unix:///q?socket={cwd}/n.sock", cwd)["export-size"], 1 << 20)
        expect("twice", subprocess.run([OURS, *line], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30).returncode, 1)
        os.kill(pid, signal.SIGTERM)
        for _ in range(200):
            if not pathlib.Path(f"/proc/{pid}").exists() or "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]:
                break
            time.sleep(0.05)
        else:
            problems.append("the daemon did not end")
        expect("pid file", (cwd / "pid").exists(), False)
    for bad in (["--blockdev", "nope,node-name=x"], ["--export", "nbd,id=e,node-name=x"], ["--monitor", "chardev=none"], ["--chardev", "tape,id=x"], ["--bogus"], ["file"], ["--object", "secret,id=s"]):
        codes = [subprocess.run([b, *bad], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30).returncode for b in (OURS, THEIRS)]
        expect(f"exit codes of {bad}", codes[0], codes[1])
    # A monitor on standard input and output answers everything, also when the stream ends with the last command.
    said = '{"execute":"qmp_capabilities"}\n{"execute":"query-jobs"}\n{"execute":"quit"}\n'
    streams = [subprocess.run([b, "--chardev", "stdio,id=m", "--monitor", "chardev=m"], cwd=cwd, input=said, capture_output=True, text=True, timeout=30) for b in (OURS, THEIRS)]
    expect("monitor on stdio", *[(r.returncode, [json.loads(line) for line in r.stdout.splitlines()][1:]) for r in streams])
    # What a monitor may name is there before its first command is read.
    line = ["--chardev", "stdio,id=m", "--monitor", "chardev=m", "--object", "iothread,id=t", "--blockdev", "driver=file,node-name=f,filename=a.qcow2", "--blockdev", "driver=qcow2,node-name=q,file=f",
            "--nbd-server", f"addr.type=unix,addr.path={cwd}/late.sock", "--export", "nbd,id=e,node-name=q,iothread=t"]
    said = "{'execute': 'qmp_capabilities'}\n{'execute': 'query-block-exports'}\n{'execute': 'quit'}\n"
    texts = [subprocess.run([b, *line], cwd=cwd, input=said, capture_output=True, text=True, timeout=30).stdout.splitlines()[1:3] for b in (OURS, THEIRS)]
    expect("answers to early commands", json.loads(texts[0][1]), json.loads(texts[1][1]))
    expect("blanks in answers", texts[0][0], texts[1][0])
    limits = ["--object", "throttle-group,id=g,limits.bps-total=1048576", "--blockdev", "driver=throttle,throttle-group=g,node-name=t,file.driver=qcow2,file.file.driver=file,file.file.filename=a.qcow2"]
    d = Daemon(OURS, cwd, *limits)
    expect("nodes", [n["drv"] for n in d.good("query-named-block-nodes")][:1], ["throttle"])
    d.good("object-add", qom_type="secret", id="s", data="x")
    d.good("object-del", id="s")
    d.good("quit")
    expect("quit", d.process.wait(20), 0)


with tempfile.TemporaryDirectory(prefix="myna-storage-") as t:
    {"answers": answers, "jobs": jobs, "exports": exports, "options": options}[SUITE](pathlib.Path(t))
print(f"{len(problems)} problems")
for p in problems:
    print(p)
sys.exit(1 if problems else 0)
