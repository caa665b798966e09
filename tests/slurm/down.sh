#!/usr/bin/env bash
# Ends what up.sh started in FOLDER, and takes its links out of /etc/slurm:  down.sh FOLDER
set -uo pipefail

root=$(realpath "$1")
if [[ $(realpath -m /etc/slurm/slurm.conf) == "$root/slurm.conf" ]]; then
    scancel --user root 2>/dev/null # no process outlives the test
    for ((second = 0; second < 15; second++)); do
        [[ -z $(squeue --noheader 2>/dev/null) ]] && break
        sleep 1
    done
    rm /etc/slurm/slurm.conf /etc/slurm/gres.conf
fi
for daemon in slurmd slurmctld munged; do
    pid=$(cat "$root/run/$daemon.pid" 2>/dev/null) || continue
    kill "$pid" 2>/dev/null && timeout 10 tail --pid="$pid" -f /dev/null
done
exit 0
