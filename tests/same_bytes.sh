#!/usr/bin/env bash
# Whether two revisions compute the same: adapters, samples, tables and logged metrics of three small runs, byte for byte
# (times aside): every domain, method and baseline on tiny models, the released update rule, and SmolLM2.
#   bash tests/same_bytes.sh OLD NEW [FOLDER]
# Each side runs with its own configuration files, one thread per job, in FOLDER (default: a new one below /tmp), where a
# second call goes on. SETS names the runs; SETS="every_row released" needs no model from a wheel.
set -euo pipefail

old=${1:?usage: same_bytes.sh OLD NEW [FOLDER]}
new=${2:?usage: same_bytes.sh OLD NEW [FOLDER]}
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${3:-$(mktemp -d /tmp/same_bytes.XXXXXX)}
export PATH="$root/.venv/bin:$PATH" OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

run() { # REVISION SET OVERLAY...
  local place="$folder/$1/$2" overlays=("${@:3}")
  if [ ! -d "$place" ]; then
    git clone --quiet "$root" "$place"
    git -C "$place" checkout --quiet --detach "$1"
  fi
  echo "$(date +%T) $1 $2"
  (cd "$place" && snakemake --cores 2 --configfile config/config.yaml "${overlays[@]}" >log.txt 2>&1) \
    || { tail -30 "$place/log.txt"; exit 1; }
}

old=$(git -C "$root" rev-parse "$old") new=$(git -C "$root" rev-parse "$new")
status=0
for name in ${SETS:-every_row released smol}; do
  first=tests/workflow/tiny.yaml
  if [ "$name" = smol ]; then first=config/smol.yaml; fi
  for revision in "$old" "$new"; do run "$revision" "$name" "$first" "tests/workflow/$name.yaml"; done
  python "$root/tests/same_bytes.py" "$folder/$old/$name" "$folder/$new/$name" || status=1
done
exit $status
