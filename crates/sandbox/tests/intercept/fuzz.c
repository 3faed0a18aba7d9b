/* Random calls on random paths: fuzz SEED COUNT [TREE] prints what each gave. Run as root of a step, and by root of the
   machine with an equal TREE as its root, it prints the same. (The root of a mount namespace, not a chroot: a chroot in
   a chroot does not hold who has the outer one open.) */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long long state;
static unsigned pick(unsigned n) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (state >> 33) % n;
}
static const char *names[] = {"a", "b", "c", "d", "e", ".", "..", "a", "b", "..", "longer-name", "a"};
static char *path(char *out) {
    *out = 0;
    if (pick(3) == 0) strcat(out, pick(8) ? "/" : "//");
    if (pick(6) == 0) strcat(out, *out == '/' ? "w/" : "/w/");
    unsigned parts = 1 + pick(4);
    for (unsigned i = 0; i < parts; i++) {
        if (i) strcat(out, pick(10) ? "/" : "//");
        strcat(out, names[pick(sizeof names / sizeof *names)]);
    }
    if (pick(8) == 0) strcat(out, "/");
    if (pick(60) == 0) strcpy(out, "");
    if (pick(60) == 0) strcpy(out, "/");
    return out;
}
static int dirs[4] = {AT_FDCWD, AT_FDCWD, AT_FDCWD, AT_FDCWD};
static int dir(void) { return dirs[pick(4)]; }
static void describe(const struct stat *st) {
    printf(" %o %u:%u", st->st_mode, st->st_uid, st->st_gid);
    if (!S_ISDIR(st->st_mode)) printf(" n%lu", (unsigned long)st->st_nlink);
    if (S_ISREG(st->st_mode)) printf(" s%ld", (long)st->st_size);
    if (S_ISCHR(st->st_mode)) printf(" %u:%u", major(st->st_rdev), minor(st->st_rdev));
}
static unsigned depth;
static void one(int i) {
    char p[600], q[600], buffer[4096];
    struct stat st;
    int result = 0, fd, d = dir();
    unsigned op = pick(depth < 2 ? 25 : 24);
    path(p);
    path(q);
    errno = 0;
    printf("%d %u %s", i, op, p);
    switch (op) {
    case 0: case 1: result = mkdirat(d, p, pick(01000)); break;
    case 2: case 3: case 4: printf(" -> %s", q); result = symlinkat(q, d, p); break;
    case 5: case 6:
        result = fd = openat(d, p, O_CREAT | O_NONBLOCK | (pick(3) ? O_WRONLY : O_RDWR | O_EXCL), pick(01000));
        if (fd >= 0) { if (write(fd, p, pick(20)) < 0) abort(); fstat(fd, &st); describe(&st); close(fd); result = 0; }
        break;
    case 7: case 8: result = fstatat(d, p, &st, 0); if (!result) describe(&st); break;
    case 9: case 10: result = fstatat(d, p, &st, AT_SYMLINK_NOFOLLOW); if (!result) describe(&st); break;
    case 11: result = readlinkat(d, p, buffer, sizeof buffer); if (result >= 0) printf(" [%.*s]", result, buffer); break;
    case 12: printf(" -> %s", q); result = renameat(d, p, dir(), q); break;
    case 13: printf(" -> %s", q); result = linkat(d, p, dir(), q, pick(2) ? AT_SYMLINK_FOLLOW : 0); break;
    case 14: result = unlinkat(d, p, 0); break;
    case 15: result = unlinkat(d, p, AT_REMOVEDIR); break;
    case 16: result = pick(4) ? 0 : chdir(p); if (getcwd(buffer, sizeof buffer)) printf(" in %s", buffer); else printf(" nowhere"); break;
    case 17: result = faccessat(d, p, pick(8), 0); break;
    case 18:
        fd = openat(d, p, O_DIRECTORY | (pick(2) ? O_PATH : O_RDONLY));
        if (fd >= 0) { unsigned slot = 1 + pick(3); if (dirs[slot] >= 0) close(dirs[slot]); dirs[slot] = fd; }
        result = fd < 0 ? -1 : 0;
        break;
    case 19: result = fchownat(d, p, pick(3), pick(3), pick(2) ? AT_SYMLINK_NOFOLLOW : 0); break;
    case 20: result = fchmodat(d, p, pick(010000), 0); break;
    case 21: result = truncate(p, pick(100)); break;
    case 22: result = mknodat(d, p, S_IFIFO | pick(01000), 0); break;
    case 23:
        result = fd = openat(d, p, O_RDONLY | O_NONBLOCK | (pick(2) ? O_NOFOLLOW : 0));
        if (fd >= 0) { fstat(fd, &st); describe(&st); close(fd); result = 0; }
        break;
    case 24: { /* Another root, for a child and what it does there. */
        unsigned enter = pick(2), more = 3 + pick(12);
        puts(" below");
        pid_t child = fork();
        if (child == 0) {
            depth++;
            if (enter && chdir(p)) printf("cannot enter: %s\n", strerrorname_np(errno));
            if (chroot(enter ? "." : p)) printf("no root: %s\n", strerrorname_np(errno));
            for (unsigned n = 0; n < more; n++) one(n);
            _exit(0);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status) abort();
        printf("%d above", i);
        break;
    }
    }
    printf(" = %d %s\n", result < 0 ? -1 : 0, result < 0 ? strerrorname_np(errno) : "");
}
int main(int argc, char **argv) {
    state = argc > 1 ? strtoull(argv[1], 0, 10) * 7919 + 1 : 1;
    setvbuf(stdout, 0, _IOLBF, 0);
    int count = argc > 2 ? atoi(argv[2]) : 1000;
    if (argc > 3) {
        if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount(argv[3], argv[3], 0, MS_BIND, 0)) return 4;
        if (chdir(argv[3]) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) return 5;
    }
    char buffer[4096];
    for (int i = 0; i < count; i++) {
        one(i);
        /* No matter what, the fuzzer must be able to go on. */
        if (getcwd(buffer, sizeof buffer) == 0 || strncmp(buffer, "/w", 2)) { if (chdir("/w")) { mkdir("/w", 0755); if (chdir("/w")) return 3; } }
    }
    return 0;
}
