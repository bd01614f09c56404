case $AGENT_HOME in / | "" | "${HOME:-/}") fail "refusing to remove $AGENT_HOME" ;; esac
if [ ! -e "$AGENT_HOME/.dstack-agent-home" ]; then
    echo "agent=absent"
    exit 0
fi
one_at_a_time
if [ "$MODE" = systemd ] && [ -e "$unit" ]; then
    systemctl disable --now dstack-agent >/dev/null 2>&1
    rm -f "$unit"
    systemctl daemon-reload
fi
end_supervised
rm -rf "$AGENT_HOME" || fail "cannot remove $AGENT_HOME"
echo "agent=removed"
