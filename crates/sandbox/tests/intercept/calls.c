/* What programs do that no shell does. Each check prints "ok NAME" or "FAILED NAME LINE errno". Runs as root of a step,
   in an empty directory, and gives the same for root in a chroot. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <grp.h>
#include <unistd.h>
#include <utime.h>

static int failed_line, failed_errno;
#define CHECK(condition) do { errno = 0; if (!(condition)) { failed_line = __LINE__; failed_errno = errno; return; } } while (0)
#define FAILS(call, error) CHECK((call) == -1 && errno == (error))

static void put(const char *path, const char *text) {
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    if (write(fd, text, strlen(text)) < 0) abort();
    close(fd);
}

static int wait_code(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* threads */
static void *thread_body(void *unused) {
    char buffer[4096];
    struct stat st;
    for (int i = 0; i < 300; i++) {
        if (!getcwd(buffer, sizeof buffer) || stat("/etc/passwd", &st) || st.st_uid != 0) return (void *)1;
        int fd = open("/etc/passwd", O_RDONLY);
        if (fd < 0 || fstat(fd, &st)) return (void *)1;
        close(fd);
    }
    return unused;
}
static void many_threads(void) {
    pthread_t threads[64];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    CHECK(pthread_attr_setstacksize(&attr, 32768) == 0);
    for (int i = 0; i < 64; i++) CHECK(pthread_create(&threads[i], &attr, thread_body, 0) == 0);
    for (int i = 0; i < 64; i++) {
        void *result;
        CHECK(pthread_join(threads[i], &result) == 0 && result == 0);
    }
}
static void *umask_body(void *unused) { umask(077); return unused; }
static void threads_share_the_umask(void) {
    pthread_t thread;
    mode_t old = umask(022);
    CHECK(pthread_create(&thread, 0, umask_body, 0) == 0 && pthread_join(thread, 0) == 0);
    CHECK(umask(old) == 077);
}

/* processes */
extern char **environ;
static void spawn(void) {
    pid_t pid;
    char *argv[] = {"true", 0};
    CHECK(posix_spawn(&pid, "/bin/true", 0, 0, argv, environ) == 0 && wait_code(pid) == 0);
    CHECK(posix_spawn(&pid, "/bin/nothing", 0, 0, argv, environ) == ENOENT);
    CHECK(posix_spawnp(&pid, "true", 0, 0, argv, environ) == 0 && wait_code(pid) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "spawned", O_CREAT | O_WRONLY, 0600);
    char *echo[] = {"echo", "text", 0};
    CHECK(posix_spawn(&pid, "/bin/echo", &actions, 0, echo, environ) == 0 && wait_code(pid) == 0);
    struct stat st;
    CHECK(stat("spawned", &st) == 0 && st.st_size == 5 && (st.st_mode & 07777) == 0600);
}
static long mapped_pages(void) {
    long pages = -1;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld", &pages) != 1) pages = -1;
    if (f) fclose(f);
    return pages;
}
static int spawned(const char *program) {
    pid_t pid;
    char *argv[] = {"true", "an argument", 0};
    return posix_spawn(&pid, program, 0, 0, argv, environ) == 0 && wait_code(pid) == 0;
}
static void children_of_vfork_leave_nothing_in_their_parent(void) {
    put("script", "#!/bin/sh\n[ \"$1\" = 'an argument' ]\n");
    chmod("script", 0755);
    CHECK(spawned("/bin/true") && spawned("./script"));
    long before = mapped_pages();
    for (int i = 0; i < 100; i++) CHECK(spawned("/bin/true") && spawned("./script"));
    long after = mapped_pages();
    /* Less than one for each; a patched call site takes one. */
    CHECK(before > 0 && after < before + 50);
}
static void *spawner(void *fine) {
    for (int i = 0; i < 40 && *(int *)fine; i++) *(int *)fine = spawned(i % 2 ? "/bin/true" : "./script");
    return 0;
}
static void threads_spawn_at_once(void) {
    pthread_t threads[6];
    int fine[6];
    for (int i = 0; i < 6; i++) { fine[i] = 1; CHECK(pthread_create(&threads[i], 0, spawner, &fine[i]) == 0); }
    int all = 1;
    for (int i = 0; i < 6; i++) { pthread_join(threads[i], 0); all &= fine[i]; }
    CHECK(all);
}
static void a_child_of_vfork_keeps_its_identity_to_itself(void) {
    pid_t pid = vfork();
    if (pid == 0) {
        umask(0);
        if (setgid(7) || setuid(8)) _exit(1);
        execl("/bin/sh", "sh", "-c", "[ $(id -u):$(id -g):$(umask) = 8:7:0000 ]", (char *)0);
        _exit(2);
    }
    CHECK(wait_code(pid) == 0);
    CHECK(getuid() == 0 && getgid() == 0);
    mode_t old = umask(022);
    CHECK(old == 022);
}
static void a_fork_has_an_identity_of_its_own(void) {
    pid_t pid = fork();
    if (pid == 0) {
        if (setresuid(5, 6, 7)) _exit(1);
        uid_t r, e, s;
        getresuid(&r, &e, &s);
        _exit(r == 5 && e == 6 && s == 7 && setuid(0) == -1 && seteuid(7) == 0 ? 0 : 2);
    }
    CHECK(wait_code(pid) == 0);
    CHECK(geteuid() == 0);
}
static void exec_errors(void) {
    char *argv[] = {"x", 0};
    FAILS(execve("/bin/nothing", argv, environ), ENOENT);
    FAILS(execve("/etc", argv, environ), EACCES);
    FAILS(execve("/etc/passwd", argv, environ), EACCES);
    put("plain", "text");
    chmod("plain", 0755);
    FAILS(execve("plain", argv, environ), ENOEXEC);
    FAILS(execve("plain/x", argv, environ), ENOTDIR);
    put("noint", "#!/no/such/thing\n");
    chmod("noint", 0755);
    FAILS(execve("noint", argv, environ), ENOENT);
    put("self", "#!self\n");
    chmod("self", 0755);
    FAILS(execve("self", argv, environ), ELOOP);
    FAILS(execve("", argv, environ), ENOENT);
    FAILS(execve((char *)1, argv, environ), EFAULT);
}
static void exec_by_descriptor(void) {
    char *argv[] = {"sh", "-c", "exit 7", 0};
    int fd = open("/bin/busybox", O_PATH | O_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
        _exit(99);
    }
    CHECK(wait_code(pid) == 7);
    put("s", "#!/bin/sh\nexit 8\n");
    chmod("s", 0755);
    fd = open("s", O_RDONLY);
    pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
        _exit(99);
    }
    CHECK(wait_code(pid) == 8);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    FAILS(syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH), ENOENT);
    int dir = open("/bin", O_PATH | O_DIRECTORY);
    pid = fork();
    if (pid == 0) {
        syscall(SYS_execveat, dir, "sh", argv, environ, 0);
        _exit(99);
    }
    CHECK(wait_code(pid) == 7);
    symlink("/bin/true", "lt");
    FAILS(syscall(SYS_execveat, AT_FDCWD, "lt", argv, environ, AT_SYMLINK_NOFOLLOW), ELOOP);
    close(fd);
    close(dir);
}
static void exec_keeps_and_resets_what_it_should(void) {
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    signal(SIGUSR2, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "calls", "signals", (char *)0);
        _exit(9);
    }
    int code = wait_code(pid);
    sigprocmask(SIG_SETMASK, &old, 0);
    signal(SIGUSR2, SIG_DFL);
    CHECK(code == 0);
}

