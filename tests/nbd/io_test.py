#!/usr/bin/python3
"""myna-io against qemu-io: the same commands on twin images must print the same and leave the same bytes.

  io_test.py BIN_DIR        MYNA_TEST_OPS: random commands in the second part; MYNA_TEST_SEED repeats a run

Times and rates are replaced before comparing; help texts are not compared.
"""
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
