#!/usr/bin/python3
"""myna-io against qemu-io: the same commands on twin images must print the same and leave the same bytes.

  io_test.py BIN_DIR        MYNA_TEST_OPS: random commands in the second part; MYNA_TEST_SEED repeats a run

Times and rates are replaced before comparing; help texts are not compared.
"""
import json
import os
import pathlib
import random
import re
import shutil
import sys

from support import SEED, expect, finish, folder, need, run, same

CASES = [
    ["write -P 0x55 0 64k", "read -P 0x55 0 4k", "read -P 0x56 0 4k"],
    ["write -P 65 0 64", "read -v 0 40", "read -v 3 17"],
    ["write 0 128k", "write -z 64k 64k", "write 128k 64k", "write -z -u 128k 64k", "write -c 192k 64k", "map", "alloc 0 1M", "alloc 64k", "alloc 512k", "info", "length"],
    ["aio_write -P 9 0 64k", "aio_flush", "aio_read -P 9 0 4k", "aio_flush", "aio_read -P 8 -v 0 32", "aio_flush", "flush"],
    ["readv 0 4k 4k", "writev -P 3 0 4k 512", "readv -P 3 0 512 1k", "readv -P 4 0 512 1k"],
    ["read 1000 100", "read 0 2M", "read 2M 1", "write 1M 512", "discard 2M 1k"],
    ["read", "read 0", "read x 1", "read 0 x", "bogus", "read 0 99E"],
    ["truncate 2M", "length", "truncate x", "discard", "discard 0 64k", "discard -q 0 64k", "truncate 1536k", "length", "truncate -m bogus 1M"],
    ["write -q 0 4k", "write -f 0 4k", "write -n 0 4k", "write -cz 0 64k", "write -zP 3 0 64k", "write -u 0 4k", "write -s /nonexistent 0 4k"],
    ["sleep 1", "close", "read 0 1", "open nonexistent", "length", "sleep x"],
    ["read -P 0 -s 10 -l 10 0 4k", "read -P 0 -s 10 -l 5000 0 4k", "read -l 3 0 4k", "write 0 4k -P 3", "write -P 300 0 1", "read -q -P 0xcd 512 512"],
    ["aio_write -z 0 64k 1k", "aio_write -u 0 64k", "aio_write -zP 3 0 64k", "aio_write -P 5 0 512 512", "aio_flush", "read -v 1000 40"],
    ["length 3", "truncate", "help a b", "quit", "length"],
    ["reopen -r", "write 0 1", "reopen -w", "write -q 0 1", "reopen -c foo", "reopen -r -w", "reopen x"],
    ["write -C 0 4k", "read -C 0 4k", "discard -C 0 64k"],
    ["break a b", "remove_break a", "resume a"],
    ["reopen -o overlap-check=none", "write -q 0 4k", "reopen -o lazy-refcounts=42", "reopen -o overlap-check=blubb", "reopen -o overlap-check=all,overlap-check.template=none",
     "reopen -o cache-size=1M,l2-cache-size=2M", "reopen -o l2-cache-entry-size=33k", "reopen -o refcount-cache-size=256T", "reopen -o cache-clean-interval=-1", "reopen -r -o read-only=on",
     "reopen -o read-only=on", "write 0 4k", "reopen -o overlap-check.active-l2=off,lazy-refcounts=on", "read -P 0xcd 0 4k", "read -P 0 4k 4k"],
    ["r 0 512", "w 0 512", "l", "f", "d 0 512", "t 1M", "q"],
    ["write -b -P 0x77 0 100k", "read -b -P 0x77 0 100k", "read -b -P 0 100k 1k", "read -P 0 0 1M", "write -b -P 5 3 5", "read -bv 0 32", "map", "write -bz 0 4k", "read -b 3G 512", "write -b 900M 512",
     "read -b -P 0xcd 900M 512", "read -b -P 0xcd 500M 512", "truncate 2M", "read -b 0 1k"],
    ["alloc 4M", "alloc 0 x", "map", "write 100k 1", "map"],
]


def normal(text, name):
    text = text.replace(name, "IMAGE").replace("myna-io:", "qemu-io:")
    text = re.sub(r"[\d.]+ ops; .*", "OPS", text)
    text = re.sub(r"^(\w+ .*) -- .*", r"\1", text, flags=re.M)  # a usage line: the words of the summary are each program's own
    return re.sub(r"^(\d+,\d+),[\d:.]+,[\d.einf]+,[\d.einf]+$", r"\1,T,R,R", text, flags=re.M)


def compare(bin_dir, images, options, commands):
    results = []
    for program, image in zip((bin_dir / "myna-io", "qemu-io"), images):
        words = [x for c in commands for x in ("-c", c)]
        done = run(program, *options, *words, image, check=False, stdin=-3)
        results.append((done.returncode, normal(done.stdout, str(image)), normal(done.stderr, str(image))))
    expect(results[0] == results[1], f"{options} {commands}:\n--- myna-io {results[0]}\n--- qemu-io {results[1]}")


