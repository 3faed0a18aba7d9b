set -e
mkdir -p /tmp/make && cd /tmp/make
for i in $(seq 1 24); do printf 'int f%d(int x) { return x * %d; }\n' $i $i > f$i.c; done
{ seq 1 24 | sed 's/.*/int f&(int);/'; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'; seq 1 24 | sed 's/.*/s += f&(1);/'; echo 'printf("%d ", s); return 0; }'; } > main.c
cat > Makefile <<'M'
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
all: pie nopie static
pie: $(OBJECTS) ; $(CC) -pie -o $@ $^
nopie: $(OBJECTS) ; $(CC) -no-pie -o $@ $^
static: $(OBJECTS) ; $(CC) -static -o $@ $^
%.o: %.c ; $(CC) -O1 -fPIE -c -o $@ $<
M
make -s -j8
for program in pie nopie static; do ./$program; done
cp /work/threads.c .
for kind in '' -static '-static -no-pie'; do
    gcc -O1 -pthread $kind -o threads threads.c && ./threads gcc
    musl-gcc -O1 -pthread $kind -o threads threads.c && ./threads musl
done
ar rcs libf.a f*.o && gcc -o linked main.c -L. -lf && ./linked
gcc -shared -fPIC -Wl,-soname,libg.so -o libg.so f1.c && printf 'int f1(int); int main(void) { return f1(0); }' > g.c && gcc -o g g.c -L. -lg -Wl,-rpath,'$ORIGIN' && if [ -e /proc/self ]; then (cd / && /tmp/make/g) && echo origin > /seen/proc-origin; fi
install -D -m 644 libg.so /usr/local/lib/libg.so && ldconfig && ldconfig -p | grep -c libg && rm /usr/local/lib/libg.so && ldconfig && rm -f /var/cache/ldconfig/aux-cache
install -D -o two -g more -m 4755 static /opt/bin/static
cd / && rm -rf /tmp/make
