#!/usr/bin/env bash
# A Ray cluster of one node on this machine, to try `rlreason submit` against. It listens on loopback only, and asks for
# this user's token, which Ray keeps in ~/.ray/auth_token.
#   cluster/local.sh start   then   rlreason submit configs/tiny-cpu --address http://127.0.0.1:8265 --follow
#   cluster/local.sh stop
# RLREASON_RAY_PORT and RLREASON_DASHBOARD_PORT choose other ports; a second cluster may run beside the first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/.venv/bin:$PATH"
port="${RLREASON_RAY_PORT:-6379}"
dashboard_port="${RLREASON_DASHBOARD_PORT:-8265}"
# Short, since Ray's sockets lie in it; not Ray's own folder, else programs without an address would join.
folder="/tmp/rlreason-ray-$(id -u)-$port"
export RAY_AUTH_MODE=token
mark="RLREASON_LOCAL_CLUSTER=$folder"

fail() { # status, text
    echo "error: $2" >&2
    exit "$1"
}

# Every process of the cluster and of its jobs inherits the mark, whatever session or group it is in. The title that Ray
# gives its workers and agents can overwrite it; those have their log open in the folder.
members() {
    {
        grep -lzxF "$mark" /proc/[0-9]*/environ
        grep -l "^ray::" /proc/[0-9]*/cmdline | while IFS=/ read -r _ _ pid _; do
            find "/proc/$pid/fd" -lname "$folder/*" -print -quit
        done
    } 2>/dev/null | cut -d/ -f3 | sort -u || true
}

end_members() { # seconds to wait before what is left is killed
    for _ in $(seq $((10 * $1))); do
        [ -n "$(members)" ] || return 0
        sleep 0.1
    done
    members | xargs -r kill -KILL 2>/dev/null || true
    while [ -n "$(members)" ]; do sleep 0.1; done
}

require_free() { # port, name of its variable
    python - "$1" <<'PY' || fail 2 "port $1 is in use; choose another with $2"
import socket, sys
with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        sys.exit(1)
PY
}

case "${1:-}" in
start)
    [ -z "$(members)" ] || fail 2 "the cluster on port $port runs already; $0 stop ends it"
    require_free "$port" RLREASON_RAY_PORT
    require_free "$dashboard_port" RLREASON_DASHBOARD_PORT
    ray get-auth-token --generate >/dev/null 2>&1 || fail 1 "Ray cannot keep a token in $HOME/.ray"
    chmod 600 "$HOME/.ray/auth_token" # Ray lets everybody read it
    rm -rf "$folder"
    mkdir -m 700 "$folder"
    # The ports that Ray would fix by itself (agent 52365, client 10001) are those of any other cluster as well.
    read -r agent client < <(python -c '
import socket
probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(probe.getsockname()[1] for probe in probes))')
    # Ray's switch for systems on which it makes no clusters of several nodes: all its ports are on loopback then.
    env -u RAY_ADDRESS "$mark" RAY_USAGE_STATS_ENABLED=0 RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 setsid ray start --head --node-ip-address 127.0.0.1 --port "$port" \
        --dashboard-host 127.0.0.1 --dashboard-port "$dashboard_port" --dashboard-agent-listen-port "$agent" \
        --ray-client-server-port "$client" --temp-dir "$folder" --disable-usage-stats \
        --block >"$folder/start.log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    if python - "$(cat "$folder/pid")" "http://127.0.0.1:$dashboard_port" <<'PY'; then
import os, sys, time
from ray.job_submission import JobSubmissionClient

pid, address = int(sys.argv[1]), sys.argv[2]
for _ in range(120):
    os.kill(pid, 0)
    try:
        JobSubmissionClient(address).list_jobs()
        sys.exit(0)
    except (ConnectionError, RuntimeError):
        time.sleep(0.5)
sys.exit(1)
PY
        echo "Ray is ready: rlreason submit PATH --address http://127.0.0.1:$dashboard_port"
        exit 0
    fi 2>>"$folder/start.log"
    members | xargs -r kill -TERM 2>/dev/null || true
    end_members 5
    fail 1 "Ray did not start; see $folder/start.log"
    ;;
stop)
    [ -n "$(members)" ] || fail 2 "no cluster of this script on port $port (RLREASON_RAY_PORT chooses another)"
    # `ray start --block` ends its own processes when it is told to stop; other clusters are left alone.
    kill -TERM "$(cat "$folder/pid")" 2>/dev/null || true
    end_members 15
    ;;
*)
    fail 2 "usage: $0 start|stop"
    ;;
esac