/* signals */
static volatile sig_atomic_t got;
static void handler(int signal) { got = signal; struct stat st; stat("/etc/passwd", &st); }
static void masks(void) {
    sigset_t all, now, old;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, &old) == 0);
    struct stat st;
    CHECK(stat("/etc/passwd", &st) == 0);
    CHECK(sigprocmask(SIG_SETMASK, 0, &now) == 0);
    CHECK(sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGKILL) == 0);
    raise(SIGUSR1);
    got = 0;
    signal(SIGUSR1, handler);
    CHECK(got == 0);
    CHECK(sigprocmask(SIG_SETMASK, &old, 0) == 0);
    CHECK(got == SIGUSR1);
    CHECK(sigprocmask(SIG_SETMASK, 0, &now) == 0 && sigismember(&now, SIGUSR1) == 0);
}
static void waiting_with_a_mask(void) {
    sigset_t block, all;
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    sigprocmask(SIG_BLOCK, &block, 0);
    signal(SIGUSR1, handler);
    sigfillset(&all);
    sigdelset(&all, SIGUSR1);
    static const sigset_t constant;
    got = 0;
    raise(SIGUSR1);
    CHECK(sigsuspend(&all) == -1 && errno == EINTR && got == SIGUSR1);
    struct timespec soon = {5, 0};
    got = 0;
    raise(SIGUSR1);
    CHECK(ppoll(0, 0, &soon, &constant) == -1 && errno == EINTR && got == SIGUSR1);
    got = 0;
    raise(SIGUSR1);
    CHECK(pselect(0, 0, 0, 0, &soon, &all) == -1 && errno == EINTR && got == SIGUSR1);
    int ep = epoll_create1(0);
    struct epoll_event event;
    got = 0;
    raise(SIGUSR1);
    CHECK(epoll_pwait(ep, &event, 1, 5000, &all) == -1 && errno == EINTR && got == SIGUSR1);
    struct timespec none = {0, 0};
    CHECK(ppoll(0, 0, &none, &all) == 0);
    CHECK(pselect(0, 0, 0, 0, &none, 0) == 0);
    close(ep);
    sigprocmask(SIG_UNBLOCK, &block, 0);
}
static void sigsys_is_the_guests_own(void) {
    struct sigaction action = {.sa_handler = handler}, old;
    CHECK(sigaction(SIGSYS, &action, &old) == 0 && old.sa_handler == SIG_DFL);
    got = 0;
    raise(SIGSYS);
    CHECK(got == SIGSYS);
    CHECK(sigaction(SIGSYS, 0, &old) == 0 && old.sa_handler == handler);
    signal(SIGSYS, SIG_IGN);
    raise(SIGSYS);
    signal(SIGSYS, SIG_DFL);
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGSYS);
        _exit(0);
    }
    CHECK(wait_code(pid) == 1000 + SIGSYS);
}
static void small_alternate_stack(void) {
    static char stack[16384];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack}, none = {.ss_flags = SS_DISABLE};
    CHECK(sigaltstack(&alternate, 0) == 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, 0);
    got = 0;
    for (int i = 0; i < 100; i++) raise(SIGUSR1);
    CHECK(got == SIGUSR1);
    CHECK(sigaltstack(&none, 0) == 0);
}
static void interrupted_open(void) {
    CHECK(mkfifo("slow", 0600) == 0);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, 0);
    struct itimerval timer = {.it_value = {0, 50000}}, off = {0};
    got = 0;
    setitimer(ITIMER_REAL, &timer, 0);
    FAILS(open("slow", O_RDONLY), EINTR);
    CHECK(got == SIGALRM);
    setitimer(ITIMER_REAL, &off, 0);
    unlink("slow");
}
#include <setjmp.h>
static sigjmp_buf jump;
static void jumper(int signal) { (void)signal; siglongjmp(jump, 1); }
static void jumps_out_of_waiting_opens(void) {
    CHECK(mkfifo("slow", 0600) == 0);
    signal(SIGALRM, jumper);
    for (volatile int i = 0; i < 70; i++) {
        struct itimerval timer = {.it_value = {0, 2000}};
        if (sigsetjmp(jump, 1) == 0) {
            setitimer(ITIMER_REAL, &timer, 0);
            open("slow", O_RDONLY);
            CHECK(0);
        }
    }
    struct stat st;
    CHECK(stat("slow", &st) == 0);
    unlink("slow");
}
static void guests_own_filter(void) {
    pid_t pid = fork();
    if (pid == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_statx, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_yield, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof code / sizeof *code, code};
        signal(SIGSYS, handler);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) _exit(1);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(2);
        if (syscall(SYS_getpriority, 0, 0) != -1 || errno != 77) _exit(3);
        int fd = open("/etc/passwd", O_RDONLY);
        if (fd < 0) _exit(4);
        got = 0;
        syscall(SYS_sched_yield);
        if (got != SIGSYS) _exit(5);
        _exit(0);
    }
    int code = wait_code(pid);
    if (code) printf("code %d\n", code);
    CHECK(code == 0);
}

