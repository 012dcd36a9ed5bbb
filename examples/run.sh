#!/usr/bin/env bash
# Runs every example against a server of its own and checks that the ledger holds
# what really happened: builds the binary, starts the model provider and the
# server on free ports with temporary data, runs the agents, exports the log,
# verifies it offline, and compares it with the provider's own account. Exits with
# 0 only if all of that holds. Takes no arguments.
#
# Needs Go, and Node 18.19 or newer with npm; where these two are missing, root on
# Debian gets them by apt-get. The npm packages come from the registry that npm is
# set up for.
set -euo pipefail
cd "$(dirname "$0")"

export GOFLAGS="${GOFLAGS:-} -buildvcs=false"
work=$(mktemp -d)
pids=()
finish() {
	local status=$? pid
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	if [ "$status" -ne 0 ]; then
		echo "FAILED. What the server logged last:" >&2
		tail -n 20 "$work/server.log" >&2 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap finish EXIT

# wait_for FILE TEXT waits until the file has the text.
wait_for() {
	local i
	for i in $(seq 100); do
		if grep -qs -- "$2" "$1"; then return; fi
		sleep 0.1
	done
	echo "no \"$2\" in $1 after 10 s" >&2
	return 1
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
		echo "install Node 18.19 or newer, with npm" >&2
		exit 3
	fi
	echo "installing nodejs and npm"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update
	apt-get -qq install -y --no-install-recommends nodejs npm >/dev/null
fi

echo "== build"
(cd .. && CGO_ENABLED=0 go build -o "$work/runledger" ./cmd/runledger)
CGO_ENABLED=0 go build -o "$work/" ./provider ./go-agent ./check
# A copy, so that the checkout stays as it is.
mkdir "$work/node-agent"
cp node-agent/.npmrc node-agent/package*.json node-agent/*.js "$work/node-agent/"
(cd "$work/node-agent" && npm ci --loglevel=error --no-audit --no-fund)
node --version

echo "== start"
"$work/provider" --listen 127.0.0.1:0 --addr-file "$work/provider.addr" --truth "$work/truth.ndjson" >/dev/null &
pids+=($!)
"$work/runledger" serve --dev --data "$work/data" --run-root-quiet 500ms \
	--listen 127.0.0.1:0 --otlp-http 127.0.0.1:0 --otlp-grpc 127.0.0.1:0 2>"$work/server.log" &
pids+=($!)
wait_for "$work/provider.addr" :
wait_for "$work/server.log" '"msg":"ready"'
provider=http://$(cat "$work/provider.addr")
# address FIELD prints an address that the server says it is ready at.
address() { sed -n 's/.*"msg":"ready".*"'"$1"'":"\([^"]*\)".*/\1/p' "$work/server.log"; }
api=http://$(address listen)
otlp_http=http://$(address otlp_http)
otlp_grpc=http://$(address otlp_grpc)

# The log's key comes from the data directory, not from the server's answers.
"$work/runledger" keys list --data "$work/data" --tenant default --json >"$work/keys.json"
vkey=$(sed -n 's/.*"vkey": *"\([^"]*\)".*/\1/p' "$work/keys.json" | head -n 1)
[ -n "$vkey" ] || { echo "no verifier key in: $(cat "$work/keys.json")" >&2; exit 1; }

# agent NAME COMMAND... runs an agent, shows what it prints, and notes its run.
runs=()
agent() {
	local name=$1 run
	shift
	echo "-- $name"
	"$@" | tee "$work/out"
	run=$(sed -n 's/^run //p' "$work/out")
	[ -n "$run" ] || { echo "$name named no run" >&2; return 1; }
	runs+=("$name=$run")
}

echo "== run"
export OPENAI_BASE_URL=$provider/v1 RUNLEDGER_URL=$api RUNLEDGER_VKEY=$vkey
export OTEL_EXPORTER_OTLP_ENDPOINT=$otlp_http
agent agent node "$work/node-agent/agent.js"
agent guardrail node "$work/node-agent/guardrail.js"
agent go-http "$work/go-agent" --otlp http --provider "$provider"
OTEL_EXPORTER_OTLP_ENDPOINT=$otlp_grpc agent go-grpc "$work/go-agent" --otlp grpc --provider "$provider" --model claude-haiku-4-5

echo "== check"
# A run ends when nothing has come for a while after its root span.
for i in $(seq 20); do
	sleep 0.5
	"$work/runledger" export --data "$work/data" --tenant default --profile log --out "$work/log-$i.zip" >/dev/null 2>"$work/export.err" ||
		{ cat "$work/export.err" >&2; exit 1; }
	if "$work/check" --bundle "$work/log-$i.zip" --truth "$work/truth.ndjson" "${runs[@]}" >"$work/checked"; then
		break
	fi
	[ "$i" -lt 20 ] || { cat "$work/checked" >&2; exit 1; }
done
cat "$work/checked"
status=0
"$work/runledger" verify "$work/log-$i.zip" --key "$vkey" >"$work/verdict" || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 10 ]; then # 10: no witness and no time stamp speaks for this log
	cat "$work/verdict" >&2
	exit 1
fi
head -n 1 "$work/verdict"
echo "all examples passed"
