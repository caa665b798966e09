#!/usr/bin/env bash
# A SLURM of one node and some GPUs that are none, without systemd or a database.
#
#   tests/slurm/up.sh FOLDER [GPUS]      as root; FOLDER holds all of its state
#   tests/slurm/down.sh FOLDER
#
# Needs Debian's slurm-wlm and munge. Puts two links into /etc/slurm, because job steps look nowhere
# else, and refuses where a real cluster has its own files there.
set -euo pipefail

gpus=${2:-8}
mkdir -p "$1"/{state,spool,log,run,gpu}
root=$(realpath "$1")
chmod 755 "$root" "$root/run" # munge distrusts sockets that not everyone can reach

for file in slurm.conf gres.conf; do
    if [[ -e /etc/slurm/$file && $(realpath "/etc/slurm/$file") != "$root/$file" ]]; then
        echo "/etc/slurm/$file belongs to another SLURM; this one is only for machines without" >&2
        exit 1
    fi
done

# SLURM passes a device on only if its file is a character device: here, each is another /dev/null.
for ((gpu = 0; gpu < gpus; gpu++)); do
    [[ -c $root/gpu/$gpu ]] || mknod "$root/gpu/$gpu" c 1 3
done
cat >"$root/gres.conf" <<CONF
AutoDetect=off
NodeName=localhost Name=gpu Type=fake File=$root/gpu/[0-$((gpus - 1))]
CONF

cat >"$root/slurm.conf" <<CONF
ClusterName=powerblend-test
SlurmctldHost=localhost
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits until its old credential has expired.
AuthInfo=socket=$root/run/munge.socket,cred_expire=10
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmdPidFile=$root/run/slurmd.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdLogFile=$root/log/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
# Jobs that have ended stay visible for so many seconds; without slurmdbd, squeue is all there is.
MinJobAge=600
KillWait=5
SchedulerParameters=sched_interval=2,batch_sched_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# More than the machine has: jobs of a test are small, and all of them should run at once.
SlurmdParameters=config_overrides
NodeName=localhost CPUs=16 RealMemory=64000 Gres=gpu:fake:$gpus
PartitionName=gpu Nodes=localhost Default=YES MaxTime=INFINITE State=UP
CONF

mkdir -p /etc/slurm
ln -sfn "$root/slurm.conf" /etc/slurm/slurm.conf
ln -sfn "$root/gres.conf" /etc/slurm/gres.conf

(umask 077 && head -c 1024 /dev/urandom >"$root/munge.key")
munged --key-file="$root/munge.key" --socket="$root/run/munge.socket" \
    --pid-file="$root/run/munged.pid" --seed-file="$root/run/munged.seed" \
    --log-file="$root/log/munged.log"
slurmctld
slurmd -N localhost

for ((second = 0; second < 30; second++)); do
    if [[ $(sinfo --noheader --format=%t 2>/dev/null) == idle ]]; then
        sinfo --Node --format="%N %t, %c cores, %G"
        exit 0
    fi
    sleep 1
done
echo "no idle node after 30 seconds; see $root/log" >&2
exit 1
