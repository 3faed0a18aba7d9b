#!/bin/sh
# A Debian system of the given packages: debian.sh DIRECTORY SUITE [PACKAGE…]; leaves DIRECTORY/rootfs.tar and config.json.
# Documentation is left out, as in the images that Debian itself publishes as "slim".
set -eu
out=$1
suite=$2
shift 2
packages=$(printf '%s,' "$@")
mmdebstrap --quiet --variant=minbase --include="${packages%,}" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$suite" "$out/rootfs.tar"
cat > "$out/config.json" <<'EOF'
{ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"] }
EOF
