#!/usr/bin/env bash
# A Docker daemon of its own for the agent's tests, and a small image made of this machine's shell.
# Nothing is downloaded, the machine's own daemon is not touched.
#
#   tests/docker.sh start DIR   starts it; the socket is DIR/docker.sock, the image agent-test:1
#   tests/docker.sh stop DIR    stops it and what it ran
#
# Exit status 77: it cannot run here, and standard error says why.
set -euo pipefail

skip() { echo "$*" >&2; exit 77; }

start() {
    local dir=$1 program
    [[ $EUID == 0 ]] || skip "a Docker daemon needs root"
    for program in dockerd docker unshare ip; do
        command -v "$program" >/dev/null || skip "$program is not installed (apt-get install docker.io util-linux iproute2)"
    done
    mkdir -p "$dir"
    # In a network of its own: its bridge and the ports it publishes are no business of this machine.
    setsid unshare --net sh -c 'ip link set lo up && exec dockerd "$@"' dockerd \
        --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid" \
        -H "unix://$dir/docker.sock" --iptables=false --ip-forward=false --ip-masq=false \
        >"$dir/dockerd.log" 2>&1 </dev/null &
    local i
    for ((i = 0; i < 600; i++)); do
        docker -H "unix://$dir/docker.sock" version >/dev/null 2>&1 && break
        kill -0 $! 2>/dev/null || skip "dockerd does not start here: $(grep -E 'failed|level=(fatal|error)' "$dir/dockerd.log" | tail -1)"
        sleep 0.1
    done
    make_image "$dir" || { stop "$dir"; skip "the test image cannot be made"; }
}

make_image() {
    local dir=$1 root=$1/root program lib
    mkdir -p "$root"/{bin,etc,srv,tmp,dev,proc,sys,root,home/job}
    for program in sh bash env sleep cat id ls df; do
        local path
        path=$(command -v "$program")
        cp -L "$path" "$root/bin/$program"
        for lib in $(ldd "$path" | grep -o '/[^ )]*'); do
            mkdir -p "$root$(dirname "$lib")"
            cp -Lu "$lib" "$root$lib"
        done
    done
    # For an agent that is not linked statically.
    for lib in $(ldd /usr/bin/gdb /bin/bash 2>/dev/null | grep -oE '/[^ )]*(libm|libc|libgcc_s|ld-linux)[^ )]*') \
        /lib/*-linux-gnu/lib{m,gcc_s}.so.*; do
        [[ -e $lib ]] || continue
        mkdir -p "$root$(dirname "$lib")"
        cp -Lu "$lib" "$root$lib"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\njob:x:1234:1234:job:/home/job:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\njob:x:1234:\nvideo:x:44:job\n' >"$root/etc/group"
    chown 1234:1234 "$root/srv" "$root/home/job"
    tar -C "$root" -c . | docker -H "unix://$dir/docker.sock" import \
        --change 'USER job' --change 'WORKDIR /srv' --change 'ENV FROM_IMAGE=yes PATH=/bin' \
        --change 'CMD ["/bin/sh","-c","echo from the image"]' - agent-test:1 >/dev/null
}

stop() {
    local dir=$1 pid
    docker -H "unix://$dir/docker.sock" ps -aq 2>/dev/null |
        xargs -r docker -H "unix://$dir/docker.sock" rm -f >/dev/null 2>&1 || :
    pid=$(cat "$dir/pid" 2>/dev/null) || return 0
    kill "$pid" 2>/dev/null || return 0
    local i
    for ((i = 0; i < 300; i++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || :
}

[[ $# == 2 ]] || { sed -n '2,9p' "$0" >&2; exit 2; }
"$1" "$2"
