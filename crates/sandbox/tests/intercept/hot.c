/* Calls that are made so often that the agent answers them without a signal: they must give what they gave before. Ends with
   "all as it should be". With the argument "patched", its own call site must have been changed; with "whole", not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static int checks, failed;
#define CHECK(condition) do { checks++; errno = 0; if (!(condition)) { failed++; printf("FAILED line %d: %s (%s)\n", __LINE__, #condition, strerror(errno)); } } while (0)
#define OFTEN 300

/* A call with something in every register that the kernel keeps. */
extern unsigned char site[];
static __attribute__((noinline)) long kept(int dir, const char *name, struct stat *st, int flags) {
    unsigned long in[16][2], out[16][2], general[4];
    for (int i = 0; i < 16; i++) in[i][0] = i * 0x0101010101010101ul + 1, in[i][1] = ~in[i][0];
    long result;
    register long r10 asm("r10") = flags;
    register unsigned long r8 asm("r8") = 0x8888, r9 asm("r9") = 0x9999;
    long rdi = dir, rsi = (long)name, rdx = (long)st;
    asm volatile(
        "movups 0(%[in]), %%xmm0; movups 16(%[in]), %%xmm1; movups 32(%[in]), %%xmm2; movups 112(%[in]), %%xmm7\n"
        "movups 128(%[in]), %%xmm8; movups 240(%[in]), %%xmm15\n"
        "mov %[st], %%rdx\n"
        "movq $0x1234, -8(%%rsp)\n movq $0x5678, -120(%%rsp)\n" /* the red zone */
        "jmp 1f\n .globl site\n site:\n"
        "1: mov $262, %%eax\n syscall\n"
        "cmpq $0x1234, -8(%%rsp)\n jne 2f\n cmpq $0x5678, -120(%%rsp)\n je 3f\n"
        "2: mov $-1000, %%rax\n 3:\n"
        "movups %%xmm0, 0(%[out]); movups %%xmm1, 16(%[out]); movups %%xmm2, 32(%[out]); movups %%xmm7, 112(%[out])\n"
        "movups %%xmm8, 128(%[out]); movups %%xmm15, 240(%[out])\n"
        : "=&a"(result), "+D"(rdi), "+S"(rsi), "+r"(r10), "+r"(r8), "+r"(r9)
        : [in] "r"(in), [out] "r"(out), [st] "r"(rdx)
        : "rcx", "r11", "rdx", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm7", "xmm8", "xmm15");
    if (rdi != dir || rsi != (long)name || r10 != flags || r8 != 0x8888 || r9 != 0x9999) return -2000;
    int used[] = {0, 1, 2, 7, 8, 15};
    for (int i = 0; i < 6; i++) if (memcmp(in[used[i]], out[used[i]], 16)) return -3000;
    return result;
}

static void registers_are_kept(void) {
    struct stat st;
    for (int i = 0; i < OFTEN; i++) {
        st.st_mode = 0;
        CHECK(kept(AT_FDCWD, "file", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode));
        CHECK(kept(AT_FDCWD, "/etc/passwd", &st, 0) == 0 && S_ISREG(st.st_mode));
        CHECK(kept(AT_FDCWD, "nothing", &st, 0) == -ENOENT);
        CHECK(kept(AT_FDCWD, "link", &st, 0) == 0 && S_ISREG(st.st_mode));
        CHECK(kept(AT_FDCWD, "link", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode));
        CHECK(kept(AT_FDCWD, "/proc/self/status", &st, 0) == 0);
    }
}

/* One call site each in the C library, for paths that go different ways. */
static void answers_do_not_change(void) {
    struct stat st;
    char text[300];
    int dir = open("/", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < OFTEN; i++) {
        CHECK(fstatat(AT_FDCWD, "file", &st, 0) == 0 && st.st_size == 5 && st.st_uid == 3 && st.st_gid == 4);
        CHECK(fstatat(dir, "w/file", &st, 0) == 0 && st.st_uid == 3);
        CHECK(fstatat(AT_FDCWD, "absolute", &st, 0) == 0 && st.st_size > 10);
        CHECK(fstatat(AT_FDCWD, "../../../../etc/passwd", &st, 0) == 0 && st.st_size > 10);
        CHECK(fstatat(AT_FDCWD, "", &st, 0) == -1 && errno == ENOENT);
        CHECK(fstatat(dir, "", &st, AT_EMPTY_PATH) == 0 && S_ISDIR(st.st_mode));
        CHECK(fstatat(999, "", &st, AT_EMPTY_PATH) == -1 && errno == EBADF);
        CHECK(fstatat(AT_FDCWD, 0, &st, 0) == -1 && errno == EFAULT);
        CHECK(fstatat(AT_FDCWD, "file", 0, 0) == -1 && errno == EFAULT);
        CHECK(fstatat(AT_FDCWD, "file/", &st, 0) == -1 && errno == ENOTDIR);
        CHECK(fstatat(AT_FDCWD, "/proc/self/exe", &st, 0) == 0 && S_ISREG(st.st_mode));
        CHECK(fstatat(dir, "proc", &st, 0) == 0 && (st.st_mode & 0777) == 0555);
        CHECK(fstatat(dir, "..", &st, 0) == 0 && S_ISDIR(st.st_mode));
        CHECK(access("file", R_OK | W_OK) == 0);
        CHECK(access("/w/file", X_OK) == -1 && errno == EACCES);
        CHECK(access("/w/none", F_OK) == -1 && errno == ENOENT);
        CHECK(readlink("/w/link", text, sizeof text) == 4 && !memcmp(text, "file", 4));
        CHECK(readlink("/w/file", text, sizeof text) == -1 && errno == EINVAL);
        CHECK(readlink("/w/absolute", text, 4) == 4 && !memcmp(text, "/etc", 4));
        CHECK(readlink("link", text, sizeof text) == 4);
        CHECK(getuid() == 0 && geteuid() == 0 && getgid() == 0);
        CHECK(umask(027) == 022 && umask(022) == 027);
        CHECK(mkdir("made", 0777) == 0 && stat("made", &st) == 0 && (st.st_mode & 0777) == 0755);
        CHECK(chown("made", 7, 8) == 0 && stat("made", &st) == 0 && st.st_uid == 7);
        CHECK(chmod("made", 0) == 0 && stat("made", &st) == 0 && (st.st_mode & 0777) == 0);
        CHECK(rename("made", "moved") == 0 && rmdir("moved") == 0 && rmdir("moved") == -1 && errno == ENOENT);
        int fd = open("new", O_CREAT | O_EXCL | O_WRONLY, 0444);
        CHECK(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0444);
        CHECK(close(fd) == 0 && unlink("new") == 0 && open("new", O_RDONLY) == -1 && errno == ENOENT);
        fd = open("/etc/passwd", O_RDONLY);
        CHECK(fd >= 0 && read(fd, text, 4) == 4 && !memcmp(text, "root", 4) && close(fd) == 0);
        fd = open("absolute", O_RDONLY);
        CHECK(fd >= 0 && close(fd) == 0);
        CHECK(open("link", O_RDONLY | O_NOFOLLOW) == -1 && errno == ELOOP);
        sigset_t set, old;
        sigfillset(&set);
        CHECK(sigprocmask(SIG_SETMASK, &set, &old) == 0 && sigismember(&old, SIGUSR1) == 0);
        CHECK(sigprocmask(SIG_SETMASK, &old, &set) == 0 && sigismember(&set, SIGUSR1) == 1);
    }
    close(dir);
}

/* As tar and cp make files: the plain ones take the short way, the others must not. */
static void files_are_made_as_asked(void) {
    struct stat st;
    struct timespec times[2] = {{0, UTIME_OMIT}, {1000, 7}};
    int pipe_end[2];
    CHECK(pipe(pipe_end) == 0);
    for (int i = 0; i < OFTEN; i++) {
        int mode = (int[]){0644, 0600, 0755, 0444, 04755, 02755, 0, 0707}[i % 8];
        int fd = open("tarred", O_CREAT | O_EXCL | O_WRONLY, 0600);
        CHECK(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_uid == 0);
        CHECK(open("tarred", O_CREAT | O_EXCL | O_WRONLY, 0600) == -1 && errno == EEXIST);
        CHECK(open("tarred/x", O_CREAT | O_WRONLY, 0600) == -1 && errno == ENOTDIR);
        CHECK(open("none/x", O_CREAT | O_WRONLY, 0600) == -1 && errno == ENOENT);
        CHECK(futimens(fd, times) == 0 && fchown(fd, 0, 0) == 0);
        if (i % 3 == 0) CHECK(fchown(fd, 5, 6) == 0 && fstat(fd, &st) == 0 && st.st_uid == 5 && st.st_gid == 6);
        CHECK(fchmod(fd, mode) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == mode && st.st_mtim.tv_sec == 1000);
        if (i % 2 == 0) {
            CHECK(fchown(fd, 0, 0) == 0 && fstat(fd, &st) == 0 && st.st_uid == 0 && st.st_gid == 0);
            CHECK((st.st_mode & 07777) == (mode & 01777));
        }
        CHECK(fchmod(fd, 0640) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0640);
        CHECK(close(fd) == 0 && unlink("tarred") == 0);
        CHECK(fchmod(fd, 0644) == -1 && errno == EBADF);
        CHECK(fchown(fd, 0, 0) == -1 && errno == EBADF);
        CHECK(futimens(fd, times) == -1 && errno == EBADF);
        fd = open("shared", O_CREAT | O_RDWR, 0666);
        CHECK(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0644 && close(fd) == 0);
        fd = open("dangling", O_CREAT | O_WRONLY, 0644);
        CHECK(fd >= 0 && close(fd) == 0 && unlink("target") == 0);
        fd = open("/", O_RDONLY | O_DIRECTORY);
        CHECK(fchmod(fd, 0711) == 0 && fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0711 && fchmod(fd, 0755) == 0);
        CHECK(close(fd) == 0 && (fd = open("n", O_PATH | O_CREAT, 0)) == -1 && errno == ENOENT);
        CHECK(fchmod(pipe_end[0], 0600) == 0);
    }
}

static volatile int alarms;
static void alarmed(int signal) {
    (void)signal;
    struct stat st;
    alarms++;
    if (stat("/w/file", &st) || st.st_uid != 3) failed++;
}
static void signals_come_at_any_time(void) {
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = alarmed, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &often, 0);
    struct stat st;
    long wrong = 0, tries = 0;
    while (alarms < 100 && tries++ < 5000000) wrong += stat("/w/file", &st) || st.st_uid != 3 || access("file", F_OK);
    setitimer(ITIMER_REAL, &never, 0);
    CHECK(wrong == 0 && alarms >= 100);
}

