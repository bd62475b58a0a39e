# podman and dockerd with an OCI runtime, on cgroup v2 with systemd as the manager
# of control groups. $1 is the runtime. Prints a line for each check.

runtime=$1
passed=0 failed=0
check() {
    name=$1
    shift
    # In the background: `set -e` means nothing inside of a condition.
    (set -e; "$@") >/tmp/said 2>&1 &
    if wait $!; then
        passed=$((passed + 1)); echo "ok    $name"
    else
        failed=$((failed + 1)); echo "FAIL  $name"; sed 's/^/      /' /tmp/said
    fi
}
eventually() {
    for _ in $(seq 300); do
        "$@" && return
        sleep 0.2
    done
    echo "never: $*"
    return 1
}
is() { test "$1" = "$2" || { echo "it is $1 instead of $2"; return 1; }; }

mkdir -p /tmp/web && tar -C /tmp/web -xf web.tar
# This machine's own system, as another sees it.
mkdir -p /tmp/system/upper /tmp/system/work /tmp/system/tree
mount -t overlay -o lowerdir=/,upperdir=/tmp/system/upper,workdir=/tmp/system/work overlay /tmp/system/tree
rm -f /tmp/system/tree/etc/systemd/system/multi-user.target.wants/xtask-run.service
: >/tmp/system/tree/etc/fstab

podman() { command podman --runtime "$runtime" "$@"; }
idle() { podman run --detach --name "$1" --network none "${@:2}" --rootfs /tmp/web sleep 600; }
group() { cat "/proc/$(podman inspect --format '{{.State.Pid}}' "$1")/cgroup"; }
in_group() { podman exec "$1" cat "/sys/fs/cgroup/$2"; }

podman_runs() { is "$(podman run --rm --network none --rootfs /tmp/web echo hello)" hello; }
podman_scope() {
    idle scope
    group scope
    group scope | grep -Eq '^0::/machine.slice/libpod-[0-9a-f]*\.scope(/container)?$'
    unit=$(group scope | grep -o 'libpod-[0-9a-f]*\.scope')
    is "$(systemctl show --property ActiveState --value "$unit")" active
    podman rm --force --time 0 scope
    is "$(systemctl show --property ActiveState --value "$unit")" inactive
}
podman_limits() {
    idle limits --memory 64m --memory-reservation 32m --pids-limit 50 --cpus 0.5 --cpuset-cpus 1
    is "$(in_group limits memory.max)" 67108864
    is "$(in_group limits memory.low)" 33554432
    is "$(in_group limits pids.max)" 50
    is "$(in_group limits cpu.max)" "50000 100000"
    is "$(in_group limits cpuset.cpus)" 1
    systemctl daemon-reload
    is "$(in_group limits memory.max)" 67108864
    podman rm --force --time 0 limits
}
podman_pauses() {
    idle pauses
    podman pause pauses
    is "$(podman inspect --format '{{.State.Status}}' pauses)" paused
    podman unpause pauses
    podman exec pauses true
    podman stop --time 1 pauses
    is "$(podman inspect --format '{{.State.ExitCode}}' pauses)" 137
    podman rm pauses
}
podman_devices() {
    idle devices --device /dev/null:/dev/extra --cap-add MKNOD
    podman exec devices sh -c 'echo >/dev/extra'
    podman exec devices sh -c 'mknod /tmp/disk b 254 0 && ! head -c 1 /tmp/disk'
    podman rm --force --time 0 devices
}
podman_oom() {
    code=0
    podman run --rm --network none --memory 8m --memory-swap 8m --rootfs /tmp/web \
        sh -c 'head -c 64m /dev/zero | tail' || code=$?
    is $code 137
}
podman_maps() {
    said=$(podman run --rm --network none --uidmap 0:100000:65536 --rootfs /tmp/web:O cat /proc/self/uid_map)
    echo "$said" | grep -q '^ *0 *100000 *65536$'
}
boots() {
    # `degraded` where a unit wants what no container has.
    state=$("$@" systemctl is-system-running --wait || true)
    case $state in running | degraded) ;; *) echo "systemd is $state"; return 1 ;; esac
    "$@" systemctl is-active multi-user.target
    "$@" systemd-run --wait --pipe -p MemoryMax=20M true
}
podman_systemd() {
    podman run --detach --name system --network none --systemd always --stop-timeout 60 \
        --rootfs /tmp/system/tree /sbin/init
    eventually podman exec system test -S /run/systemd/private
    boots podman exec system
    podman stop system
    # It has ended by itself: nobody had to kill it.
    is "$(podman inspect --format '{{.State.ExitCode}}' system)" 130 ||
        is "$(podman inspect --format '{{.State.ExitCode}}' system)" 0
    podman rm system
}
podman_cgroupfs() {
    said=$(podman --cgroup-manager cgroupfs run --rm --network none --memory 64m --rootfs /tmp/web \
        sh -c 'cat /sys/fs/cgroup/memory.max')
    is "$said" 67108864
}

