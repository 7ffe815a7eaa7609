#!/usr/bin/env bash
# DVC round trip on a clean clone: reproduce, nothing to do, push, wipe, restore, nothing to do; then with links.
#   tests/dvc/round_trip.sh                      with tests/workflow/tiny.yaml (minutes)
#   tests/dvc/round_trip.sh config/config.yaml   with the default configuration
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
overlay=${1:-tests/workflow/tiny.yaml}
python=$(command -v python)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "FAILED: $*" >&2; exit 1; }
has() { grep -q -- "$1" <<<"$2" || fail "$3: $2"; }

git clone --quiet "$repository" "$work/clone"
cd "$work/clone"
git config user.name "The CoLLM developers"
git config user.email "collm@example.org"
sed -i "s|overlay: config/config.yaml|overlay: $overlay|" dvc.yaml
# The benchmarks of that overlay.
python - "$overlay" <<'PYTHON'
import sys, yaml
stages = yaml.safe_load(open("dvc.yaml"))
names = yaml.safe_load(open(sys.argv[1]))["domains"]
stages["stages"]["reproduce"]["matrix"]["domain"] = names
report = stages["stages"]["report"]
others = [dependency for dependency in report["deps"] if not dependency.startswith("results/")]
report["deps"] = [*others, *(f"results/{name}" for name in names)]
yaml.safe_dump(stages, open("dvc.yaml", "w"), sort_keys=False)
PYTHON
git commit --quiet --all --allow-empty --message "Overlay of this test"
# The environment that runs this test, not a second one.
mkdir .venv && ln -s "$(dirname "$python")" .venv/bin && sleep 1 && touch .venv/.installed .venv/.installed-dev

echo "== dvc repro"
dvc repro
echo "== again: nothing to do"
has "up to date" "$(dvc repro 2>&1)" "a second dvc repro did something"
[ -s dvc.lock ] || fail "no dvc.lock"
dvc metrics show
dvc plots show >/dev/null
git add dvc.lock results/tables && git commit --quiet --message "Results"
[ -z "$(git status --porcelain)" ] || fail "left in git status: $(git status --porcelain)"

echo "== push, wipe, restore"
dvc remote add --default local "$work/remote"
git commit --quiet --all --message "Remote"
dvc push
find results data -type f ! -name '.snakemake_timestamp' | sort | xargs sha256sum >"$work/before"
grep -v -e results/benchmarks -e results/configs "$work/before" >"$work/kept"
check() {
  sha256sum --quiet --check "$work/kept" || fail "restored files differ"
  has "up to date" "$(dvc status 2>&1)" "dvc status is not clean"
  has "Nothing to be done" "$(snakemake -n --configfile config/config.yaml "$overlay" 2>&1)" "snakemake has work"
}
rm -rf results data resources checkpoints .dvc/cache
make restore CONFIG="config/config.yaml $overlay"
check

echo "== the same without what Git holds"
rm -rf results data resources .dvc/cache .snakemake
make restore CONFIG="config/config.yaml $overlay"
check

echo "== the same in a new clone"
git clone --quiet "$work/clone" "$work/second"
ln -s "$work/clone/.venv" "$work/second/.venv"
touch "$work/clone/.venv/.installed" "$work/clone/.venv/.installed-dev"
cd "$work/second"
make restore CONFIG="config/config.yaml $overlay"
check
[ -z "$(git status --porcelain)" ] || fail "left in git status: $(git status --porcelain)"

echo "== links to the cache instead of copies"
dvc config --local cache.type symlink,hardlink
dvc checkout --relink
rm -rf .snakemake/log
dvc repro --force >"$work/linked" 2>&1 || { cat "$work/linked"; fail "dvc repro stopped"; }
cat .snakemake/log/* >"$work/logs"  # what ran stands there, not on the screen
! grep -E '^ *(local)?rule (data|warm_start|train\w*|evaluate\w*):' "$work/logs" || fail "links made work for Snakemake"
has "up to date" "$(dvc repro 2>&1)" "a second dvc repro with links did something"
echo "round trip complete"
