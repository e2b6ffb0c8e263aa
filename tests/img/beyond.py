#!/usr/bin/python3
"""What myna-img does beyond qemu-img: resuming, compacting, growing partitions, importing appliances, disks in use.

  beyond.py PROGRAM [--only WORD]

Oracles: qemu-img (contents and soundness of images), partx (partition tables), hashlib and tarfile (appliances).
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
import zlib

problems = []
TOOL = None


def expect(condition, text):
    if not condition:
        problems.append(f"{sys._getframe(1).f_code.co_name}: {text}")


def run(*command, cwd=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, cwd=cwd, errors="replace")
    return done.returncode, done.stdout, done.stderr


def same(a, a_format, b, b_format):
    return run("qemu-img", "compare", "-f", a_format, "-F", b_format, a, b)[0] == 0


def sound(image):
    return run("qemu-img", "check", "-f", "qcow2", image)[0] == 0


def random_disk(path, mebibytes, seed):
    rng = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(mebibytes << 20)
        for at in range(0, mebibytes << 20, 1 << 20):
            if rng.random() < 0.7:
                f.seek(at + rng.randrange(0, 1 << 19, 512))
                f.write(rng.randbytes(1 << 18) * 2)


def resuming(folder):
    raw, target = folder / "disk.raw", folder / "out.qcow2"
    random_disk(raw, 64, 1)
    command = [str(TOOL), "convert", "--resume", "-f", "raw", "-O", "qcow2", raw, target]
    process = subprocess.Popen([*command[:3], "-r", "12M", *command[3:]])
    record = folder / "out.qcow2.myna-resume"
    until = time.monotonic() + 60
    while not record.exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    expect(record.exists(), "an interrupted conversion left no record")
    expect(json.loads(record.read_text()).get("done", 0) > 0, "the record says that nothing was done")
    code, out, err = run(*command)
    expect(code == 0 and "Going on at" in out, f"it did not go on: {out}{err}")
    expect(not record.exists(), "the record stays when all is done")
    expect(same(raw, "raw", target, "qcow2") and sound(target), "the resumed image differs or is damaged")
    record.write_text(json.dumps({"conversion": {}, "done": 5}))
    code, _, err = run(*command)
    expect(code == 1 and "records another conversion" in err, f"a record of another conversion was taken: {err}")


def compacting(folder):
    image = folder / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
    run("qemu-io", "-c", "write -P 1 0 40M", "-c", "write -P 0 4M 20M", "-c", "discard 30M 2M", "-c", "write -P 3 60M 1M", image)
    copy = folder / "before.qcow2"
    shutil.copyfile(image, copy)
    before = image.stat()
    code, out, err = run(TOOL, "compact", image)
    after = image.stat()
    expect(code == 0, f"{out}{err}")
    expect(after.st_blocks * 512 < before.st_blocks * 512 - (18 << 20), f"disk use {before.st_blocks * 512} became {after.st_blocks * 512}")
    expect(after.st_size < before.st_size - (18 << 20), f"file length {before.st_size} became {after.st_size}")
    expect(same(copy, "qcow2", image, "qcow2") and sound(image), "the compacted image differs or is damaged")
    raw = folder / "disk.raw"
    raw.write_bytes(b"x" * (1 << 20) + bytes(8 << 20) + b"y" * (1 << 20))
    digest = hashlib.sha256(raw.read_bytes()).digest()
    code, out, err = run(TOOL, "compact", "-f", "raw", raw)
    expect(code == 0 and raw.stat().st_blocks * 512 < (4 << 20), f"raw: {out}{err} {raw.stat().st_blocks * 512} bytes on disk")
    expect(hashlib.sha256(raw.read_bytes()).digest() == digest, "compacting changed a raw image")


def gpt_disk(path, partitions):
    """A GPT as UEFI describes it: 512-byte sectors, 128 entries, both copies."""
    sectors = path.stat().st_size // 512
    table = bytearray(128 * 128)
    for i, (first, last) in enumerate(partitions):
        struct.pack_into("<16s16sQQQ", table, i * 128, uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le, uuid.uuid4().bytes_le, first, last, 0)
    identity = uuid.uuid4().bytes_le

    def header(own, other, entries):
        h = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, own, other, 34, sectors - 34, identity, entries, 128, 128, zlib.crc32(table)))
        struct.pack_into("<I", h, 16, zlib.crc32(h))
        return bytes(h)

    mbr = bytearray(512)
    struct.pack_into("<B3sB3sII", mbr, 446, 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, sectors - 1)
    mbr[510:] = b"\x55\xaa"
    with open(path, "r+b") as f:
        f.write(bytes(mbr) + header(1, sectors - 1, 2).ljust(512, b"\0") + bytes(table))
        f.seek((sectors - 33) * 512)
        f.write(bytes(table) + header(sectors - 1, 1, sectors - 33).ljust(512, b"\0"))


def partitions_of(path):
    code, out, err = run("partx", "-g", "-b", "-o", "START,SECTORS", path)
    expect(code == 0, f"partx: {err}")
    return [tuple(int(n) for n in line.split()) for line in out.splitlines()]


def growing(folder):
    for label in ("gpt", "dos"):
        disk = folder / f"{label}.raw"
        with open(disk, "wb") as f:
            f.truncate(64 << 20)
        if label == "gpt":
            gpt_disk(disk, [(2048, 34815), (34816, 75775)])
        else:
            with open(disk, "r+b") as f:
                f.seek(446)
                f.write(struct.pack("<B3sB3sIIB3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, 32768, 0, b"\0\0\0", 0x83, b"\0\0\0", 34816, 40960))
                f.seek(510)
                f.write(b"\x55\xaa")
        expect(partitions_of(disk) == [(2048, 32768), (34816, 40960)], f"{label}: the test's own table is wrong: {partitions_of(disk)}")
        code, out, err = run(TOOL, "resize", "-f", "raw", "--grow-last-partition", disk, "200M")
        expect(code == 0 and "Partition 2" in out, f"{label}: {out}{err}")
        table = partitions_of(disk)
        expect(table[0] == (2048, 32768) and table[1][0] == 34816, f"{label}: {table}")
        end = sum(table[1])
        expect(198 * 2048 < end <= 200 * 2048, f"{label}: the last partition ends at sector {end}")
        if label == "gpt":
            # With the first copy gone, the second must say the same.
            with open(disk, "r+b") as f:
                f.seek(512)
                f.write(bytes(512))
            expect(partitions_of(disk) == table, "the second GPT differs from the first")
    blank = folder / "blank.raw"
    blank.write_bytes(bytes(1 << 20))
    code, _, err = run(TOOL, "resize", "-f", "raw", "--grow-last-partition", blank, "2M")
    expect(code == 1 and "no partition table" in err, f"a disk without partitions: {err}")


def importing(folder):
    raw, vmdk = folder / "disk.raw", folder / "machine-disk1.vmdk"
    random_disk(raw, 16, 2)
    run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdk)
    ovf = folder / "machine.ovf"
    ovf.write_text(f"""<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References><File ovf:href="{vmdk.name}" ovf:id="file1" ovf:size="{vmdk.stat().st_size}"/></References>
