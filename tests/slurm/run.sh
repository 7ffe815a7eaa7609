#!/usr/bin/env bash
# `snakemake --cores all --profile slurm` on a real SLURM of one node, set up for this run and taken down after it.
#   tests/slurm/run.sh                      with tests/workflow/tiny.yaml (minutes)
#   tests/slurm/run.sh config/config.yaml   with the default configuration
# Needs root and Debian's packages slurm-wlm and munge; they are installed only where CI=true.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
overlay=${1:-tests/workflow/tiny.yaml}

fail() { echo "FAILED: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "the daemons of SLURM need root"
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  [ "${CI:-}" = true ] || fail "SLURM is not there; install it with: apt-get install slurm-wlm munge"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge
fi

[ ! -e /etc/slurm/slurm.conf ] || fail "/etc/slurm/slurm.conf is there: this machine belongs to a cluster already"

work=$(mktemp -d)
chmod 755 "$work"
started=()
stop() {
  for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
  wait
  rm -rf "$work" /etc/slurm/slurm.conf /etc/slurm/gres.conf
}
trap stop EXIT

echo "== a cluster of one node with a stand-in GPU"
mkdir "$work/state" "$work/spool"
(umask 077 && head -c 1024 /dev/urandom >"$work/munge.key")
munged --foreground --force --num-threads=2 --key-file="$work/munge.key" --socket="$work/munge.socket" \
  --pid-file="$work/munged.pid" --log-file="$work/munged.log" --seed-file="$work/munged.seed" &
started+=($!)
node=$(slurmd -C | head -1 | sed 's/ UpTime=.*//')
cat >"$work/slurm.conf" <<CONF
ClusterName=collm
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
MpiDefault=none
GresTypes=gpu
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
$node NodeAddr=127.0.0.1 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
echo "Name=gpu File=/dev/null" >"$work/gres.conf"
# Jobs look for it there: the plugin does not hand SLURM_CONF on.
mkdir -p /etc/slurm
ln -sfn "$work/slurm.conf" /etc/slurm/slurm.conf
ln -sfn "$work/gres.conf" /etc/slurm/gres.conf
sleep 1
slurmctld -D & started+=($!)
sleep 2
slurmd -D & started+=($!)
for _ in $(seq 30); do
  sinfo --noheader --format=%t 2>/dev/null | grep -q idle && break
  sleep 1
done
srun --gres=gpu:1 --time=1 hostname || fail "the cluster runs nothing: $(tail -3 "$work/slurmctld.log")"

echo "== a clean clone with the shipped profile"
git clone --quiet "$repository" "$work/clone"
cd "$work/clone"
# What this cluster needs beyond it: no accounting here, quick status checks, and one rule that asks for the GPU.
cat >>slurm/config.yaml <<PROFILE
slurm-status-command: squeue
slurm-no-account: true
slurm-init-seconds-before-status-checks: 10
seconds-between-status-checks: 5
set-resources:
  warm_start: {gpu: 1}
PROFILE
snakemake --cores all --profile slurm --configfile config/config.yaml "$overlay" || {
  find .snakemake/slurm_logs logs -name '*.log' -exec tail -n 20 {} +
  fail "Snakemake stopped"
}
squeue --states=all --Format=JobID:7,State:11,TimeUsed:8,tres-per-job:12,Comment:50
[ -s results/tables/main.md ] || fail "no main table"
done_jobs=$(squeue --states=completed --noheader | wc -l)
[ "$done_jobs" -ge 10 ] || fail "only $done_jobs jobs ran on the cluster"
again=$(snakemake -n --profile slurm --configfile config/config.yaml "$overlay" 2>&1)
grep -q "Nothing to be done" <<<"$again" || fail "a second run has work: $again"
cat results/tables/main.md
echo "slurm run complete: $done_jobs jobs on the cluster"
