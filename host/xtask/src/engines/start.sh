# Starts a container engine from an unpacked Debian, in a network of its own.
#
# It runs as the first process of its own mount, process and IPC namespaces, and ends with its standard input; all
# other processes, mounts and the network end with it. The engine's socket is $D/engine.sock.
#
#   ROOT     the unpacked Debian, which stays as it is
#   D        a folder for what the engine writes; the same path inside
#   PROGRAM  docker, containerd, rootless or podman
set -eu
mount --make-rprivate /
R="$D/root"
mkdir -p "$D/upper" "$D/work" "$R"
mount -t overlay -o "lowerdir=$ROOT,upperdir=$D/upper,workdir=$D/work" overlay "$R"

# Devices of its own: an engine makes some, and may not make them for the whole machine.
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
mkdir "$R/dev/pts" "$R/dev/shm" "$R/dev/net"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
device() { mknod -m 666 "$R/dev/$1" c "$2" "$3"; }
device null 1 3; device zero 1 5; device full 1 7; device random 1 8; device urandom 1 9; device tty 5 0
device net/tun 10 200; device fuse 10 229
ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"

mount -t proc proc "$R/proc"
mount --rbind /sys "$R/sys"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mkdir -m 1777 "$R/run/lock"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
cat /etc/resolv.conf > "$R/etc/resolv.conf"
mkdir -p "$R$D" "$R/old"
mount --bind "$D" "$R$D"
cd "$R"
pivot_root . old
exec chroot . /bin/sh "$D/inside.sh"
