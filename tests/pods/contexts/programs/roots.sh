# Tools that work on another root by chroot(2), as images for FROM scratch are filled.
set -e
root=/other
mkdir -p $root/bin $root/etc $root/lib64 $root/tmp $root/var/lib/dpkg/info $root/var/lib/dpkg/updates $root/var/lib/rpm
for name in sh cat chgrp chown groupadd id ls rm stat touch; do
    cp "$(command -v $name)" $root/bin/
    for library in $(ldd "$(command -v $name)" | grep -o '/[^ ]*'); do
        mkdir -p "$root$(dirname "$library")"
        cp -L "$library" "$root$library"
    done
done
cp /etc/nsswitch.conf $root/etc/
printf 'root:x:0:0:root:/:/bin/sh\n' > $root/etc/passwd
printf 'root:x:0:\n' > $root/etc/group
printf 'root:*:19000:0:99999:7:::\n' > $root/etc/shadow
: > $root/etc/gshadow
: > $root/var/lib/dpkg/status

echo == chroot
chroot $root sh -c 'pwd; ls -a /; id; cd /tmp; pwd; touch here; chown 5:6 here; stat -c "%u:%g %n" /tmp/here'
chroot --userspec=701:700 --groups=703 $root id
chroot $root /usr/bin/none || echo "exit $?"
stat -c '%u:%g %n' $root/tmp/here

echo == useradd
groupadd --root $root --gid 810 inner
useradd --root $root --uid 811 --gid inner --no-create-home inner
grep inner $root/etc/passwd $root/etc/group
getent passwd inner || echo not here
chroot $root id inner

echo == ldconfig
mkdir -p $root/opt/lib
cp -L /lib/*-linux-gnu/libc.so.6 $root/opt/lib/libc.so.6
echo /opt/lib > $root/etc/ld.so.conf
ldconfig -r $root
ldconfig -r $root -p | grep -c /opt/lib
rm -rf $root/var/cache/ldconfig

echo == dpkg
mkdir -p /tmp/deb/DEBIAN /tmp/deb/opt/deb
printf 'Package: inner\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: in another root\n' > /tmp/deb/DEBIAN/control
printf '#!/bin/sh\nset -e\npwd\nchown inner:inner /opt/deb/file\ntest ! -e /work && touch /opt/deb/configured\n' > /tmp/deb/DEBIAN/postinst
chmod 755 /tmp/deb/DEBIAN/postinst
echo file > /tmp/deb/opt/deb/file
dpkg-deb --root-owner-group --build /tmp/deb /tmp/inner.deb > /dev/null
dpkg --root=$root --log=/dev/null -i /tmp/inner.deb
stat -c '%u:%g %n' $root/opt/deb/*
dpkg --root=$root -l inner | tail -1

echo == rpm
rpmbuild --quiet -bb --define '_topdir /tmp/rpm' --define '_build_id_links none' --define '_buildhost host' sample.spec > /dev/null
rpm --root $root --install --nodeps /tmp/rpm/RPMS/noarch/sample-1-1.noarch.rpm || echo "exit $?"
stat -c '%a %u:%g %F %n' $root/opt/sample $root/opt/sample/*
rpm --root $root --query --list sample
rm -rf $root/var/lib/rpm $root/var/tmp $root/root /root/.rpmdb /var/lib/rpm/* /tmp/rpm /tmp/deb /tmp/inner.deb

echo == interpreters
python3 -B -c 'import os; os.chroot("/other"); os.chdir("/"); print(os.getcwd(), sorted(os.listdir("/")), os.path.exists("/work"))'
perl -e 'chroot "/other" or die; chdir "/"; open my $f, "<", "/etc/group" or die; print <$f>; exec "/bin/sh", "-c", "pwd; ls /etc"'
rm -f $root/var/lib/dpkg/*-old $root/var/lib/dpkg/lock* $root/etc/*-
