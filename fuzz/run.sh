#!/bin/sh
# Fuzzes one target: fuzz/run.sh TARGET SECONDS [options of libFuzzer]; in the place of SECONDS a FILE is run once, and for 0
# seconds it only builds. README.md has the rest.
set -eu
cd "$(dirname "$0")"
target=$1 what=$2
shift 2
# What `cargo fuzz` passes, but for the sanitizers, which want a nightly compiler: no code of ours is unsafe. `--target`
# keeps it away from build scripts and macros.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares"
triple=$(rustc -vV | sed -n 's/^host: //p')
# The versions are those of the project, and what is wanted here alone comes on top.
[ Cargo.lock -nt ../Cargo.lock ] || cp ../Cargo.lock .
cargo build --quiet --release --target "$triple" --bin "$target"
program=${CARGO_TARGET_DIR:-target}/$triple/release/$target
mkdir -p "found/$target" crashes
common="-max_len=8192 -timeout=60 -rss_limit_mb=2048 -artifact_prefix=crashes/$target-"
# shellcheck disable=SC2086
[ ! -f "$what" ] || exec "$program" $common "$what" "$@"
[ "$what" -gt 0 ] || exit 0

# The words a parser knows are the texts in its source.
source=../crates/ingest/src
case $target in
    webhooks) source=$source/webhook ;;
    tickets) source="$source/ticket.rs $source/landing.rs" ;;
    tcf) source=$source/tcf.rs ;;
    unpack) source=$source/body.rs ;;
    wire) source=$source/ticket.rs ;;
    *) source="$source/landing.rs $source/dialect/columns.rs $(echo $source/dialect/$target*)" ;;
esac
# shellcheck disable=SC2086
{ cat json.dict; LC_ALL=C grep -rhoE '"[!#-[^-~]{2,40}"' $source | sort -u; } > "found/$target.dict"

# shellcheck disable=SC2086
exec "$program" "found/$target" "corpus/$target" $common -max_total_time="$what" -dict="found/$target.dict" \
    -print_final_stats=1 "$@"
