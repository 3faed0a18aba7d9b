set -e
mkdir /tmp/t && cd /tmp/t
perl -e 'for my $i (1..5000) { my $d = "f/" . int($i / 100); mkdir "f"; mkdir $d; open my $f, ">", "$d/$i"; print $f $i; close $f; chown $i % 7, $i % 11, "$d/$i"; chmod 0600 + $i % 64, "$d/$i"; }'
ln f/1/100 f/hard && ln -s 1/100 f/soft && mknod f/null c 1 3 && mkfifo f/fifo && chmod 1777 f && chmod 4755 f/1/101 && chown -h 5:6 f/soft
list() { (cd "$1" && find . -printf '%p %m %U:%G %y %s %n %l\n' | sort | sha256sum); }
list f
tar --create --file a.tar f && mkdir again && tar --extract --file a.tar --directory again && list again/f
tar --extract --file a.tar --directory again && list again/f
tar --create --numeric-owner --xattrs --sparse --gzip --file b.tar.gz f && tar tzf b.tar.gz | wc -l
mkdir other && chown one other && su one -c 'tar --extract --file a.tar --directory other --exclude=f/null' && (cd other && find . -uid 701 | wc -l)
cp -a f copied && list copied && mv copied /opt/moved && list /opt/moved && chown -R --from=3 two /opt/moved && find /opt/moved -user two | wc -l
find f -type f | cpio --quiet -o -H newc 2>/dev/null | wc -c || true
cd / && rm -rf /tmp/t