/* files */
static void unnamed_files(void) {
    int fd = open(".", O_TMPFILE | O_RDWR, 0640);
    CHECK(fd >= 0);
    char link[64];
    sprintf(link, "/proc/self/fd/%d", fd);
    CHECK(linkat(AT_FDCWD, link, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0);
    struct stat st;
    CHECK(stat("named", &st) == 0 && (st.st_mode & 07777) == 0640 && st.st_nlink == 1);
    close(fd);
}
static void renames(void) {
    put("a", "a");
    put("b", "bb");
    chown("a", 3, 4);
    FAILS(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE), EEXIST);
    CHECK(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) == 0);
    struct stat st;
    CHECK(stat("b", &st) == 0 && st.st_size == 1 && st.st_uid == 3);
    CHECK(stat("a", &st) == 0 && st.st_size == 2 && st.st_uid == 0);
    CHECK(rename("a", "/tmp/from-w") == 0 && unlink("/tmp/from-w") == 0);
    FAILS(rename("nothing", "x"), ENOENT);
    FAILS(rename("b", "/proc/x"), EXDEV);
}
static void empty_paths(void) {
    put("e", "x");
    int fd = open("e", O_PATH);
    struct stat st;
    struct statx sx;
    CHECK(fstatat(fd, "", &st, AT_EMPTY_PATH) == 0 && st.st_size == 1);
    CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &sx) == 0 && sx.stx_size == 1 && sx.stx_uid == 0);
    CHECK(fchownat(fd, "", 5, 6, AT_EMPTY_PATH) == 0);
    CHECK(fstat(fd, &st) == 0 && st.st_uid == 5 && st.st_gid == 6);
    CHECK(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH) == 0 && S_ISDIR(st.st_mode));
    FAILS(fstatat(fd, "", &st, 0), ENOENT);
    FAILS(open("", O_RDONLY), ENOENT);
    FAILS(stat("", &st), ENOENT);
    FAILS(unlink(""), ENOENT);
    close(fd);
}
static void access_modes(void) {
    put("ac", "x");
    chmod("ac", 0);
    CHECK(access("ac", R_OK | W_OK) == 0);
    FAILS(access("ac", X_OK), EACCES);
    FAILS(access("ac", 8), EINVAL);
    chmod("ac", 0100);
    CHECK(syscall(SYS_faccessat2, AT_FDCWD, "ac", X_OK, AT_EACCESS) == 0);
    int fd = open("ac", O_PATH);
    CHECK(syscall(SYS_faccessat2, fd, "", F_OK, AT_EMPTY_PATH) == 0);
    close(fd);
    symlink("nowhere", "dangling");
    FAILS(access("dangling", F_OK), ENOENT);
    CHECK(faccessat(AT_FDCWD, "dangling", F_OK, AT_SYMLINK_NOFOLLOW) == 0);
}
static void attributes(void) {
    char buffer[256];
    put("x", "x");
    CHECK(setxattr("x", "security.t", "value", 5, 0) == 0);
    CHECK(getxattr("x", "security.t", buffer, sizeof buffer) == 5 && !memcmp(buffer, "value", 5));
    CHECK(getxattr("x", "security.t", 0, 0) == 5);
    FAILS(getxattr("x", "security.t", buffer, 2), ERANGE);
    FAILS(setxattr("x", "security.t", "v", 1, XATTR_CREATE), EEXIST);
    FAILS(setxattr("x", "security.u", "v", 1, XATTR_REPLACE), ENODATA);
    CHECK(listxattr("x", buffer, sizeof buffer) == 11 && !strcmp(buffer, "security.t"));
    int fd = open("x", O_RDONLY);
    CHECK(fgetxattr(fd, "security.t", buffer, sizeof buffer) == 5);
    CHECK(flistxattr(fd, buffer, 0) == 11);
    CHECK(fremovexattr(fd, "security.t") == 0);
    FAILS(fgetxattr(fd, "security.t", buffer, sizeof buffer), ENODATA);
    FAILS(removexattr("x", "security.t"), ENODATA);
    close(fd);
    unsigned caps[5] = {0x02000001, 1 << 10, 0, 0, 0};
    CHECK(setxattr("x", "security.capability", caps, sizeof caps, 0) == 0);
    CHECK(getxattr("x", "security.capability", buffer, sizeof buffer) == 20 && !memcmp(buffer, caps, 20));
    CHECK(chown("x", 1, 1) == 0);
    FAILS(getxattr("x", "security.capability", buffer, sizeof buffer), ENODATA);
    FAILS(getxattr("nothing", "user.a", buffer, sizeof buffer), ENOENT);
    symlink("x", "lx");
    FAILS(lgetxattr("lx", "security.capability", buffer, sizeof buffer), ENODATA);
}
static void times(void) {
    put("t", "x");
    struct timespec ts[2] = {{1000, 1}, {2000, 2}};
    struct stat st;
    CHECK(utimensat(AT_FDCWD, "t", ts, 0) == 0 && stat("t", &st) == 0);
    CHECK(st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 2);
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1].tv_sec = 3000;
    int fd = open("t", O_RDONLY);
    CHECK(futimens(fd, ts) == 0 && fstat(fd, &st) == 0 && st.st_atim.tv_sec == 1000 && st.st_mtim.tv_sec == 3000);
    struct utimbuf old = {5, 6};
    CHECK(utime("t", &old) == 0 && stat("t", &st) == 0 && st.st_mtim.tv_sec == 6);
    struct timeval tv[2] = {{7, 0}, {8, 9}};
    CHECK(utimes("t", tv) == 0 && stat("t", &st) == 0 && st.st_mtim.tv_nsec == 9000);
    CHECK(utimes("t", 0) == 0);
    symlink("t", "lt2");
    CHECK(lutimes("lt2", tv) == 0 && lstat("lt2", &st) == 0 && st.st_mtim.tv_sec == 8);
    close(fd);
}
static void long_paths(void) {
    char path[8192] = "";
    int here = open(".", O_RDONLY);
    char name[101];
    memset(name, 'd', 100);
    name[100] = 0;
    for (int i = 0; i < 10; i++) CHECK(mkdir(name, 0755) == 0 && chdir(name) == 0);
    put("deep", "deep");
    char cwd[4096];
    CHECK(getcwd(cwd, sizeof cwd) != 0 && strlen(cwd) == 2 + 10 * 101);
    CHECK(fchdir(here) == 0);
    for (int i = 0; i < 10; i++) sprintf(path + strlen(path), "%s/", name);
    strcat(path, "deep");
    struct stat st;
    CHECK(stat(path, &st) == 0 && st.st_size == 4);
    /* 4095 bytes are a path, 4096 are none */
    char pad[8192] = "";
    while (strlen(pad) + strlen(path) < 4095) strcat(pad, "/");
    memcpy(pad, "/w", 2);
    strcat(pad, path);
    CHECK(strlen(pad) == 4095 && stat(pad, &st) == 0);
    strcat(pad, "x");
    FAILS(stat(pad, &st), ENAMETOOLONG);
    close(here);
}
static void resolve_flags(void) {
    mkdir("r", 0755);
    put("r/f", "x");
    symlink("/etc/passwd", "r/abs");
    symlink("../etc", "r/up");
    int dir = open("r", O_PATH | O_DIRECTORY);
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    FAILS(syscall(SYS_openat2, dir, "abs", &how, sizeof how), EXDEV);
    FAILS(syscall(SYS_openat2, dir, "../r/f", &how, sizeof how), EXDEV);
    how.resolve = RESOLVE_NO_SYMLINKS;
    FAILS(syscall(SYS_openat2, dir, "abs", &how, sizeof how), ELOOP);
    how.resolve = RESOLVE_IN_ROOT;
    FAILS(syscall(SYS_openat2, dir, "abs", &how, sizeof how), ENOENT);
    int fd = syscall(SYS_openat2, dir, "/f", &how, sizeof how);
    CHECK(fd >= 0);
    close(fd);
    how.resolve = 0;
    fd = syscall(SYS_openat2, dir, "abs", &how, sizeof how);
    CHECK(fd >= 0);
    close(fd);
    close(dir);
}
static void directories_by_descriptor(void) {
    CHECK(mkdir("p", 0755) == 0);
    int dir = open("p", O_RDONLY | O_DIRECTORY);
    CHECK(mkdirat(dir, "q", 0700) == 0);
    CHECK(symlinkat("q", dir, "l") == 0);
    CHECK(mknodat(dir, "n", S_IFCHR | 0600, makedev(1, 5)) == 0);
    int fd = openat(dir, "l/f", O_CREAT | O_WRONLY | O_EXCL, 0400);
    CHECK(fd >= 0);
    struct stat st;
    CHECK(fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0400);
    CHECK(fchmodat(dir, "q/f", 0123, 0) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0123);
    CHECK(fchmod(fd, 0) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0);
    CHECK(fchown(fd, 1, 2) == 0 && fstatat(dir, "l/f", &st, 0) == 0 && st.st_uid == 1 && st.st_gid == 2);
    CHECK(fstatat(dir, "n", &st, 0) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 5));
    char buffer[10];
    CHECK(readlinkat(dir, "l", buffer, 10) == 1 && buffer[0] == 'q');
    FAILS(readlinkat(dir, "q", buffer, 10), EINVAL);
    CHECK(linkat(dir, "q/f", dir, "g", 0) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 2);
    CHECK(renameat(dir, "g", dir, "h") == 0);
    FAILS(unlinkat(dir, "q", 0), EISDIR);
    FAILS(unlinkat(dir, "q", AT_REMOVEDIR), ENOTEMPTY);
    CHECK(unlinkat(dir, "h", 0) == 0);
    FAILS(unlinkat(dir, "h", AT_REMOVEDIR), ENOENT);
    CHECK(openat(dir, "../../../../../etc/passwd", O_RDONLY) >= 0);
    CHECK(fchdir(dir) == 0 && chdir("..") == 0);
    FAILS(fchdir(fd), ENOTDIR);
    close(fd);
    close(dir);
}
static void open_flags(void) {
    put("o", "x");
    FAILS(open("o", O_CREAT | O_EXCL | O_WRONLY, 0600), EEXIST);
    FAILS(open("o", O_DIRECTORY), ENOTDIR);
    FAILS(open(".", O_WRONLY), EISDIR);
    FAILS(open("o/", O_RDONLY), ENOTDIR);
    symlink("o", "lo");
    FAILS(open("lo", O_RDONLY | O_NOFOLLOW), ELOOP);
    int fd = open("lo", O_PATH | O_NOFOLLOW);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode));
    CHECK(!(fcntl(fd, F_GETFD) & FD_CLOEXEC));
    close(fd);
    symlink("made-by-link", "ml");
    fd = open("ml", O_CREAT | O_WRONLY, 0440);
    CHECK(fd >= 0 && stat("made-by-link", &st) == 0 && (st.st_mode & 07777) == 0440);
    FAILS(open("ml", O_CREAT | O_EXCL | O_WRONLY, 0440), EEXIST);
    close(fd);
    fd = open("o", O_RDWR | O_APPEND | O_CLOEXEC);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_APPEND));
    close(fd);
    CHECK((fd = creat("cr", 0604)) >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0604);
    close(fd);
    CHECK(truncate("o", 100) == 0 && stat("o", &st) == 0 && st.st_size == 100);
    FAILS(truncate("nothing", 1), ENOENT);
    struct statfs fs;
    CHECK(statfs("o", &fs) == 0 && statfs("/proc", &fs) == 0 && fs.f_type == 0x9fa0);
}
static void locks_maps_and_copies(void) {
    put("m", "0123456789");
    int fd = open("m", O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 5};
    CHECK(fcntl(fd, F_SETLK, &lock) == 0 && flock(fd, LOCK_EX) == 0);
    char *map = mmap(0, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    map[0] = 'x';
    int out = open("copy", O_CREAT | O_WRONLY, 0644);
    off_t offset = 0;
    CHECK(sendfile(out, fd, &offset, 10) == 10);
    int back = open("copy", O_RDONLY);
    char c;
    CHECK(read(back, &c, 1) == 1 && c == 'x');
    munmap(map, 10);
    close(fd);
    close(out);
    close(back);
}
static void watches(void) {
    int fd = inotify_init1(IN_NONBLOCK);
    CHECK(mkdir("watched", 0755) == 0);
    int wd = inotify_add_watch(fd, "watched", IN_CREATE | IN_DELETE);
    CHECK(wd >= 0);
    put("watched/n", "x");
    unlink("/w/watched/n");
    char buffer[1024];
    ssize_t size = read(fd, buffer, sizeof buffer);
    struct inotify_event *event = (void *)buffer;
    CHECK(size > 0 && event->wd == wd && event->mask == IN_CREATE && !strcmp(event->name, "n"));
    FAILS(inotify_add_watch(fd, "nothing", IN_CREATE), ENOENT);
    CHECK(inotify_rm_watch(fd, wd) == 0);
    close(fd);
}

/* descriptors */
static void hidden_descriptors(void) {
    int high = dup(0);
    for (int fd = 3; fd < 1024; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    for (int fd = high; fd < 1024; fd++) close(fd);
    struct stat st;
    CHECK(stat("/etc/passwd", &st) == 0);
    CHECK(system("true") == 0);
    CHECK(syscall(SYS_close_range, 3, ~0u, 0) == 0);
    CHECK(stat("/etc/passwd", &st) == 0 && system("true") == 0);
    int fds[300];
    for (int i = 0; i < 300; i++) CHECK((fds[i] = open("/etc/passwd", O_RDONLY)) == i + 3);
    for (int i = 0; i < 300; i++) close(fds[i]);
    CHECK(dup2(0, 100) == 100 && fcntl(100, F_GETFD) == 0);
    close(100);
    FAILS(close(900), EBADF);
}

/* identities */
static void identities(void) {
    pid_t pid = fork();
    if (pid == 0) {
        gid_t groups[] = {10, 20, 30}, out[10];
        if (setgroups(3, groups) || getgroups(10, out) != 3 || out[2] != 30) _exit(1);
        if (getgroups(2, out) != -1 || errno != EINVAL) _exit(2);
        if (setresgid(5, 6, 7)) _exit(3);
        gid_t r, e, s;
        getresgid(&r, &e, &s);
        if (r != 5 || e != 6 || s != 7) _exit(4);
        if (setreuid(100, 200)) _exit(5);
        uid_t a, b, c;
        getresuid(&a, &b, &c);
        if (a != 100 || b != 200 || c != 200) _exit(6);
        if (setuid(0) != -1 || errno != EPERM) _exit(7);
        if (setuid(100) || geteuid() != 100) _exit(8);
        if (setgroups(0, 0) != -1 || errno != EPERM) _exit(9);
        put("/tmp/mine", "x");
        struct stat st;
        if (stat("/tmp/mine", &st) || st.st_uid != 100 || st.st_gid != 6) _exit(10);
        if (chown("/tmp/mine", 100, 20)) _exit(11);
        if (chown("/tmp/mine", 0, 0) != -1 || errno != EPERM) _exit(12);
        if (chmod("/etc/passwd", 0600) != -1 || errno != EPERM) _exit(13);
        if (open("/etc/shadow", O_RDONLY) != -1 || errno != EACCES) _exit(14);
        if (mknod("/tmp/dev", S_IFCHR, 259) != -1 || errno != EPERM) _exit(15);
        if (open("/tmp/mine", O_WRONLY) < 0) _exit(16);
        if (unlink("/tmp/mine")) _exit(17);
        if (mkdir("/tmp/md", 0755) || stat("/tmp/md", &st) || st.st_uid != 100) _exit(18);
        if (rmdir("/tmp/md")) _exit(19);
        _exit(0);
    }
    int code = wait_code(pid);
    if (code) printf("code %d\n", code);
    CHECK(code == 0);
}
struct caps { unsigned effective, permitted, inheritable; };
static int has(int bit) {
    unsigned header[2] = {0x20080522, 0};
    struct caps data[2];
    if (syscall(SYS_capget, header, data)) return -1;
    return data[bit / 32].effective >> (bit % 32) & 1;
}
static void capabilities(void) {
    CHECK(has(0) == 1 && has(7) == 1);
    CHECK(prctl(PR_CAPBSET_READ, 0) == 1);
    FAILS(prctl(PR_CAPBSET_READ, 99), EINVAL);
    pid_t pid = fork();
    if (pid == 0) {
        if (setuid(5) || has(0) != 0) _exit(1);
        _exit(0);
    }
    CHECK(wait_code(pid) == 0);
    pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_KEEPCAPS, 1) || setuid(5) || has(0) != 0) _exit(1);
        unsigned header[2] = {0x20080522, 0};
        struct caps data[2];
        if (syscall(SYS_capget, header, data) || !(data[0].permitted & 1)) _exit(2);
        data[0].effective = 1;
        if (syscall(SYS_capset, header, data) || has(0) != 1) _exit(3);
        put("/tmp/cap", "x");
        if (chown("/tmp/cap", 77, 77)) _exit(4);
        _exit(0);
    }
    int code = wait_code(pid);
    if (code) printf("code %d\n", code);
    CHECK(code == 0);
}