def same_content(images, fmt):
    done = run("qemu-img", "compare", "-f", fmt, "-F", fmt, *images, check=False)
    expect(done.returncode == 0, f"the images differ: {done.stdout}{done.stderr}")


# Bytes of a 64 MiB image with a cluster of data, as qemu-img and qemu-io lay it out.
TABLE, BLOCK, L1, L2 = 0x10000, 0x20000, 0x30000, 0x40000
DAMAGE = [
    ({L1: 0x8000000000030000}, [], ["write -P 0x2a 0 512"]),                       # the L1 table as an L2 table
    ({L2: 0x8000000000020000}, [], ["write -P 0x2a 0 512"]),                       # a refcount block as data
    ({L2 + 8: 0x8000000000040000}, [], ["write -P 0x2a 64k 512", "write 0 512"]),  # an L2 table as data
    ({L2: 0x8000000000052a00}, [], ["read 0 64k"]),
    ({L2: 0x8000000000052a00}, ["-r"], ["read 0 64k", "read 0 64k"]),
    ({L2: 0x8000000000052a00}, [], ["discard 0 64k"]),
    ({L2: 0x8000000000052a00, L2 + 8: 0x8000000000062a00}, [], ["discard 0 64k", "read 64k 64k"]),
    ({L1: 0x8000000000042a00}, [], ["read 0 64k"]),
    ({TABLE: 0x22a00}, [], ["write 64k 64k"]),
    ({BLOCK: 0x0000000100010001}, [], ["write 64k 64k"]),                          # the header as free space
]


def damage(bin_dir, d):
    """What writes would destroy is refused, in the same words, and both programs leave the same mark."""
    for bytes_at, options, commands in DAMAGE:
        images = [d / "a", d / "b"]
        run("qemu-img", "create", "-q", "-f", "qcow2", images[0], "64M")
        run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", images[0])
        with open(images[0], "r+b") as f:
            for at, value in bytes_at.items():
                f.seek(at)
                f.write(value.to_bytes(8, "big"))
        before = images[0].read_bytes()
        shutil.copy(images[0], images[1])
        checks = [run(c, "check", "-f", "qcow2", images[0], check=False) for c in (bin_dir / "myna-img", "qemu-img")]
        if "aligned" not in checks[0].stderr:  # what unaligned entries might mean, the documented tool goes on to guess
            expect([(c.returncode, c.stderr, c.stdout) for c in checks[:1]] == [(c.returncode, c.stderr, c.stdout) for c in checks[1:]],
                   f"check of {bytes_at}:\n--- {str(checks[0])[:2000]}\n--- {str(checks[1])[:2000]}")
        compare(bin_dir, images, ["-f", "qcow2", *options], commands)
        marks = [json.loads(run("qemu-img", "info", "--output=json", i).stdout)["format-specific"]["data"]["corrupt"] for i in images]
        expect(marks[0] == marks[1], f"{commands} on {bytes_at}: marked as corrupt {marks}")
        if marks[0]:
            after = images[0].read_bytes()
            expect(after[:72] == before[:72] and after[4096:] == before[4096:], f"{commands} on {bytes_at} changed a damaged image")
        else:
            expect(images[0].read_bytes()[BLOCK:L1] == images[1].read_bytes()[BLOCK:L1], f"{commands} on {bytes_at}: other clusters are counted")
        if marks[0]:
            refused = run(bin_dir / "myna-io", "-f", "qcow2", "-c", "length", images[0], check=False)
            expect(refused.returncode == 1 and "Image is corrupt; cannot be opened read/write" in refused.stderr, f"a marked image: {refused}")
    # Clusters that only the options look after, and options beside a name.
    run("qemu-img", "create", "-q", "-f", "qcow2", d / "a", "64M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", d / "a")
    run("qemu-img", "snapshot", "-c", "s", d / "a")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 2 0 64k", d / "a")
    image = (d / "a").read_bytes()
    snapshots = int.from_bytes(image[64:72], "big")
    inactive = int.from_bytes(image[(at := int.from_bytes(image[snapshots:snapshots + 8], "big")):at + 8], "big") & 0xfffffffffffe00
    active = int.from_bytes(image[L1:L1 + 8], "big") & 0xfffffffffffe00
    with open(d / "a", "r+b") as f:
        f.seek(active)
        f.write((1 << 63 | inactive).to_bytes(8, "big"))
    done = [run(bin_dir / "myna-io", "-c", f"open -o overlap-check={o} {d / 'a'}", "-c", "write -P 3 0 512", check=False) for o in ("all", "cached")]
    expect("overlaps with inactive L2 table" in done[0].stderr and "write failed" in done[0].stdout, f"overlap-check=all: {done[0]}")
    expect("cannot be opened read/write" in done[1].stderr, f"a marked image: {done[1]}")


