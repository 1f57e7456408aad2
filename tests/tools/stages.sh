#!/usr/bin/env bash
# Runs the stages of a suite one after another, each under its own time limit, goes on after a failure and ends with a summary.
#   stages.sh NAME LIMIT_SECONDS COMMAND [NAME LIMIT_SECONDS COMMAND]...
# The exit status is the number of failed stages. The summary repeats each runner's own closing lines, so that it can be read alone.
# A stage whose runner closes on no test at all has failed: a filter that matches nothing must not look like a pass.
set -uo pipefail
logs=$(mktemp -d)
running=
trap 'rm -rf "$logs"' EXIT
# `timeout` puts a stage into a process group of its own, which a Ctrl-C at the terminal does not reach: pass it on.
trap '[[ -z $running ]] || kill -TERM "$running" 2>/dev/null; exit 130' INT TERM

names=() states=() seconds=()
failed=0
closing='^(test result:|=+ .*(passed|failed|error|no tests ran).* =+$|[0-9]+ (passed|failed).* in [0-9.]+s|no tests ran|[0-9]+% tests passed|[0-9]+ passed, [0-9]+ failed)'
some='\b[1-9][0-9]* passed|[1-9][0-9]*% tests passed'

while (($# >= 3)); do
    name=$1 limit=$2 command=$3
    shift 3
    printf '\n=== %s (limit %s s)\n%s\n' "$name" "$limit" "$command"
    start=$SECONDS
    # A file and `tail`, not a pipe: a process that a test leaves behind would hold a pipe open, and the suite would wait for it.
    : >"$logs/$name"
    timeout --kill-after=10 "$limit" bash -c "$command" >"$logs/$name" 2>&1 &
    running=$!
    tail -n +1 -s 0.2 -f --pid="$running" "$logs/$name"
    wait "$running"
    code=$?
    running=
    state=ok
    if ((code == 124 || code == 137)); then
        state="TIMED OUT after $limit s"
    elif ((code != 0)); then
        state="FAILED (exit $code)"
    fi
    closed=$(grep -E "$closing" "$logs/$name" || true)
    if [[ $state == ok && -n $closed ]] && ! grep -qE "$some" <<<"$closed"; then
        state="FAILED (ran no test)"
    fi
    [[ $state == ok ]] || failed=$((failed + 1))
    names+=("$name") states+=("$state") seconds+=($((SECONDS - start)))
done

echo
echo "=== summary"
for i in "${!names[@]}"; do
    printf '%-12s %5s s  %s\n' "${names[$i]}" "${seconds[$i]}" "${states[$i]}"
    grep -hE "$closing" "$logs/${names[$i]}" | sed 's/^/    /'
done
exit "$failed"
