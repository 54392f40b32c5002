# The engine itself, in its own network; a line on standard input says that the network is about to be there.
set -eu
read -r _
tries=0
until ip -4 -brief address show tap0 2> /dev/null | grep -q /; do
    tries=$((tries + 1))
    if [ "$tries" -gt 200 ]; then cat "$D/network.log"; exit 1; fi
    sleep 0.05
done
ip link set lo up
echo 'nameserver 10.0.2.3' > "$D/resolv.conf"
mount --bind "$D/resolv.conf" /etc/resolv.conf

# Whoever runs the tests may use the engine.
(until [ -S "$D/engine.sock" ]; do sleep 0.05; done; chmod 666 "$D/engine.sock") &

rootless() {
    mkdir -p "$D/home" "$D/home/run"
    chmod 700 "$D/home/run"
    chown -R engine "$D/home"
    chown engine "$D"
    mount --make-rshared /
    mkdir -p /sys/fs/cgroup/pib-engine
    chown -R engine /sys/fs/cgroup/pib-engine
    echo $$ > /sys/fs/cgroup/pib-engine/cgroup.procs
    export HOME="$D/home" XDG_RUNTIME_DIR="$D/home/run" XDG_DATA_HOME="$D/home/data"
    exec setpriv --reuid=engine --regid="$(id -g engine)" --init-groups "$@"
}

case "$PROGRAM" in
docker | containerd)
    snapshotter=false
    if [ "$PROGRAM" = containerd ]; then snapshotter=true; fi
    printf '{"features": {"containerd-snapshotter": %s}}\n' "$snapshotter" > "$D/daemon.json"
    exec dockerd --config-file "$D/daemon.json" --data-root "$D/data" --exec-root "$D/exec" --pidfile "$D/pid" \
        --group root --host "unix://$D/engine.sock"
    ;;
rootless)
    export DOCKERD_ROOTLESS_ROOTLESSKIT_NET=slirp4netns DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER=none
    rootless sh /usr/share/docker.io/contrib/dockerd-rootless.sh --data-root "$D/home/docker" \
        --host "unix://$D/engine.sock"
    ;;
podman)
    mkdir -p "$D/tmp" "$D/home"
    # Podman asks for more than a machine may allow, unless it is told what to ask for.
    limit() { sed -n "s/unlimited/-1/g; s/^Max $2 *\([^ ]*\) *\([^ ]*\) .*/\"$1=\1:\2\"/p" /proc/self/limits; }
    if podman --version | grep -q ' 4\.'; then
        # crun raises a limit that a machine may not let it raise, and runc does nothing without cgroups.
        runtime=runc
        printf '[containers]\nnetns = "host"\ncgroupns = "host"\n' > "$D/containers.conf"
    else
        runtime=crun
        printf '[containers]\nnetns = "host"\ncgroups = "disabled"\ndefault_ulimits = [%s, %s]\n' \
            "$(limit nofile 'open files')" "$(limit nproc processes)" > "$D/containers.conf"
    fi
    printf '[engine]\nevents_logger = "none"\n' >> "$D/containers.conf"
    export HOME="$D/home" XDG_RUNTIME_DIR="$D/home" CONTAINERS_CONF="$D/containers.conf" TMPDIR="$D/tmp"
    exec podman --root "$D/data" --runroot "$D/run" --tmpdir "$D/tmp" --storage-driver overlay --runtime "$runtime" \
        --cgroup-manager cgroupfs \
        system service --time 0 "unix://$D/engine.sock"
    ;;
esac