<DiskSection><Info>Disks</Info><Disk ovf:capacity="16" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1"/></DiskSection>
</Envelope>""")
    manifest = folder / "machine.mf"
    manifest.write_text("".join(f"{name}({f.name})= {hashlib.new(name.lower(), f.read_bytes()).hexdigest()}\n" for name, f in (("SHA256", ovf), ("SHA1", vmdk))))
    ova = folder / "machine.ova"
    with tarfile.open(ova, "w", format=tarfile.USTAR_FORMAT) as t:
        for f in (ovf, manifest, vmdk):
            t.add(f, f.name)
    out = folder / "a.qcow2"
    code, text, err = run(TOOL, "import", ova, out)
    expect(code == 0 and "2 checksums verified" in text, f"{text}{err}")
    expect(same(raw, "raw", out, "qcow2") and sound(out), "the imported disk differs")
    code, text, err = run(TOOL, "import", "-O", "raw", ovf, folder / "b.raw")
    expect(code == 0 and same(raw, "raw", folder / "b.raw", "raw"), f"from the .ovf: {text}{err}")
    code, text, err = run(TOOL, "import", vmdk, folder / "c.qcow2")
    expect(code == 0 and same(raw, "raw", folder / "c.qcow2", "qcow2"), f"from the .vmdk: {text}{err}")
    damaged = bytearray(ova.read_bytes())
    damaged[-20000] ^= 1
    (folder / "damaged.ova").write_bytes(damaged)
    code, _, err = run(TOOL, "import", folder / "damaged.ova", folder / "d.qcow2")
    expect(code == 1 and "the file is damaged" in err, f"a damaged appliance: {err}")


def in_use(folder):
    image = folder / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "1M")
    writer = subprocess.Popen(["qemu-io", "-c", "sleep 20000", image], stdout=subprocess.PIPE)
    try:
        time.sleep(0.7)
        code, out, err = run(TOOL, "info", image)
        expect(code == 0 and f"process {writer.pid} (qemu-io)" in out, f"info: {out}{err}")
        code, out, err = run(TOOL, "resize", image, "2M")
        expect(code == 1 and "Is another process using the image" in err and str(writer.pid) in err, f"a second writer: {out}{err}")
        code, out, err = run(TOOL, "create", "-f", "qcow2", image, "2M")
        expect(code == 1, "create cut an image in use")
    finally:
        writer.kill()
        writer.wait()


def leaks_repaired(folder):
    """A writer of ours that is killed leaves a mark; the next one that opens the image gives back what leaked."""
    tool_io = TOOL.with_name("myna-io")

    def killed(image):
        run("qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
        run(tool_io, "-c", "write 8M 64k", image)
        before = image.read_bytes()
        expect(b"Myna" not in before[:4096], "the mark stays in an image that was closed")
        fails = f"driver=qcow2,file.driver=blkdebug,file.image.driver=file,file.image.filename={image},file.inject-error.0.event=l2_update"
        run(tool_io, "--image-opts", fails, "-c", "write -P 7 0 1M", "-c", "flush", "-c", "sigraise 9")
        expect(run("qemu-img", "check", image)[0] == 3, "a writer that was killed left no leaks: the test tests nothing")

    image = folder / "killed.qcow2"
    killed(image)
    run("qemu-io", "-c", "write -P 3 2M 64k", image)  # another writer keeps the mark
    expect(run("qemu-img", "check", image)[0] == 3, "qemu-io repaired the leaks")
    run(tool_io, "-r", "-c", "read 0 64k", image)
    expect(run("qemu-img", "check", image)[0] == 3, "opening to read changed the image")
    expect("leaked" in run(TOOL, "check", image)[1], "check repaired what it was not asked to")
    code, out, _ = run(tool_io, "-c", "read -P 3 2M 64k", "-c", "read -P 0 0 1M", image)
    expect(code == 0 and "failed" not in out and run("qemu-img", "check", image)[0] == 0, "opening to write did not repair the leaks")
    expect(b"Myna" not in image.read_bytes()[:4096], "the mark stays after the repair")

    # Others' leaks, without the mark, are found by 'check' only: nothing says that a search is worth its time.
    killed(image)
    data = bytearray(image.read_bytes())
    at = data.index(b"Myna")
    data[at:at + 4] = b"Mynb"
    image.write_bytes(data)
    run(tool_io, "-c", "read 0 64k", image)
    expect(run("qemu-img", "check", image)[0] == 3, "leaks without a mark were searched for")

    # An image that is damaged, too, is left to 'check -r'.
    killed(image)
    with open(image, "r+b") as f:
        f.seek(48)
        table, = struct.unpack(">Q", f.read(8))
        f.seek(table)
        block, = struct.unpack(">Q", f.read(8))
        f.seek(block + 2 * 3)  # the L1 table has lost its count
        f.write(b"\0\0")
    run(tool_io, "-c", "read 0 64k", image)
    code, out, _ = run("qemu-img", "check", image)
    expect(code == 2 and "leaked" in out, f"a damaged image was touched: {code} {out}")
    expect(run(TOOL, "check", "-r", "all", image)[0] == 0 and sound(image), "check -r all did not repair it")


def growing_shows_zeroes(folder):
    """Where qemu-img refuses (version 2, qed) or shows what was cut off before."""
    behind = folder / "behind.raw"
    behind.write_bytes(b"\7" * (192 << 10))
    for name, kind, options in (("v2.qcow2", "qcow2", ["-o", "compat=0.10"]), ("d.qed", "qed", [])):
        image = folder / name
        run("qemu-img", "create", "-f", kind, *options, "-b", behind, "-F", "raw", image, "31k")
        expect(run(TOOL, "resize", "-f", kind, image, "150k")[0] == 0, f"{name}: not resized")
        code, out, _ = run("qemu-io", "-f", kind, "-c", "read -P 7 0 31k", "-c", "read -P 0 31k 119k", image)
        expect(code == 0 and "failed" not in out, f"{name}: {out}")
        expect(run("qemu-img", "check", "-f", kind, image)[0] == 0, f"{name} is not sound")
    image = folder / "cut.qcow2"
    run("qemu-img", "create", "-f", "qcow2", image, "128k")
    run("qemu-io", "-c", "write -P 9 0 128k", image)
    run(TOOL, "resize", "--shrink", image, "80k")
    run(TOOL, "resize", image, "128k")
    out = run("qemu-io", "-c", "read -P 9 0 80k", "-c", "read -P 0 80k 48k", image)[1]
    expect("failed" not in out, f"what was cut off is back: {out}")


def rebase_keeps_zeroes(folder):
    """Behind version 2 and qed images that had nothing behind them, qemu-img lets the new backing file show."""
    behind = folder / "behind.raw"
    behind.write_bytes(b"\7" * (512 << 10))
    for name, kind, options in (("v2.qcow2", "qcow2", ["-o", "compat=0.10"]), ("d.qed", "qed", [])):
        image = folder / name
        run("qemu-img", "create", "-f", kind, *options, image, "512k")
        run("qemu-io", "-f", kind, "-c", "write -P 2 0 128k", image)
        code, _, err = run(TOOL, "rebase", "-f", kind, "-b", behind, "-F", "raw", image)
        expect(code == 0, f"{name}: {err}")
        code, out, _ = run("qemu-io", "-f", kind, "-c", "read -P 2 0 128k", "-c", "read -P 0 128k 384k", image)
        expect(code == 0 and "failed" not in out, f"{name}: {out}")
    image = folder / "shrunk.qcow2"
    run("qemu-img", "create", "-f", "qcow2", "-o", "compat=0.10", "-b", behind, "-F", "raw", image, "512k")
    code, _, err = run(TOOL, "resize", "--shrink", image, "128k")
    expect(code == 0 and run(TOOL, "resize", image, "512k")[0] == 0, f"shrinking: {err}")
    out = run("qemu-io", "-c", "read -P 7 0 128k", "-c", "read -P 0 128k 384k", image)[1]
    expect("failed" not in out, f"shrunk and grown: {out}")


def targets_of_fixed_size(folder):
    """New images on a block device and on an export, over what was there before."""
    raw, old = folder / "disk.raw", folder / "old"
    random_disk(raw, 16, 5)  # half of it at most is data: as qcow2 it fits into its own size

    def into(place):
        for kind in ("qcow2", "raw"):
            code, _, err = run(TOOL, "convert", "-f", "raw", "-O", kind, raw, place)
            expect(code == 0, f"{place} as {kind}: {err}")
            out = run("qemu-img", "compare", "-f", "raw", "-F", kind, raw, place)[1]
            expect("identical" in out, f"{place} as {kind}: {out}")
        code, _, err = run(TOOL, "create", "-f", "qcow2", place, "1G")
        expect(code == 0 and run("qemu-img", "check", "-f", "qcow2", place)[0] == 0, f"an empty image on {place}: {err}")
        out = run("qemu-io", "-f", "qcow2", "-c", "read -P 0 0 1G", place)[1]
        expect("failed" not in out, f"an empty image on {place} is not empty: {out}")
        expect(run(TOOL, "create", "-f", "raw", place, "1G")[0] != 0, f"{place} is not as large as that")

    old.write_bytes(random.Random(6).randbytes(16 << 20))
    socket = folder / "s"
    server = subprocess.Popen(["qemu-nbd", "-f", "raw", "-k", socket, "-t", old])
    while not socket.exists():
        time.sleep(0.05)
    into(f"nbd+unix:///?socket={socket}")
    server.terminate()
    server.wait()
    old.write_bytes(random.Random(7).randbytes(16 << 20))
    code, device, _ = run("losetup", "-f", "--show", old) if shutil.which("losetup") else (1, "", "")
    if code == 0:  # only root may
        into(device.strip())
        run("losetup", "-d", device.strip())


def progress_by_signal(folder):
    raw = folder / "disk.raw"
    random_disk(raw, 8, 3)
    process = subprocess.Popen([TOOL, "convert", "-f", "raw", "-r", "4M", raw, folder / "out.raw"], stderr=subprocess.PIPE, text=True)
    for _ in range(3):
        time.sleep(0.3)
        if process.poll() is None:
            process.send_signal(signal.SIGUSR1)
    err = process.communicate()[1]
    expect(process.returncode == 0 and "/100%)" in err, f"SIGUSR1 printed: {err!r}")


def main():
    global TOOL
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("--only", default="")
    a = parser.parse_args()
    TOOL = a.program.resolve()
    for test in (resuming, compacting, growing, importing, in_use, leaks_repaired, growing_shows_zeroes, rebase_keeps_zeroes, targets_of_fixed_size, progress_by_signal):
        if a.only in test.__name__:
            with tempfile.TemporaryDirectory(prefix="myna-img-") as folder:
                test(pathlib.Path(folder))
    print("\n".join(problems) or "all good")
    return 1 if problems else 0


if __name__ == "__main__":
    os.environ["LC_ALL"] = "C"
    sys.exit(main())