static void *looker(void *unused) {
    struct stat st;
    for (int i = 0; i < 3000; i++) {
        if (fstatat(AT_FDCWD, "file", &st, 0) || st.st_uid != 3 || access("/w/file", R_OK)) return (void *)1;
        int fd = open("/etc/passwd", O_RDONLY);
        if (fd < 0 || close(fd)) return (void *)2;
    }
    return unused;
}
static void threads_share_the_sites(void) {
    pthread_t threads[8];
    void *result;
    for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], 0, looker, 0) == 0);
    for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], &result) == 0 && result == 0);
}

static int wait_code(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}
static void children_have_them_too(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(looker(0) != 0);
    CHECK(wait_code(pid) == 0);
    pid = fork();
    if (pid == 0) {
        struct stat st;
        if (setgid(4) || setuid(3)) _exit(1);
        for (int i = 0; i < OFTEN; i++) {
            if (getuid() != 3 || geteuid() != 3) _exit(2);
            if (fstatat(AT_FDCWD, "/root/secret", &st, 0) != -1 || errno != EACCES) _exit(3);
            if (open("/root/secret", O_RDONLY) != -1 || errno != EACCES) _exit(4);
            if (fstatat(AT_FDCWD, "file", &st, 0) || st.st_uid != 3) _exit(5);
        }
        _exit(0);
    }
    CHECK(wait_code(pid) == 0);
}

static void a_filter_of_ones_own_still_counts(void) {
    pid_t pid = fork();
    if (pid == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_umask, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof code / sizeof *code, code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) _exit(1);
        struct stat st;
        if (stat("/w/file", &st)) _exit(2);
        umask(0);
        _exit(3);
    }
    CHECK(wait_code(pid) == 1000 + SIGSYS);
}

int main(int argc, char **argv) {
    int fd = open("file", O_CREAT | O_WRONLY, 0644);
    CHECK(write(fd, "hello", 5) == 5 && fchown(fd, 3, 4) == 0 && close(fd) == 0);
    CHECK(symlink("file", "link") == 0 && symlink("/etc/passwd", "absolute") == 0);
    registers_are_kept();
    answers_do_not_change();
    CHECK(symlink("target", "dangling") == 0);
    files_are_made_as_asked();
    signals_come_at_any_time();
    threads_share_the_sites();
    children_have_them_too();
    a_filter_of_ones_own_still_counts();
    if (argc > 1) CHECK((site[0] == 0xff) == !strcmp(argv[1], "patched"));
    printf("hot: %s\n", failed ? "failed" : "all as it should be");
    return failed != 0;
}
