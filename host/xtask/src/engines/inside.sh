# Goes on where start.sh has changed the root: joins a network to the machine's, and starts the engine in it.
set -eu
umount -l /old
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset TMPDIR
cd "$D"
if [ "$PROGRAM" != docker ] && [ "$PROGRAM" != containerd ] && ! [ -e /sys/fs/cgroup/cgroup.procs ]; then
    # What runs without root, and Podman, need the one hierarchy where the machine has the many old ones.
    umount -l /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mkfifo "$D/joined"
unshare --net --mount sh -eu "$D/engine.sh" < "$D/joined" > "$D/log" 2>&1 &
ENGINE=$!
exec 3> "$D/joined"
# The machine's own network stays as it is: no interface, address or rule is added to it.
until [ "$(readlink /proc/$ENGINE/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
slirp4netns --configure --mtu=65520 --disable-host-loopback "$ENGINE" tap0 > "$D/network.log" 2>&1 &
echo go >&3
# Whoever started this holds the other end.
cat > /dev/null