docker() { command docker --host unix:///tmp/docker.sock "$@"; }
start_docker() {
    dockerd --host unix:///tmp/docker.sock --data-root /tmp/docker --exec-root /run/docker-test \
        --pidfile /tmp/docker.pid --storage-driver overlay2 --bridge none --iptables=false \
        --ip6tables=false --exec-opt native.cgroupdriver=systemd \
        --add-runtime "tested=$runtime" --default-runtime tested >/tmp/docker.log 2>&1 &
    eventually docker version >/dev/null 2>&1
    is "$(docker info --format '{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}}')" "systemd 2 tested"
    docker import web.tar web
}
docker_scope() {
    docker run --detach --name scope --network none web sleep 600
    pid=$(docker inspect --format '{{.State.Pid}}' scope)
    grep -q '^0::/system.slice/docker-[0-9a-f]*\.scope$' "/proc/$pid/cgroup"
    docker rm --force scope
}
docker_limits() {
    docker run --detach --name limits --network none --memory 64m --pids-limit 50 --cpus 0.5 web sleep 600
    at() { docker exec limits cat "/sys/fs/cgroup/$1"; }
    is "$(at memory.max)" 67108864
    is "$(at pids.max)" 50
    is "$(at cpu.max)" "50000 100000"
    docker update --memory 96m --memory-swap 96m limits
    systemctl daemon-reload
    is "$(at memory.max)" 100663296
    docker pause limits
    docker unpause limits
    docker stop --time 1 limits
    is "$(docker inspect --format '{{.State.ExitCode}}' limits)" 137
    docker rm limits
}
docker_systemd() {
    # Its own root, with the programs of this machine.
    mkdir -p /tmp/host && (cd /tmp/host && mkdir -p etc usr var run tmp root proc sys dev &&
        for link in bin sbin lib lib64; do ln -sfn usr/$link $link; done)
    tar -C /tmp/host -cf - . | docker import - system
    docker run --detach --name system --network none --privileged --cgroupns private \
        --stop-signal SIGRTMIN+3 --stop-timeout 60 --tmpfs /run --tmpfs /tmp \
        --volume /tmp/system/tree/usr:/usr --volume /tmp/system/tree/etc:/etc \
        --env container=docker system /sbin/init
    eventually docker exec system test -S /run/systemd/private
    boots docker exec system
    docker stop system
    case $(docker inspect --format '{{.State.ExitCode}}' system) in
        0 | 130) ;;
        *) docker inspect system; return 1 ;;
    esac
    docker rm system
}
stop_docker() {
    kill "$(cat /tmp/docker.pid)"
    eventually test ! -e /tmp/docker.pid
}

check "podman runs a container" podman_runs
check "podman's container is a scope of systemd's" podman_scope
check "podman's limits hold, also when systemd reloads" podman_limits
check "podman pauses and stops" podman_pauses
check "podman's device rules hold" podman_devices
check "podman's container ends for lack of memory" podman_oom
check "podman maps users" podman_maps
check "podman runs systemd" podman_systemd
check "podman makes groups itself" podman_cgroupfs
check "dockerd starts with systemd's groups" start_docker
check "docker's container is a scope of systemd's" docker_scope
check "docker's limits hold, also when systemd reloads" docker_limits
check "docker runs systemd" docker_systemd
check "dockerd stops" stop_docker
nothing_is_left() {
    units=$(systemctl list-units --all --plain --no-legend 'libpod-*' 'docker-*')
    is "$units" ""
}
check "no unit is left" nothing_is_left
echo "$passed passed, $failed failed, 0 skipped"
test $failed = 0
