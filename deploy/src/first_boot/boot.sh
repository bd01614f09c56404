
# Runs as root at every boot, so everything here asks first whether it was done before. A disk is formatted only when
# it is blank to the last signature: what holds data, whoever's, is left alone and said so.
log() { logger -t dstack -- "$*" 2>/dev/null; echo "dstack: $*"; }

allow_keys() {
    home=$(getent passwd "$LOGIN" | cut -d: -f6)
    if [ -z "$home" ]; then log "there is no user $LOGIN"; return; fi
    install -d -m 700 -o "$LOGIN" -g "$LOGIN" "$home/.ssh"
    file=$home/.ssh/authorized_keys
    touch "$file"
    # An image may leave its last line without an end.
    if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >>"$file"; fi
    while IFS= read -r key; do
        if [ -n "$key" ] && ! grep -qF -- "$key" "$file"; then printf '%s\n' "$key" >>"$file"; fi
    done <<<"$KEYS"
    chown "$LOGIN:$LOGIN" "$file"
    chmod 600 "$file"
}

# The way to the agent and to jobs is forwarded through the host's own sshd.
allow_forwarding() {
    file=$ETC/ssh/sshd_config.d/10-dstack.conf
    want=$'AllowTcpForwarding yes\nAllowStreamLocalForwarding yes\nMaxSessions 100'
    if [ "$(cat "$file" 2>/dev/null)" = "$want" ]; then return; fi
    mkdir -p "${file%/*}"
    printf '%s\n' "$want" >"$file"
    systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || log "sshd was not reloaded"
}

# Whole disks that can be written, with nothing on them: no children, no signature of a file system, an array, a
# volume group or a partition table.
blank_disks() {
    lsblk -dnpro NAME,TYPE,RO | while read -r disk type ro; do
        if [ "$type" != disk ] || [ "$ro" != 0 ]; then continue; fi
        if [ "$(lsblk -nro NAME "$disk" | wc -l)" -ne 1 ]; then continue; fi
        # blkid says 2 of what it cannot read as well as of what is blank.
        if ! head -c 4096 "$disk" >/dev/null 2>&1; then continue; fi
        blkid -p "$disk" >/dev/null 2>&1
        if [ $? -eq 2 ]; then echo "$disk"; fi
    done
}

prepare_data() {
    mkdir -p "$DATA"
    if mountpoint -q "$DATA"; then return; fi
    if command -v mdadm >/dev/null 2>&1; then mdadm --assemble --scan >/dev/null 2>&1; fi
    device=$(blkid -L dstack-data)
    if [ -z "$device" ]; then
        mapfile -t disks < <(blank_disks)
        case ${#disks[@]} in
            0) log "no blank disk; data stays on the system's"; return ;;
            1) device=${disks[0]} ;;
            *) device=$(stripe "${disks[@]}") || { log "the disks were not joined"; return; } ;;
        esac
        # Without -F it refuses what is not blank after all.
        if ! mkfs.ext4 -q -L dstack-data "$device" </dev/null; then log "$device was not formatted"; return; fi
        log "formatted $device"
    fi
    if mount -o noatime "$device" "$DATA"; then log "mounted $device"; else log "$device was not mounted"; fi
}

stripe() {
    if ! command -v mdadm >/dev/null 2>&1; then
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mdadm >/dev/null 2>&1 || return 1
    fi
    mdadm --create /dev/md/dstack --run --level=0 --raid-devices=$# "$@" >/dev/null 2>&1 || return 1
    echo /dev/md/dstack
}

# Images and layers belong where there is room.
move_docker() {
    if ! mountpoint -q "$DATA" || ! command -v dockerd >/dev/null 2>&1; then return; fi
    python3 - "$ETC/docker/daemon.json" "$DATA/docker" <<'PYTHON' || return
import json, os, sys
path, root = sys.argv[1:]
try:
    with open(path) as file:
        config = json.load(file)
except FileNotFoundError:
    config = {}
if config.get("data-root") == root:
    sys.exit(1)
config["data-root"] = root
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path + ".new", "w") as file:
    json.dump(config, file, indent=2)
os.replace(path + ".new", path)
PYTHON
    mkdir -p "$DATA/docker"
    systemctl restart docker || log "docker was not restarted"
}

allow_keys
allow_forwarding
prepare_data
move_docker
mkdir -p "$RUN"
touch "$RUN/dstack-booted"
log "ready"
