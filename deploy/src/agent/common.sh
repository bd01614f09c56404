umask 077
fail() { echo "$*" >&2; exit 1; }
unit=/etc/systemd/system/dstack-agent.service

# A process of ours: alive, and started from this home. A reused process id is somebody else's.
ours() {
    [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null || return 1
    tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF "$AGENT_HOME/"
}

pid_in() { cat "$AGENT_HOME/$1" 2>/dev/null; }

end_process() {
    ours "$1" || return 0
    kill -TERM "$1" 2>/dev/null
    n=0
    while ours "$1" && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
    ours "$1" && kill -KILL "$1" 2>/dev/null
    return 0
}

# The loop first, or it would start the agent again.
end_supervised() {
    end_process "$(pid_in supervisor.pid)"
    end_process "$(pid_in agent.pid)"
    rm -f "$AGENT_HOME/supervisor.pid" "$AGENT_HOME/agent.pid" "$AGENT_HOME/agent.sock"
}

# Two servers may arrive together: one at a time from here.
one_at_a_time() {
    command -v flock >/dev/null 2>&1 || return 0
    exec 8>"$AGENT_HOME/bootstrap.lock" || fail "cannot write in $AGENT_HOME"
    flock -w 60 8 || fail "another start has held $AGENT_HOME/bootstrap.lock for a minute"
}