/* sockets */
static socklen_t address(struct sockaddr_un *out, const char *path) {
    memset(out, 0, sizeof *out);
    out->sun_family = AF_UNIX;
    strcpy(out->sun_path, path);
    return sizeof *out;
}
static void unix_streams(void) {
    struct sockaddr_un to, name;
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(server, (void *)&to, address(&to, "/w/sock")) == 0 && listen(server, 5) == 0);
    struct stat st;
    CHECK(stat("/w/sock", &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == 0755);
    FAILS(bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&to, sizeof to), EADDRINUSE);
    CHECK(connect(client, (void *)&to, address(&to, "sock")) == 0);
    socklen_t size = sizeof name;
    CHECK(getsockname(server, (void *)&name, &size) == 0 && !strcmp(name.sun_path, "/w/sock"));
    size = sizeof name;
    CHECK(getpeername(client, (void *)&name, &size) == 0 && !strcmp(name.sun_path, "/w/sock"));
    int peer = accept(server, 0, 0);
    CHECK(peer >= 0 && write(client, "x", 1) == 1);
    char c;
    CHECK(read(peer, &c, 1) == 1 && c == 'x');
    struct ucred cred;
    size = sizeof cred;
    CHECK(getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0 && cred.uid == 0 && cred.pid == getpid());
    int fds[2] = {server, client}, i;
    for (i = 0; i < 2; i++) close(fds[i]);
    CHECK(unlink("sock") == 0);
    FAILS(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&to, address(&to, "/w/sock")), ENOENT);
    put("nosock", "x");
    FAILS(connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&to, address(&to, "/w/nosock")), ECONNREFUSED);
}
static void unix_datagrams(void) {
    struct sockaddr_un to;
    int server = socket(AF_UNIX, SOCK_DGRAM, 0), client = socket(AF_UNIX, SOCK_DGRAM, 0);
    CHECK(bind(server, (void *)&to, address(&to, "dgram")) == 0);
    CHECK(sendto(client, "ab", 2, 0, (void *)&to, sizeof to) == 2);
    struct iovec part = {"cde", 3};
    struct msghdr message = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1};
    CHECK(sendmsg(client, &message, 0) == 3);
    char buffer[10];
    CHECK(recv(server, buffer, 10, 0) == 2 && recv(server, buffer, 10, 0) == 3 && buffer[0] == 'c');
    CHECK(chdir("/") == 0 && connect(client, (void *)&to, address(&to, "w/dgram")) == 0 && chdir("/w") == 0);
    CHECK(send(client, "x", 1, 0) == 1);
    close(server);
    close(client);
}
static void unix_abstract_and_pairs(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, "\0name-of-a-test", 15);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(server, (void *)&to, 2 + 15) == 0 && listen(server, 1) == 0);
    CHECK(connect(client, (void *)&to, 2 + 15) == 0);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    char space[CMSG_SPACE(sizeof(int))];
    char byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(control), &server, sizeof(int));
    CHECK(sendmsg(pair[0], &message, 0) == 1);
    CHECK(recvmsg(pair[1], &message, 0) == 1 && CMSG_FIRSTHDR(&message) != 0);
    close(server);
    close(client);
}
/* Who is at the other end is told as that end believes of itself. */
static void unix_peers(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strcpy(to.sun_path, "peers");
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(server, (void *)&to, sizeof to) == 0 && listen(server, 1) == 0 && chmod("peers", 0777) == 0);
    struct ucred peer;
    socklen_t len = sizeof peer;
    pid_t pid = fork();
    if (!pid) {
        gid_t groups[] = {5, 6};
        int client = socket(AF_UNIX, SOCK_STREAM, 0);
        char byte;
        int ok = !setgroups(2, groups) && !setgid(44) && !setuid(33) && !connect(client, (void *)&to, sizeof to)
            && !getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.uid == 0 && peer.pid == getppid()
            && read(client, &byte, 1) == 1;
        _exit(!ok);
    }
    int one = accept(server, 0, 0);
    CHECK(one >= 0 && getsockopt(one, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0);
    CHECK(peer.pid == pid && peer.uid == 33 && peer.gid == 44);
    gid_t groups[8] = {0};
    len = sizeof groups;
    CHECK(getsockopt(one, SOL_SOCKET, 59 /* SO_PEERGROUPS */, groups, &len) == 0);
    CHECK(len == 2 * sizeof *groups && groups[0] == 5 && groups[1] == 6);
    len = 4;
    FAILS(getsockopt(one, SOL_SOCKET, 59, groups, &len), ERANGE);
    CHECK(len == 8 && write(one, "x", 1) == 1 && wait_code(pid) == 0);
    int pair[2];
    char space[CMSG_SPACE(sizeof peer)], byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_CREDENTIALS;
    control->cmsg_len = CMSG_LEN(sizeof peer);
    peer = (struct ucred){.pid = getpid(), .uid = 0, .gid = 0};
    memcpy(CMSG_DATA(control), &peer, sizeof peer);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && sendmsg(pair[0], &message, 0) == 1);
    close(one);
    close(server);
    unlink("peers");
}
/* Ports that only root may bind. */
static void low_ports(void) {
    for (int kind = SOCK_STREAM; kind <= SOCK_DGRAM; kind++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, seen;
        socklen_t len = sizeof seen;
        int server = socket(AF_INET, kind, 0), client = socket(AF_INET, kind, 0), port = 700;
        do {
            at.sin_port = htons(port);
            errno = 0;
        } while (bind(server, (void *)&at, sizeof at) && errno == EADDRINUSE && ++port < 800);
        CHECK(port < 800 && errno != EACCES && getsockname(server, (void *)&seen, &len) == 0);
        CHECK(seen.sin_port == at.sin_port && (kind == SOCK_DGRAM || listen(server, 1) == 0));
        CHECK(connect(client, (void *)&at, sizeof at) == 0 && getpeername(client, (void *)&seen, &len) == 0);
        CHECK(seen.sin_port == at.sin_port && write(client, "x", 1) == 1);
        char byte;
        int one = kind == SOCK_STREAM ? accept(server, 0, 0) : dup(server);
        CHECK(one >= 0 && read(one, &byte, 1) == 1 && byte == 'x');
        close(client);
        client = socket(AF_INET, SOCK_DGRAM, 0);
        if (kind == SOCK_DGRAM) {
            CHECK(sendto(client, "y", 1, 0, (void *)&at, sizeof at) == 1 && read(one, &byte, 1) == 1 && byte == 'y');
        }
        close(one);
        close(client);
        close(server);
    }
}

