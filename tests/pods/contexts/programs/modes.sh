set -e
mkdir -p /opt/modes && cd /opt/modes
for mode in 0000 0444 0555 0400 4755 2755 4111 0751 1644; do
    echo text > f && chmod $mode f
    cp -p f p-$mode && mv f m-$mode && cp --preserve=all m-$mode a-$mode && install -m $mode m-$mode i-$mode
    echo more >> p-$mode && cat p-$mode > /dev/null && touch a-$mode
done
# The C library sets modes of directories by /proc/self/fd.
[ ! -e /proc/self ] || { mkdir d && chmod 0555 d && touch d/f && chmod 0 d/f && cp -a d e && touch e/g && cat e/f && mkfifo d/p && mknod d/n c 1 3 && chmod 600 d/n && cp -a d g && mv d /opt/modes-d && find e g ../modes-d -printf '%M %U:%G %y %n %p\n' | sort -k 5 && rm -r e g ../modes-d; } > /seen/proc-modes
setfacl -m u:one:r,g:more:rwx p-0400 i-0400 && getfacl -n p-0400 && chmod 640 p-0400 && getfacl -nc p-0400 && setfacl -b p-0400 && getfacl -nc p-0400 && cp -p i-0400 list && getfacl -nc list
setfacl -b list i-0400
find . -printf '%M %U:%G %y %n %s %p\n' | sort -k 6
