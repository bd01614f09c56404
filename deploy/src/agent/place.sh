umask 022
fail() { echo "$*" >&2; exit 1; }
binary=$AGENT_HOME/bin/dstack-agent-$SHORT
part=$AGENT_HOME/bin/.upload-$SHORT-$$
mark=$AGENT_HOME/.dstack-agent-home
if [ ! -e "$mark" ] && [ -n "$(ls -A "$AGENT_HOME" 2>/dev/null)" ]; then
    fail "$AGENT_HOME is not empty and was not made by dstack: empty it, or set DSTACK_AGENT_HOME on the host to another folder"
fi
mkdir -p "$AGENT_HOME" && : >"$mark" || fail "cannot create $AGENT_HOME"
mkdir -p "$AGENT_HOME/bin" || fail "cannot create $AGENT_HOME/bin"
trap 'rm -f "$part"' EXIT
cat >"$part" || fail "cannot write the agent to $AGENT_HOME/bin"
size=$(wc -c <"$part" | tr -d ' ')
[ "$size" = "$SIZE" ] || fail "the agent arrived with $size bytes instead of $SIZE"
if command -v sha256sum >/dev/null 2>&1; then
    sum=$(sha256sum "$part" | cut -d' ' -f1)
    [ "$sum" = "$SHA256" ] || fail "the agent arrived with checksum $sum instead of $SHA256"
fi
chmod 755 "$part" || fail "cannot make the agent executable"
"$part" --version >/dev/null 2>&1 </dev/null ||
    fail "the agent does not run in $AGENT_HOME/bin: is that file system mounted noexec? Set DSTACK_AGENT_HOME on the host to another folder"
mv -f "$part" "$binary" || fail "cannot put the agent in its place"
echo "placed=$SHORT"