def unreadable_snapshots(bin_dir, d):
    """Clusters of snapshots whose table cannot be read look leaked; no repair may give them away."""
    for entry in (0, 1):
        image = d / "a"
        run("qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
        for k in range(3):
            run("qemu-io", "-f", "qcow2", "-c", f"write -P {k + 1} 0 128k", image)
            if k < 2:
                run("qemu-img", "snapshot", "-c", f"s{k}", image)
        good = image.read_bytes()
        at = int.from_bytes(good[64:72], "big")
        for _ in range(entry):
            at += (40 + sum(int.from_bytes(good[at + f:at + f + n], "big") for f, n in ((12, 2), (14, 2), (36, 4))) + 7) & ~7
        for repair in ("leaks", "all"):
            bad = bytearray(good)
            bad[at + 36:at + 40] = (65536).to_bytes(4, "big")
            image.write_bytes(bad)
            done = run(bin_dir / "myna-img", "check", "-f", "qcow2", "-r", repair, image, check=False)
            expect(done.returncode == 2 and "snapshot table" in done.stderr, f"check -r {repair} of unreadable snapshots: {done}")
            after = bytearray(image.read_bytes())
            after[at + 36:at + 40] = good[at + 36:at + 40]
            image.write_bytes(after)
            run("qemu-img", "check", "-q", "-f", "qcow2", image)
            run("qemu-img", "snapshot", "-a", "s0", image)
            expect("Pattern" not in run("qemu-io", "-f", "qcow2", "-c", "read -P 1 0 128k", image).stdout, f"check -r {repair} lost a snapshot")


def breakpoints(bin_dir, d):
    """Requests that stop at an event, while others to the same clusters come and go."""
    for k, commands in enumerate((
            ["break write_aio A", "aio_write -P 10 96k 8k", "wait_break A", "aio_write -P 11 72k 8k", "resume A", "aio_flush"],
            ["break bogus A", "break write_aio A", "remove_break A", "remove_break A", "aio_write -P 20 160k 8k", "aio_flush", "resume A"],
            ["break write_aio A", "aio_write -P 40 288k 8k", "wait_break A", "aio_write -P 41 304k 64k", "read -P 0 1M 4k", "resume A", "resume A", "aio_flush"])):
        images = [f"blkdebug::{d / 'a'}", f"blkdebug::{d / 'b'}"]
        run("qemu-img", "create", "-q", "-f", "qcow2", d / "a", "6G")
        shutil.copy(d / "a", d / "b")
        compare(bin_dir, images, ["-f", "qcow2"], commands)
        same_content([d / "a", d / "b"], "qcow2")


def constrained(bin_dir, d):
    """A format below blkdebug, by options beside the name, with limits that cut requests."""
    for limits, commands in (("align=4k,max-transfer=64k", ["write -P 33 1000 128k", "read -P 33 1000 128k"]),
                             ("align=512,max-transfer=64k,opt-write-zero=15M,max-write-zero=15M,opt-discard=15M,max-discard=15M",
                              ["write -P 5 0 64M", "write -z 33M 30M", "discard 1000001 20M", "read -P 5 22M 8M", "read -P 0 33M 30M"])):
        run("qemu-img", "create", "-q", "-f", "qcow2", d / "a", "128M")
        shutil.copy(d / "a", d / "b")
        results = []
        for program, image in zip((bin_dir / "myna-io", "qemu-io"), (d / "a", d / "b")):
            words = [x for c in [f"open -o driver=blkdebug,image.driver=qcow2,{limits} blkdebug::{image}"] + commands for x in ("-c", c)]
            done = run(program, *words, check=False)
            results.append((done.returncode, normal(done.stdout, str(image)), normal(done.stderr, str(image))))
        expect(results[0] == results[1], f"{limits}:\n--- myna-io {results[0]}\n--- qemu-io {results[1]}")
        same_content([d / "a", d / "b"], "qcow2")
    # A filter between the format and the file, a single rule of it.
    results = []
    for program, image in zip((bin_dir / "myna-io", "qemu-io"), (d / "a", d / "b")):
        done = run(program, "-c", f"open -o driver=qcow2,file.driver=blkdebug,file.inject-error.event=l2_load {image}", "-c", "read 0 512", check=False)
        results.append((done.returncode, normal(done.stdout, str(image))))  # closing flushes, which fails, too: only myna-io says so
    expect(results[0] == results[1] and "read failed" in results[0][1], f"one rule of blkdebug: {results}")


def written_through(bin_dir, d):
    """With cache mode writethrough, a write that ended is there after the program is killed."""
    for fmt in ("raw", "qcow2", "qed", "qcow", "vdi", "vmdk", "vhdx", "vpc", "parallels"):
        for mode in ("writethrough", "directsync"):
            run("qemu-img", "create", "-q", "-f", fmt, d / "a", "8M")
            killed = run(bin_dir / "myna-io", "-f", fmt, "-t", mode, "-c", "write -P 0x5a 1M 64k", "-c", "write -z 3M 4k", "-c", "sigraise 9", d / "a", check=False)
            expect(killed.returncode == -9, f"sigraise: {killed}")
            seen = run("qemu-io", "-r", "-f", fmt, "-c", "read -P 0x5a 1M 64k", "-c", "read -P 0 3M 4k", d / "a", check=False)
            expect(seen.returncode == 0 and "Pattern" not in seen.stdout, f"{fmt}, {mode}: a write that ended was lost: {seen}")


def random_commands(rng, count, size):
    out = []
    for _ in range(count):
        at = rng.randrange(size)
        if rng.random() < 0.5:
            at &= ~0xfff
        length = min(rng.choice([1, 511, 512, 4096, 65536, rng.randrange(1, 200000)]), size - at)
        kind = rng.choice(["write", "write", "write -z", "write -z -u", "writev", "read", "read -v", "discard", "aio", "alloc", "map", "flush"])
        if kind == "writev" and length > 1:
            out.append(f"writev -P {rng.randrange(256)} {at} {length // 2} {length - length // 2}")
        elif kind == "aio":
            out += [f"aio_write -P {rng.randrange(256)} {at} {length}", "aio_flush"]
        elif kind == "write":
            out.append(f"write -P {rng.randrange(256)} {at} {length}")
        elif kind == "read -v":
            out.append(f"read -v {at} {min(length, 600)}")
        elif kind == "discard":  # what an unaligned discard leaves is anybody's choice: whole clusters only
            out.append(f"discard {at & ~0xffff} 64k" if (at & ~0xffff) + 65536 <= size else "flush")
        elif kind in ("map", "flush"):
            out.append(kind)
        elif kind != "writev":
            out.append(f"{kind} {at} {length}")
    return out


def main():
    bin_dir = pathlib.Path(sys.argv[1])
    need("qemu-io", "qemu-img")
    rng = random.Random(SEED)
    with folder() as d:
        images = [d / "a", d / "b"]
        for commands in CASES:
            run("qemu-img", "create", "-q", "-f", "qcow2", images[0], "1M")
            shutil.copy(images[0], images[1])
            compare(bin_dir, images, ["-f", "qcow2"], commands)
            same_content(images, "qcow2")
        for fmt, options in (("qcow2", []), ("raw", []), ("qcow2", ["-n"]), ("raw", ["-t", "writethrough"])):
            run("qemu-img", "create", "-q", "-f", fmt, images[0], "3M")
            shutil.copy(images[0], images[1])
            commands = random_commands(rng, int(os.environ.get("MYNA_TEST_OPS", 60)), 3 << 20)
            # Which clusters writing zeroes allocates is each program's choice.
            commands = [c for c in commands if not c.startswith(("map", "alloc"))]
            compare(bin_dir, images, ["-f", fmt, *options], commands)
            same_content(images, fmt)
        damage(bin_dir, d)
        unreadable_snapshots(bin_dir, d)
        breakpoints(bin_dir, d)
        constrained(bin_dir, d)
        written_through(bin_dir, d)
        # Options and exit codes
        run("qemu-img", "create", "-q", "-f", "qcow2", images[0], "1M")
        shutil.copy(images[0], images[1])
        for options in (["-r"], ["-s"], ["-U"], ["-m"], ["-k"], ["-i", "threads"], ["-i", "bogus"], ["-t", "bogus"], ["-d", "bogus"], ["-d", "unmap"], ["-f", "bogus"],
                        ["-f", "qcow2", "--image-opts"], ["-f", "raw", "-r"]):
            compare(bin_dir, images, options, ["write -P 1 0 4k", "read -P 1 0 512", "length"] if options[-1] != "-r" or "raw" not in options else ["length"])
            same_content(images, "qcow2")
        for program in (bin_dir / "myna-io", "qemu-io"):
            spoken = run(program, images[0], input="length\nread 0 512\nquit\n", check=False)
            expect(spoken.stdout.count("io> ") == 3 and "1 MiB" in spoken.stdout, f"{program} as a dialogue: {spoken}")
            expect(run(program, "-c", "length", check=False).returncode == 1, f"{program} without a file")
            expect(run(program, "--image-opts", "-c", "length", f"driver=qcow2,file.filename={images[0]}").stdout == "1 MiB\n", f"{program} --image-opts")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
