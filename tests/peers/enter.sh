#!/bin/sh
# Runs a program with another directory as its root: enter.sh ROOT WORK PROGRAM [ARGUMENT…]
# Called inside new mount and process namespaces (unshare --mount --pid --fork --kill-child), so that every mount and
# process made here ends with them. WORK, a directory of the caller, keeps its path inside.
# A plain chroot would not do: container runtimes call pivot_root, which asks for a root that is a mount point.
set -eu
root=$1
work=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
for directory in dev sys; do
    mount --rbind "/$directory" "$root/$directory"
done
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root$work" "$root/.old"
mount --rbind "$work" "$root$work"
cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
cd "$root"
pivot_root . .old
cd /
umount -l /.old
exec "$@"
