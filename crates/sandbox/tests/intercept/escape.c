/* A hostile step: leaves the root where it can, then tries what belongs to its builder. `escape FILE PID` prints
   "reached WHAT" for everything that it got, and "tried N" at its end. FILE and PID are the builder's. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int tried;
static void got(const char *what, int success) {
    tried++;
    if (success) printf("reached %s\n", what);
}
static int readable(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return 0;
    int result = read(fd, &byte, 1) == 1;
    close(fd);
    return result;
}

/* What belongs to the builder, from a root that may be anywhere. */
static void attempts(const char *where, const char *file, pid_t builder) {
    char path[4096], name[200];
    snprintf(name, sizeof name, "the file, %s", where);
    got(name, readable(file));
    snprintf(name, sizeof name, "a new file beside it, %s", where);
    snprintf(path, sizeof path, "%s.new", file);
    got(name, open(path, O_CREAT | O_WRONLY, 0600) >= 0);
    snprintf(name, sizeof name, "the file's end, %s", where);
    got(name, truncate(file, 0) == 0);
    got(name, unlink(file) == 0);
    snprintf(name, sizeof name, "a hard link, %s", where);
    got(name, link(file, "/w/hard") == 0 && readable("/w/hard"));
    snprintf(name, sizeof name, "a link, %s", where);
    got(name, symlink(file, "/w/soft") == 0 && readable("/w/soft"));
    unlink("/w/soft");
    const char *parts[] = {"environ", "mem", "maps", "root/etc/passwd", "cwd/Cargo.toml", "fd/0", "exe"};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", builder, parts[i]);
        snprintf(name, sizeof name, "%s, %s", path, where);
        got(name, readable(path));
    }
    /* Opened, not written: they would hand the machine over. */
    const char *settings[] = {"sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger", "sys/vm/drop_caches"};
    for (unsigned i = 0; i < sizeof settings / sizeof *settings; i++) {
        snprintf(path, sizeof path, "/proc/%s", settings[i]);
        snprintf(name, sizeof name, "%s, %s", path, where);
        got(name, open(path, O_WRONLY) >= 0);
    }
    snprintf(name, sizeof name, "ptrace, %s", where);
    got(name, ptrace(PTRACE_SEIZE, builder, 0, 0) == 0);
    char byte;
    struct iovec mine = {&byte, 1}, theirs = {(void *)0x400000, 1};
    snprintf(name, sizeof name, "memory, %s", where);
    got(name, process_vm_readv(builder, &mine, 1, &theirs, 1, 0) == 1);
    snprintf(name, sizeof name, "a signal, %s", where);
    got(name, kill(builder, 0) == 0);
    got(name, syscall(SYS_tkill, builder, SIGCONT) == 0);
    /* No processor time at all would end it. */
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    if (getrlimit(RLIMIT_CPU, &limit) == 0) {
        snprintf(name, sizeof name, "the limits, %s", where);
        got(name, prlimit(builder, RLIMIT_CPU, &limit, 0) == 0);
    }
    snprintf(name, sizeof name, "the score for want of memory, %s", where);
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", builder);
    got(name, open(path, O_WRONLY) >= 0);
    snprintf(name, sizeof name, "a signal, %s", where);
    int pidfd = syscall(SYS_pidfd_open, builder, 0);
    got(name, pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, 0, 0) == 0);
    snprintf(name, sizeof name, "a descriptor, %s", where);
    got(name, pidfd >= 0 && syscall(SYS_pidfd_getfd, pidfd, 0, 0) >= 0);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    pid_t builder = atoi(argv[2]);
    setvbuf(stdout, 0, _IOLBF, 0);
    for (int fd = 3; fd < 1024; fd++) {
        struct stat st;
        if (fstat(fd, &st) == 0) got("a descriptor that was left open", 1);
    }
    attempts("from the root", argv[1], builder);
    /* The old way out: a root below the working directory leaves it outside. */
    int outside = open("/", O_RDONLY | O_DIRECTORY);
    mkdir("/w/below", 0755);
    if (chroot("/w/below") == 0) {
        if (outside >= 0) fchdir(outside);
        for (int i = 0; i < 64; i++) if (chdir("..")) break;
        chroot(".");
        attempts("from outside", argv[1], builder);
    }
    printf("tried %d\n", tried);
    return 0;
}
