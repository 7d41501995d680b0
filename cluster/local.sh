#!/usr/bin/env bash
# A Ray cluster of one node on this machine, to try `rlreason submit` against. Loopback only.
#   cluster/local.sh start   then   rlreason submit configs/tiny-cpu --address http://127.0.0.1:8265 --follow
#   cluster/local.sh stop
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/.venv/bin:$PATH"
port="${RLREASON_RAY_PORT:-6379}"
dashboard_port="${RLREASON_DASHBOARD_PORT:-8265}"
pids="${TMPDIR:-/tmp}/rlreason-local-cluster-$port"

case "${1:-}" in
start)
    RAY_USAGE_STATS_ENABLED=0 ray start --head --node-ip-address 127.0.0.1 --port "$port" \
        --dashboard-host 127.0.0.1 --dashboard-port "$dashboard_port" --disable-usage-stats \
        --block >"$pids.log" 2>&1 &
    echo $! >"$pids"
    for _ in $(seq 60); do
        if python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$dashboard_port/api/version', timeout=1)" 2>/dev/null; then
            echo "Ray is ready: rlreason submit PATH --address http://127.0.0.1:$dashboard_port"
            exit 0
        fi
        sleep 1
    done
    echo "error: Ray did not start within a minute; see $pids.log" >&2
    exit 1
    ;;
stop)
    [ -f "$pids" ] || { echo "error: no cluster of this script on port $port" >&2; exit 2; }
    # `ray start --block` ends its own processes when it is told to stop; other clusters are left alone.
    kill -TERM "$(cat "$pids")" 2>/dev/null || true
    rm -f "$pids"
    ;;
*)
    echo "usage: $0 start|stop" >&2
    exit 2
    ;;
esac
