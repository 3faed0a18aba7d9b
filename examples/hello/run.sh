#!/bin/sh
# Builds cooperage and shows a whole build with it, on this machine alone: no daemon, no image from elsewhere, and no
# service but the registry that cooperage itself offers.
#
#   examples/hello/run.sh [BINARY]      BINARY instead of a fresh release build
#
# Everything is made in a temporary directory, which is removed at the end.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

say() { printf '\n== %s\n' "$*"; }

if [ $# -gt 0 ]; then
    binary=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
else
    say 'the release binary'
    cd "$here/../.."
    cargo build --release --locked --package cooperage
    binary=$(pwd)/target/$(rustc --print host-tuple)/release/cooperage
    [ -z "${CARGO_TARGET_DIR:-}" ] || binary=$CARGO_TARGET_DIR/$(rustc --print host-tuple)/release/cooperage
fi
[ -x "$binary" ] || { echo "there is no program at $binary" >&2; exit 2; }
cooperage() { "$binary" "$@"; }

work=$(mktemp -d)
registry=
trap '[ -z "$registry" ] || kill "$registry" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export COOPERAGE_ROOT="$work/store"
mkdir "$work/binary"
cp "$binary" "$work/binary/cooperage"

say 'what works in this place'
cooperage doctor

say 'the registry of cooperage, on a free port of loopback'
"$binary" registry serve --addr 127.0.0.1:0 --root "$work/registry" > "$work/served" &
registry=$!
tries=0
until [ -s "$work/served" ]; do
    kill -0 "$registry" 2>/dev/null || { echo 'the registry did not start' >&2; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo 'the registry did not say its address' >&2; exit 1; }
    sleep 0.1
done
address=$(sed -n 's,^Serving http://\([^ ]*\) .*,\1,p' "$work/served")
echo "$address"

say 'a build of several stages, whose RUN steps execute cooperage itself; pushed'
cooperage build --build-context binary="$work/binary" --tag "$address/hello" --push \
    --metadata-file "$work/metadata.json" "$here"

say 'the image, as the registry has it'
cooperage image inspect --remote "$address/hello"

say 'pulled back into an empty store, and run'
COOPERAGE_ROOT="$work/second" cooperage build --output "$work/files" - <<DOCKERFILE
FROM $address/hello
RUN ["/bin/cooperage", "version"]
DOCKERFILE
cat "$work/files/share/hello.txt"
