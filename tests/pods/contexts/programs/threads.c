/* Threads, vfork, posix_spawn and file calls at once, with signals coming in. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static volatile sig_atomic_t ticks;
static void tick(int signal) { (void)signal; ticks++; }

static void *work(void *argument) {
    long number = (long)argument, wrong = 0;
    char name[64], other[64];
    struct stat st;
    snprintf(name, sizeof name, "/tmp/t%ld", number);
    snprintf(other, sizeof other, "/tmp/u%ld", number);
    for (int i = 0; i < 60; i++) {
        int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0640);
        wrong += fd < 0 || fchown(fd, number, i) || write(fd, name, strlen(name)) < 0;
        close(fd);
        wrong += rename(name, other) || stat(other, &st) || st.st_uid != (uid_t)number || st.st_gid != (gid_t)i;
        wrong += (st.st_mode & 07777) != 0640 || chmod(other, 04711) || stat(other, &st) || (st.st_mode & 07777) != 04711;
        wrong += unlink(other) != 0;
        if (i % 20 == 0) {
            char *words[] = {"sh", "-c", "exit 3", 0};
            pid_t child;
            int status = 0;
            wrong += posix_spawn(&child, "/bin/sh", 0, 0, words, environ) != 0;
            while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
            wrong += WEXITSTATUS(status) != 3;
        }
    }
    return (void *)wrong;
}

int main(int argc, char **argv) {
    pthread_t threads[16];
    long wrong = 0;
    void *result;
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    struct itimerval timer = {{0, 700}, {0, 700}};
    setitimer(ITIMER_REAL, &timer, 0);
    for (long i = 0; i < 16; i++) pthread_create(&threads[i], 0, work, (void *)(i + 1));
    for (int i = 0; i < 16; i++) { pthread_join(threads[i], &result); wrong += (long)result; }
    timer.it_value.tv_usec = timer.it_interval.tv_usec = 0;
    setitimer(ITIMER_REAL, &timer, 0);
    pid_t child = vfork();
    if (child == 0) { execl("/bin/true", "true", (char *)0); _exit(9); }
    int status;
    waitpid(child, &status, 0);
    printf("%s: %ld wrong, %s, vfork %d\n", argc > 1 ? argv[1] : "", wrong, ticks > 3 ? "signals came" : "no signals", status);
    return wrong != 0;
}
