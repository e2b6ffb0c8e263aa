#!/bin/bash
# fio with libaio, io_uring (where offered), psync, mmap
set -e
command -v fio >/dev/null || exit 77
cd $(mktemp -d)
for engine in libaio psync mmap posixaio splice pvsync2; do
    fio --name=t --ioengine=$engine --size=4M --bs=4k --rw=randrw --iodepth=8 --numjobs=2 --verify=crc32c --group_reporting --minimal > out || { cat out; exit 1; }
    rm -f t.*
done
