user=$(id -un 2>/dev/null || whoami)
uid=$(id -u)
systemd=0
[ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1 && systemd=1
sudo=0
[ "$uid" != 0 ] && command -v sudo >/dev/null 2>&1 && sudo -n true >/dev/null 2>&1 && sudo=1
explicit=0
if [ -n "${DSTACK_AGENT_HOME:-}" ]; then
    explicit=1
    home=$DSTACK_AGENT_HOME
    case $home in /*) ;; *) home=$HOME/$home ;; esac
elif [ "$sudo" = 1 ] || { [ "$uid" = 0 ] && [ "$systemd" = 1 ]; }; then
    home=/var/lib/dstack-agent
else
    home=$HOME/.dstack-agent
fi
near=$home
while [ ! -d "$near" ] && [ "$near" != / ]; do near=$(dirname "$near"); done
echo dstack-probe=1
echo "kernel=$(uname -s)"
echo "arch=$(uname -m)"
echo "user=$user"
echo "uid=$uid"
echo "home=$home"
echo "explicit_home=$explicit"
echo "systemd=$systemd"
echo "sudo=$sudo"
for file in "$home"/bin/dstack-agent-*; do
    [ -x "$file" ] && echo "installed=${file##*/dstack-agent-}"
done
pid=$(cat "$home/agent.pid" 2>/dev/null)
if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
    echo "running=$(cat "$home/agent.version" 2>/dev/null)"
fi
echo "free_kib=$(df -Pk "$near" 2>/dev/null | awk 'NR==2 {print $4}')"