static int count, failures;
static void run(const char *name, void (*check)(void)) {
    failed_line = 0;
    fflush(stdout);
    check();
    count++;
    if (failed_line) {
        failures++;
        printf("FAILED %s line %d: %s\n", name, failed_line, strerror(failed_errno));
    } else {
        printf("ok %s\n", name);
    }
}
#define RUN(name) run(#name, name)
static int signals_came_through(void) {
    sigset_t now;
    struct sigaction ignored, other;
    sigprocmask(SIG_SETMASK, 0, &now);
    sigaction(SIGUSR2, 0, &ignored);
    sigaction(SIGALRM, 0, &other);
    return sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGUSR2) == 0 && sigismember(&now, SIGSYS) == 0
        && ignored.sa_handler == SIG_IGN && other.sa_handler == SIG_DFL;
}
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "signals")) return !signals_came_through();
    RUN(many_threads);
    RUN(threads_share_the_umask);
    RUN(spawn);
    RUN(children_of_vfork_leave_nothing_in_their_parent);
    RUN(threads_spawn_at_once);
    RUN(a_child_of_vfork_keeps_its_identity_to_itself);
    RUN(a_fork_has_an_identity_of_its_own);
    RUN(exec_errors);
    RUN(exec_by_descriptor);
    RUN(exec_keeps_and_resets_what_it_should);
    RUN(masks);
    RUN(waiting_with_a_mask);
    RUN(sigsys_is_the_guests_own);
    RUN(small_alternate_stack);
    RUN(interrupted_open);
    RUN(jumps_out_of_waiting_opens);
    RUN(guests_own_filter);
    RUN(unnamed_files);
    RUN(renames);
    RUN(empty_paths);
    RUN(access_modes);
    RUN(attributes);
    RUN(times);
    RUN(long_paths);
    RUN(resolve_flags);
    RUN(directories_by_descriptor);
    RUN(open_flags);
    RUN(locks_maps_and_copies);
    RUN(watches);
    RUN(hidden_descriptors);
    RUN(identities);
    RUN(capabilities);
    RUN(unix_streams);
    RUN(unix_datagrams);
    RUN(unix_abstract_and_pairs);
    RUN(unix_peers);
    RUN(low_ports);
    printf("%d checks, %d failed\n", count, failures);
    return failures != 0;
}
