# The inside of a simulated machine: an own root folder over this one's, an own name, an own process tree and /run, a
# login user and an sshd on the machine's address. What it writes ends with it. Arguments come from the environment.
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$VM"
mkdir "$VM/upper" "$VM/work" "$VM/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$VM/upper,workdir=$VM/work" "$VM/root"
R=$VM/root
mount -t proc proc "$R/proc"
for folder in run tmp dev sys; do mount -t tmpfs -o mode=755 tmpfs "$R/$folder"; done
chmod 1777 "$R/tmp"
# No disk of this machine can be seen in there.
mknod -m 666 "$R/dev/null" c 1 3
mknod -m 666 "$R/dev/zero" c 1 5
mknod -m 666 "$R/dev/full" c 1 7
mknod -m 666 "$R/dev/random" c 1 8
mknod -m 666 "$R/dev/urandom" c 1 9
mknod -m 666 "$R/dev/tty" c 5 0
ln -s /proc/self/fd "$R/dev/fd"
ln -s pts/ptmx "$R/dev/ptmx"
mkdir "$R/dev/pts" "$R/dev/shm" "$R/run/sshd"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$R/dev/pts"
mount -t tmpfs tmpfs "$R/dev/shm"
hostname "$NAME"
echo "$NAME" >"$R/etc/hostname"

# The image's user may do everything, as by sudo.
mkdir -p "$R/home/ubuntu/.ssh"
{ echo "ubuntu:x:0:0::/home/ubuntu:/bin/bash"; grep -v '^ubuntu:' /etc/passwd; } >"$R/etc/passwd"
{ echo "ubuntu:x:0:"; grep -v '^ubuntu:' /etc/group; } >"$R/etc/group"
printf '%s\n' "$SSH_KEY" >"$R/home/ubuntu/.ssh/authorized_keys"
chmod 700 "$R/home/ubuntu" "$R/home/ubuntu/.ssh"
# A system of its own has no agent of somebody else's.
rm -rf "$R/root" "$R/opt/dstack"
mkdir -p "$R/root"

gpus() {
    for index in $(seq 0 $((GPUS - 1))); do
        printf '%s, GPU-%s-%s, NVIDIA %s, %s, 570.00\n' "$index" "$NAME" "$index" "$GPU_NAME" "$GPU_MIB"
    done
}
if [ "$GPUS" -gt 0 ]; then
    gpus >"$R/etc/gpus"
    cat >"$R/usr/local/bin/nvidia-smi" <<'SMI'
#!/bin/sh
case "$*" in
    *index,uuid,name*) cat /etc/gpus ;;
    -L) sed -E 's/^([0-9]+), ([^,]+), ([^,]+),.*/GPU \1: \3 (UUID: \2)/' /etc/gpus ;;
    *) exit 1 ;;
esac
SMI
    chmod 755 "$R/usr/local/bin/nvidia-smi"
fi
if [ -n "$PKEY" ]; then
    for number in 0 1 2 3 4 5 6 7; do
        port=$R/sys/class/infiniband/mlx5_$number/ports/1
        mkdir -p "$port/pkeys"
        echo "$PKEY" >"$port/pkeys/0"
        echo "4: ACTIVE" >"$port/state"
        echo "400 Gb/sec (4X NDR)" >"$port/rate"
    done
fi

# A machine that is stopped and started again is the same one to those who log in.
if [ ! -e "$VM.key" ]; then ssh-keygen -q -t ed25519 -N '' -f "$VM.key"; fi
cp "$VM.key" "$R/etc/ssh/guest_key"
mkdir -p "$R/etc/ssh/sshd_config.d"
cat >"$R/etc/ssh/sshd_config" <<SSHD
Include /etc/ssh/sshd_config.d/*.conf
ListenAddress $ADDRESS:22
HostKey /etc/ssh/guest_key
PidFile none
UsePAM no
PermitRootLogin yes
StrictModes no
PasswordAuthentication no
MaxStartups 200
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Subsystem sftp internal-sftp
SSHD
printf '%s' "$STARTUP" >"$R/usr/local/bin/startup"
chmod 755 "$R/usr/local/bin/startup"
unset SSH_KEY STARTUP
exec chroot "$R" /bin/bash -c '
    cd /
    (/usr/local/bin/startup >/var/log/startup 2>&1 || true) &
    exec /usr/sbin/sshd -D -e
'
