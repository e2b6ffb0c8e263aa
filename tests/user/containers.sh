#!/bin/bash
# Foreign programs in chroots, namespaces, bubblewrap and container images, through binfmt_misc and without it; all in a
# user namespace of its own, so that the host's registrations stay untouched.
#
#   containers.sh MYNA_USER GUEST      ends with 77 where the kernel, root or Debian's programs for GUEST are missing
#
# The image is built by buildah (vfs storage, chroot isolation) from a folder with Debian's static busybox of GUEST.
set -u
here=$(cd "$(dirname "$0")" && pwd)
myna=$1 guest=$2
if [ "${3-}" != inside ]; then
    top=$("$here/../../scripts/real-programs" all 2> /dev/null | awk -v g="$guest" '$1 == g { print $2 }')
    [ -n "$top" ] || { echo "skipped: Debian's programs for $guest could not be fetched"; exit 77; }
    [ "$(id -u)" = 0 ] || { echo "skipped: needs root to map a range of users"; exit 77; }
    unshare --map-root-user --mount sh -c 'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2> /dev/null ||
        { echo "skipped: no binfmt_misc in user namespaces here"; exit 77; }
    # All users are mapped, as newuidmap would for a user with a range of its own: package tools change groups.
    wait_at=$(mktemp -u)
    mkfifo "$wait_at"
    unshare --user --mount --pid --fork sh -c 'read -r _ < "$1" && exec unshare --mount --pid --fork --mount-proc bash "$0" "$2" "$3" inside "$4"' \
        "$0" "$wait_at" "$myna" "$guest" "$top" &
    child=$!
    while ! [ -e "/proc/$child/ns/user" ] || [ "$(readlink "/proc/$child/ns/user")" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.05; done
    echo "0 0 65536" > "/proc/$child/uid_map"
    echo "0 0 65536" > "/proc/$child/gid_map"
    echo go > "$wait_at"
    wait "$child"; status=$?
    rm -f "$wait_at"
    exit "$status"
fi
top=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
expect() {   # expect NAME OUTPUT COMMAND…
    local name=$1 wanted=$2 got; shift 2
    got=$("$@" 2> "$work/errors"); local status=$?
    [ "$status" = 0 ] && [ "$got" = "$wanted" ] && { echo "ok   $name"; return; }
    echo "FAIL $name: status $status, output '$got', expected '$wanted'"; cat "$work/errors"; failed=1
}
mkdir -p "$work/image/bin" "$work/image/etc" "$work/image/proc" "$work/image/dev" "$work/image/tmp" "$work/image/usr"
cp "$top/bin/busybox" "$work/image/bin/"
for name in sh uname cat id test; do ln -s busybox "$work/image/bin/$name"; done
echo "root:x:0:0:root:/:/bin/sh" > "$work/image/etc/passwd"

# Without registration: the emulator in the chroot, as other tools' guides have it.
cp "$myna" "$work/image/usr/qemu-$guest-static"
expect "chroot, emulator copied" "$guest" chroot "$work/image" "/usr/qemu-$guest-static" /bin/uname -m
expect "chroot, emulator copied, exec" "$guest 2" chroot "$work/image" "/usr/qemu-$guest-static" /bin/sh -c '/bin/busybox echo $(/bin/uname -m) $(/bin/sh -c "exec /bin/busybox expr 1 + 1")'
rm "$work/image/usr/qemu-$guest-static"

"$myna" binfmt install "$guest" > /dev/null || exit 1
expect "chroot" "$guest" chroot "$work/image" /bin/uname -m
expect "unshare, own processes" "$guest 1" unshare --user --map-root-user --pid --fork --mount-proc chroot "$work/image" /bin/sh -c 'echo $(uname -m) $$'
if command -v bwrap > /dev/null; then
    expect "bwrap --unshare-all" "$guest 0" bwrap --unshare-all --bind "$work/image" / --proc /proc --dev /dev /bin/sh -c 'echo $(uname -m) $(id -u)'
else
    echo "skip bwrap: not installed (bubblewrap)"
fi
if command -v buildah > /dev/null; then
    case $guest in aarch64) arch=arm64 ;; *) arch=$guest ;; esac
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot XDG_RUNTIME_DIR=$work/run HOME=$work/home CONTAINERS_STORAGE_CONF=$work/storage.conf
    mkdir -p "$work/run" "$work/home"
    printf '[storage]\ndriver = "vfs"\nrunroot = "%s/rr"\ngraphroot = "%s/gr"\n' "$work" "$work" > "$work/storage.conf"
    printf '{"default":[{"type":"insecureAcceptAnything"}]}' > "$work/policy.json"
    printf 'FROM scratch\nCOPY image /\nRUN uname -m > /built-on && test -d /proc/self\nCMD ["/bin/sh"]\n' > "$work/Dockerfile"
    if buildah bud --arch "$arch" --signature-policy "$work/policy.json" -t image "$work" > "$work/log" 2>&1; then
        echo "ok   buildah bud"
        expect "architecture of the image" "$arch" buildah inspect --format '{{.OCIv1.Architecture}}' localhost/image
        container=$(buildah from --signature-policy "$work/policy.json" localhost/image)
        expect "buildah run" "$guest $guest" buildah run "$container" /bin/sh -c 'echo $(cat /built-on) $(uname -m)'
        buildah rm "$container" > /dev/null
    else
        echo "FAIL buildah bud"; cat "$work/log"; failed=1
    fi
else
    echo "skip buildah: not installed"
fi
exit "$failed"
