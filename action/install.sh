#!/usr/bin/env bash
# Puts cooperage into PATH: the one that is there, else built from the source of this action.
set -euo pipefail
if command -v cooperage >/dev/null; then
    cooperage version
    exit 0
fi
if ! command -v cargo >/dev/null; then
    echo "::error::cooperage is not in PATH, and there is no cargo to build it with"
    exit 1
fi
target=${RUNNER_TEMP:?}/cooperage
CARGO_TARGET_DIR="$target" cargo build --release --locked --quiet \
    --manifest-path "${GITHUB_ACTION_PATH:?}/Cargo.toml" --package cooperage
program=$(find "$target" -type f -name cooperage -path '*/release/cooperage' | head -n 1)
mkdir -p "$RUNNER_TEMP/cooperage-bin"
mv "$program" "$RUNNER_TEMP/cooperage-bin/"
echo "$RUNNER_TEMP/cooperage-bin" >>"${GITHUB_PATH:?}"
"$RUNNER_TEMP/cooperage-bin/cooperage" version
