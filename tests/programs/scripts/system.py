"""Python at the system: files, signals, fork, pipes, sockets, threads, memory maps, time, ctypes-free."""
import fcntl
import mmap
import os
import queue
import resource
import select
import selectors
import signal
import socket
import stat
import sys
import tempfile
import threading
import time

caught = []
signal.signal(signal.SIGUSR1, lambda n, f: caught.append(n))
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
signal.signal(signal.SIGALRM, lambda n, f: caught.append("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.02)
time.sleep(0.1)
print(caught, signal.getsignal(signal.SIGTERM))

read, write = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(write, b"from the child")
    os._exit(5)
print(os.read(read, 100), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
pid = os.fork()
if pid == 0:
    os.abort()
print(os.WTERMSIG(os.waitpid(pid, 0)[1]))

with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    with open("f", "w+b") as f:
        f.write(bytes(range(256)) * 40)
        f.flush()
        with mmap.mmap(f.fileno(), 0) as m:
            m[10:14] = b"MYNA"
            print(m.find(b"MYNA"), len(m), m[255:260])
        f.seek(8)
        print(f.read(8), f.tell(), os.fstat(f.fileno()).st_size)
        fcntl.lockf(f, fcntl.LOCK_EX)
    os.symlink("f", "l")
    os.link("f", "h")
    os.chmod("f", 0o640)
    os.utime("f", (10 ** 9, 10 ** 9))
    s = os.stat("l")
    print(oct(s.st_mode), s.st_mtime, s.st_nlink, stat.S_ISLNK(os.lstat("l").st_mode), os.readlink("l"), sorted(e.name for e in os.scandir(".")))
    os.mkfifo("fifo")
    threading.Thread(target=lambda: open("fifo", "w").write("through a fifo")).start()
    print(open("fifo").read())
    try:
        open("missing")
    except FileNotFoundError as e:
        print(e.errno, e.strerror)
    os.chdir("/")

server = socket.create_server(("127.0.0.1", 0))


def serve():
    connection, _ = server.accept()
    with connection:
        total = 0
        while block := connection.recv(65536):
            total += len(block)
            connection.sendall(block[:3])
    print("served", total)


thread = threading.Thread(target=serve)
thread.start()
with socket.create_connection(server.getsockname()) as client:
    client.sendall(b"x" * 300000)
    client.shutdown(socket.SHUT_WR)
    answer = b""
    while block := client.recv(100):
        answer += block
thread.join()
print(set(answer), len(answer) >= 3)
a, b = socket.socketpair()
chooser = selectors.DefaultSelector()
chooser.register(a, selectors.EVENT_READ, "a")
b.send(b"!")
print([key.data for key, _ in chooser.select(1)], select.select([a], [], [], 0)[0] == [a])
socket.send_fds(a, [b"f"], [read])
print(len(socket.recv_fds(b, 10, 2)[1]))

work, done = queue.Queue(), queue.Queue()


def worker():
    while (n := work.get()) is not None:
        done.put(sum(i * i for i in range(n)))


threads = [threading.Thread(target=worker) for _ in range(3)]
[t.start() for t in threads]
[work.put(n) for n in range(200)]
[work.put(None) for _ in threads]
[t.join() for t in threads]
print(sum(done.get() for _ in range(200)))
barrier, event, local = threading.Barrier(3), threading.Event(), threading.local()
threads = [threading.Thread(target=lambda: (barrier.wait(), event.wait(5))) for _ in range(2)]
[t.start() for t in threads]
barrier.wait()
event.set()
[t.join() for t in threads]
start = time.monotonic()
time.sleep(0.03)
print(0.03 <= time.monotonic() - start < 5, time.gmtime(10 ** 9)[:6], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0, os.cpu_count() > 0)
print(os.uname().sysname, sys.byteorder, sys.maxsize, len(os.urandom(16)), os.environ["LC_ALL"], os.getcwd())
pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 9"], {}) if os.path.exists("/bin/sh") else 0
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
