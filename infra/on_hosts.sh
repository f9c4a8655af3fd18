#!/usr/bin/env bash
# Run a preset on all machines of a hostfile, started on the first of them:
#
#     infra/on_hosts.sh infra/hostfile configs/mine.yaml /data/clinfuse/store
#
# ssh must reach the others without a password, and all must see this folder and the store under
# the same paths. Started again after any end, it goes on from the last checkpoint.
set -euo pipefail
hostfile=$1 config=$2 store=$3
clinfuse=${CLINFUSE:-$PWD/.venv/bin/clinfuse}

mapfile -t lines < "$hostfile"
hosts=() ranks=
for line in "${lines[@]}"; do
  read -r host slots <<< "${line%%#*}"
  [[ $host ]] || continue
  hosts+=("$host")
  if [[ $slots != slots=* || ${ranks:=${slots#slots=}} != "${slots#slots=}" ]]; then
    echo "$hostfile: '$line' is not 'HOST slots=${ranks:-N}'; all need as many slots" >&2
    exit 2
  fi
done
rendezvous=${hosts[0]}:${PORT:-29500}

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT # a run that needs no training asks nobody
for host in "${hosts[@]:1}"; do # with a terminal, so that they end when ssh does
  ssh -tt "$host" "cd '$PWD' && exec '$clinfuse' follow $rendezvous --ranks $ranks --store '$store'" \
    < /dev/null &
done
"$clinfuse" run "$config" --store "$store" --set "launch.nodes=${#hosts[@]}" \
  --set "launch.ranks=$ranks" --set "launch.rendezvous=$rendezvous"
