import ctypes, fcntl, mmap, multiprocessing, os, pwd, select, shutil, signal, socket, stat, struct, subprocess, sys, tempfile, threading

libc = ctypes.CDLL(None, use_errno=True)
home = tempfile.mkdtemp()
os.chdir(home)


def show(name, what):
    """What a call gave, or why it did not."""
    try:
        print(name, what())
    except OSError as error:
        print(name, os.strerror(error.errno))


def mode(path, **how):
    found = os.stat(path, **how)
    return "%o %d:%d %d" % (found.st_mode, found.st_uid, found.st_gid, found.st_nlink)


def inotify():
    watch = libc.inotify_init1(os.O_NONBLOCK)
    os.mkdir("watched")
    assert libc.inotify_add_watch(watch, b"watched", 0x3c6) > 0, ctypes.get_errno()
    open("watched/a", "w").close()
    os.rename("watched/a", "watched/b")
    os.chown("watched/b", 3, 4)
    os.chmod("watched/b", 0o600)
    os.unlink("watched/b")
    events, data = [], os.read(watch, 4096)
    while data:
        _, mask, _, length = struct.unpack("iIII", data[:16])
        events.append("%x:%s" % (mask, data[16:16 + length].rstrip(b"\0").decode()))
        data = data[16 + length:]
    os.close(watch)
    return [event for event in events if not event.startswith("4:")]


def sockets():
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.listen()
    os.chown("socket", 7, 8)
    client = socket.socket(socket.AF_UNIX)
    client.connect(home + "/socket")
    peer, _ = server.accept()
    reader, writer = os.pipe()
    socket.send_fds(client, [b"x"], [reader])
    _, received, _, _ = socket.recv_fds(peer, 1, 1)
    os.write(writer, b"through")
    credentials = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:]
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagram.bind("datagram")
    client2 = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client2.sendto(b"packet", "datagram")
    return server.getsockname(), os.read(received[0], 99), credentials, datagram.recv(99), mode("socket")


def terminal():
    pid, fd = os.forkpty()
    if pid == 0:
        os.execlp("sh", "sh", "-c", "test -t 0 && stty size && echo terminal; tty | cut -c1-8")
    out = b""
    try:
        while part := os.read(fd, 999):
            out += part
    except OSError:
        pass
    os.waitpid(pid, 0)
    return out.replace(b"\r", b"").split(b"\n")


def files():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"no name")
    os.fchown(fd, 9, 10)
    before = os.fstat(fd).st_nlink
    assert libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, b"named", 0x400) == 0, ctypes.get_errno()
    return before, mode("named"), open("named", "rb").read()


def exchange():
    for name in "xy":
        with open(name, "w") as file:
            file.write(name)
    os.chown("x", 1, 2)
    result = libc.syscall(316, -100, b"x", -100, b"y", 2)
    refused = libc.syscall(316, -100, b"x", -100, b"y", 1), ctypes.get_errno()
    return result, open("x").read(), mode("x"), mode("y"), refused


def mapping():
    with open("map", "wb") as file:
        file.truncate(8192)
    with open("map", "r+b") as file:
        view = mmap.mmap(file.fileno(), 8192)
        view[4096:4100] = b"page"
        view.flush()
    with open("map", "rb") as source, open("sent", "wb") as target:
        sent = os.sendfile(target.fileno(), source.fileno(), 4096, 4096)
    copied = os.copy_file_range(os.open("sent", os.O_RDONLY), os.open("copied", os.O_CREAT | os.O_WRONLY), 100)
    return sent, copied, open("copied", "rb").read(4)


def threads():
    errors = []

    def work(number):
        for i in range(100):
            path = "thread%d" % number
            with open(path, "w"):
                pass
            os.chown(path, number, i)
            if os.stat(path).st_uid != number or os.stat(path).st_gid != i:
                errors.append((number, i))
            os.rename(path, path + "x")
            os.unlink(path + "x")
    workers = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return errors


def long_path():
    path, depth = home, 0
    here = os.open(".", os.O_RDONLY)
    while len(path) < 6000:
        name = "d" * 200
        os.mkdir(name)
        os.chdir(name)
        path, depth = path + "/" + name, depth + 1
    try:
        seen = len(os.getcwd())
    except OSError as error:
        seen = os.strerror(error.errno)
    open("deep", "w").close()
    os.chown("deep", 4, 5)
    result = mode("deep"), seen if isinstance(seen, str) else seen > 4096, depth
    os.fchdir(here)
    shutil.rmtree("d" * 200)
    return result


def users():
    out = subprocess.run(["id"], user="one", group="more", extra_groups=[701], capture_output=True, text=True).stdout
    pid = os.fork()
    if pid == 0:
        os.setgroups([700])
        os.setresgid(700, 700, 700)
        os.setresuid(701, 701, 701)
        denied = 0
        for attempt in (lambda: os.setuid(0), lambda: open("/etc/shadow"), lambda: os.chown("/etc/passwd", 701, -1),
                        lambda: os.mkdir("/etc/x"), lambda: os.setgroups([0]), lambda: os.chroot("/")):
            try:
                attempt()
            except PermissionError:
                denied += 1
        os._exit(denied)
    return out.strip(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def descriptors():
    os.makedirs("fd/sub")
    fd = os.open("fd", os.O_PATH)
    os.mkdir("made", 0o751, dir_fd=fd)
    os.chown("made", 11, 12, dir_fd=fd)
    os.symlink("../fd", "self", dir_fd=fd)
    found = sorted(os.listdir("/proc/self/fd/%d" % fd))
    os.rename("fd", "moved")
    os.chdir("moved/sub")
    os.rename("../../moved", "../../again")
    return found, mode("made", dir_fd=fd), os.getcwd() == home + "/again/sub", os.path.exists("../self/made")


def executes():
    with open("tool", "w") as file:
        file.write("#!/bin/sh\necho $0 | cut -d/ -f1-3; echo $1\n")
    os.chmod("tool", 0o755)
    pid = os.fork()
    if pid == 0:
        fd = os.open("/bin/echo", os.O_RDONLY | os.O_CLOEXEC)
        os.execve(fd, ["echo", "by", "descriptor"], os.environ)
    os.waitpid(pid, 0)
    return subprocess.run(["./tool", "word"], capture_output=True).stdout, os.path.basename(os.readlink("/proc/self/exe"))


def pool():
    with multiprocessing.Pool(4) as workers:
        return sum(workers.map(abs, range(-300, 0)))


def large():
    os.mkdir("large")
    for i in range(4000):
        open("large/%d" % i, "w").close()
    os.chown("large/17", 1, 1)
    seen = {entry.name: entry.stat().st_uid for entry in os.scandir("large")}
    return len(seen), seen["17"], seen["18"]


def locks():
    first = open("lock", "w")
    fcntl.lockf(first, fcntl.LOCK_EX)
    script = "import fcntl; f = open('lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL).returncode


def watched_signals():
    seen = []
    signal.signal(signal.SIGCHLD, lambda *_: seen.append("child"))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.kill(os.getpid(), signal.SIGUSR2)
    pending = signal.sigpending()
    info = signal.sigwait([signal.SIGUSR2])
    subprocess.run(["true"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return len(pending), int(info), len(seen) > 0


checks = (inotify, sockets, exchange, mapping, threads, long_path, users, pool, large, locks, watched_signals)
if sys.argv[1:] == ["proc"]:
    checks = (terminal, files, descriptors, executes)
for check in checks:
    os.chdir(home)
    show(check.__name__, check)
os.chdir("/")
shutil.rmtree(home)
