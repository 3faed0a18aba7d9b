#!/bin/sh
# busybox: the base of the table in tests/dockerfiles. One static program, a link for each applet, and a few users.
# Called as busybox.sh DIRECTORY; leaves DIRECTORY/rootfs.tar and DIRECTORY/config.json.
set -eu
out=$1
root=$out/root
busybox=$(command -v busybox)
mkdir -p "$root/bin" "$root/dev" "$root/etc" "$root/home/app" "$root/proc" "$root/root" "$root/sys" "$root/tmp" \
    "$root/usr/bin" "$root/usr/lib" "$root/var/lib" "$root/var/log"
cp "$busybox" "$root/bin/busybox"
chmod 0755 "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
cat > "$root/etc/passwd" <<'EOF'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
app:x:1000:1000:An application:/home/app:/bin/sh
other:x:1001:1001::/home/other:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
EOF
cat > "$root/etc/group" <<'EOF'
root:x:0:
daemon:x:1:
www-data:x:33:
app:x:1000:
other:x:1001:
readers:x:2000:app,other
writers:x:2001:app
nogroup:x:65534:
EOF
printf 'root:*:::::::\n' > "$root/etc/shadow"
chmod 0640 "$root/etc/shadow"
chmod 0700 "$root/root"
chmod 1777 "$root/tmp"
# Owners are set by tar, so that this needs no privilege.
pack() { tar --file "$out/rootfs.tar" --directory "$root" --numeric-owner --sort=name --mtime=@1700000000 --format=pax \
    --pax-option=delete=atime,delete=ctime "$@"; }
pack --create --owner=0 --group=0 --exclude=./home/app .
pack --append --owner=1000 --group=1000 ./home/app
rm -rf "$root"
cat > "$out/config.json" <<'EOF'
{ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["sh"] }
EOF
