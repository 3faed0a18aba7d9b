#!/bin/sh
# A Debian system for another processor, made without running any of its programs: packages are unpacked and noted as
# installed. Called as debian-foreign.sh DIRECTORY ARCHITECTURE SUITE [PACKAGE…]; leaves DIRECTORY/rootfs.tar and
# config.json. Maintainer scripts have not run: what tests need of them is done by hand below.
set -eu
out=$1
architecture=$2
suite=$3
shift 3
packages=$(printf '%s,' "$@")
cat > "$out/register.sh" <<'EOF'
set -eu
cd "$1"
mkdir -p var/lib/dpkg/info
for deb in var/cache/apt/archives/*.deb; do
    name=$(dpkg-deb --field "$deb" Package)
    dpkg-deb --field "$deb" | sed '/^Package:/a Status: install ok installed' >> var/lib/dpkg/status
    echo >> var/lib/dpkg/status
    list=var/lib/dpkg/info/$name
    [ "$(dpkg-deb --field "$deb" Multi-Arch)" != same ] || list=$list:$(dpkg-deb --field "$deb" Architecture)
    dpkg-deb --fsys-tarfile "$deb" | tar --list | sed 's,^\.,,; s,/$,,; s,^$,/.,' > "$list.list"
done
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
mkdir -p etc/ssl/certs etc/apt/trusted.gpg.d
cp usr/share/keyrings/debian-archive-*.gpg etc/apt/trusted.gpg.d/
# One suite is enough: reading the lists of packages is slow where a processor is emulated.
sed -i '/-security\|-updates\|^#/d' etc/apt/sources.list
(cd usr/share/ca-certificates && find . -name '*.crt' -exec cat {} +) > etc/ssl/certs/ca-certificates.crt
EOF
mmdebstrap --quiet --architectures="$architecture" --variant=extract '--include=?essential' --include="${packages%,}" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --skip=extract/unlink \
    --aptopt='Acquire::Check-Valid-Until "false"' --extract-hook="sh '$out/register.sh' \"\$1\"" \
    "$suite" "$out/rootfs.tar"
cat > "$out/config.json" <<'EOF'
{ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"] }
EOF
