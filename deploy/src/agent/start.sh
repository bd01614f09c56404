binary=$AGENT_HOME/bin/dstack-agent-$SHORT
socket=$AGENT_HOME/agent.sock
[ -x "$binary" ] || fail "the agent is not in $AGENT_HOME/bin"
chmod 711 "$AGENT_HOME"
one_at_a_time

# Writes standard input to $1; true when that changed something.
update() {
    cat >"$1.new" || fail "cannot write $1"
    if cmp -s "$1.new" "$1" 2>/dev/null; then rm -f "$1.new"; return 1; fi
    mv -f "$1.new" "$1" || fail "cannot write $1"
}

changed=0
update "$AGENT_HOME/agent.env" && changed=1
update "$AGENT_HOME/launch.sh" <<EOF && changed=1
# Written by dstack: starts the agent with the fleet's environment.
set -a
. '$AGENT_HOME/agent.env'
set +a
echo \$\$ >'$AGENT_HOME/agent.pid'
echo '$SHORT' >'$AGENT_HOME/agent.version'
exec '$binary' serve --home '$AGENT_HOME'
EOF
# sshd connects to the socket as the login user, whoever the agent runs as.
update "$AGENT_HOME/open-socket.sh" <<EOF && changed=1
# Written by dstack: hands the agent's socket to the user that servers log in as.
n=0
while [ ! -S '$socket' ] && [ -d '$AGENT_HOME' ] && [ \$n -lt 300 ]; do sleep 0.1; n=\$((n + 1)); done
[ "\$(id -un)" = '$LOGIN' ] || chown '$LOGIN' '$socket'
EOF
update "$AGENT_HOME/supervise.sh" <<EOF && changed=1
# Written by dstack: keeps the agent alive where there is no systemd.
trap 'kill -TERM \$child 2>/dev/null; exit 0' TERM INT
while :; do
    if [ "\$(wc -c <'$AGENT_HOME/agent.log' 2>/dev/null || echo 0)" -gt 10485760 ]; then
        mv -f '$AGENT_HOME/agent.log' '$AGENT_HOME/agent.log.1'
    fi
    rm -f '$socket'
    sh '$AGENT_HOME/launch.sh' </dev/null >>'$AGENT_HOME/agent.log' 2>&1 &
    child=\$!
    sh '$AGENT_HOME/open-socket.sh' </dev/null >/dev/null 2>&1 &
    wait \$child
    echo \$? >>'$AGENT_HOME/exits'
    sleep 1
done
EOF

if [ "$MODE" = systemd ]; then
    update "$unit" <<EOF && changed=1
# Written by dstack. Jobs outlive a restart of the agent, hence KillMode=process.
[Unit]
Description=dstack agent
After=network-online.target docker.service
Wants=network-online.target

[Service]
ExecStart=/bin/sh $AGENT_HOME/launch.sh
ExecStartPost=/bin/sh $AGENT_HOME/open-socket.sh
Restart=always
RestartSec=1
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitMEMLOCK=infinity
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
EOF
    chmod 644 "$unit"
    if [ $changed = 1 ]; then
        systemctl daemon-reload && systemctl enable dstack-agent >/dev/null 2>&1
        systemctl restart dstack-agent || fail "systemd did not start dstack-agent; see: journalctl -u dstack-agent"
        state=started
    elif systemctl is-active -q dstack-agent; then
        state=running
    else
        systemctl start dstack-agent || fail "systemd did not start dstack-agent; see: journalctl -u dstack-agent"
        state=started
    fi
elif [ $changed = 0 ] && ours "$(pid_in supervisor.pid)"; then
    state=running
else
    end_supervised
    rm -f "$AGENT_HOME/exits"
    session=setsid
    command -v setsid >/dev/null 2>&1 || session=nohup
    $session sh "$AGENT_HOME/supervise.sh" </dev/null >>"$AGENT_HOME/agent.log" 2>&1 8>&- &
    echo $! >"$AGENT_HOME/supervisor.pid"
    state=started
fi

n=0
while [ ! -S "$socket" ] && [ $n -lt 200 ]; do
    # Twice dead before the socket was there: a third life will not differ.
    [ "$(wc -l 2>/dev/null <"$AGENT_HOME/exits" || echo 0)" -lt 2 ] || break
    sleep 0.1
    n=$((n + 1))
done
if [ ! -S "$socket" ]; then
    echo "the agent did not open $socket; its last words:" >&2
    if [ "$MODE" = systemd ]; then
        journalctl -u dstack-agent -n 5 --no-pager >&2 2>/dev/null
    else
        tail -n 5 "$AGENT_HOME/agent.log" >&2 2>/dev/null
    fi
    exit 1
fi
sh "$AGENT_HOME/open-socket.sh"
# One older binary stays for a server that has not been upgraded yet; the rest goes.
ls -t "$AGENT_HOME"/bin/dstack-agent-* 2>/dev/null | grep -v -- "-$SHORT\$" | tail -n +2 | while read -r old; do
    rm -f "$old"
done
echo "agent=$state"
echo "socket=$socket"
