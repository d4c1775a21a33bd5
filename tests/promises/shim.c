/* Faults at the I/O calls of a process: counts those that change what is below one folder, and at
 * call number N kills the process, tears the write in two, or lets the call fail.
 *
 * Loaded with LD_PRELOAD; does nothing before shim_arm is called. Each call is written to a log
 * before it happens, as "number kind path". Syncs are counted and left out: a kill loses nothing
 * that the kernel has. Calls that libc makes of itself (fopen) are not seen; Python makes none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { COUNT, KILL, TEAR, FAIL, FAIL_ON, SLOW, NO_FLOCK };

static enum mode mode;
static long at, calls;
static int code, log_fd = -1, is_armed;
static char root[PATH_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The function that a name would mean without this library. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Watch all below `folder`, an absolute path without links, from now on.
 * `error` is the errno of FAIL (call `number`), FAIL_ON (from it on, but for calls that free room)
 * and NO_FLOCK; milliseconds for SLOW: a sync takes none, one or two times as long, by turns, so that
 * a write may overtake an earlier one. */
void shim_arm(int kind, long number, int error, const char *folder, const char *log_path) {
    log_fd = REAL(open)(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    snprintf(root, sizeof root, "%s", folder);
    mode = kind;
    at = number;
    code = error;
    calls = 0;
    is_armed = 1;
}

static int is_below(const char *path) {
    size_t length = strlen(root);
    return !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static int frees_room(const char *kind) {
    return !strcmp(kind, "unlink") || !strcmp(kind, "rmdir") || !strcmp(kind, "flock");
}

/* Count a call; returns 0 where it goes on as ever, -1 with errno where it fails, 1 where half of
 * it is to be done before the end. */
static int counted(const char *kind, const char *path) {
    if (!is_armed || !is_below(path))
        return 0;
    pthread_mutex_lock(&lock);
    long number = ++calls;
    dprintf(log_fd, "%ld %s %s\n", number, kind, path + strlen(root));
    int is_write = !strcmp(kind, "write");
    int is_hit = number == at && (mode == KILL || (mode == TEAR && !is_write));
    if (is_hit)
        kill(getpid(), SIGKILL);
    pthread_mutex_unlock(&lock);
    if (number == at && mode == TEAR)
        return 1;
    if (mode == SLOW && !strcmp(kind, "fsync"))
        usleep(code * 1000 * (number % 3));
    int fails = (mode == FAIL && number == at) ||
                (mode == FAIL_ON && number >= at && !frees_room(kind)) ||
                (mode == NO_FLOCK && !strcmp(kind, "flock"));
    if (!fails)
        return 0;
    errno = code;
    return -1;
}

static void absolute(int folder, const char *path, char *result) {
    char base[PATH_MAX] = "";
    if (path[0] == '/') {
        snprintf(result, PATH_MAX, "%s", path);
        return;
    }
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base))
            base[0] = 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        base[length > 0 ? length : 0] = 0;
    }
    if (snprintf(result, PATH_MAX, "%s/%s", base, path) >= PATH_MAX)
        result[0] = 0;
}

static int counted_at(const char *kind, int folder, const char *path) {
    char whole[PATH_MAX];
    if (!is_armed || !path)
        return 0;
    absolute(folder, path, whole);
    return counted(kind, whole);
}

static int counted_fd(const char *kind, int fd) {
    char link[64], path[PATH_MAX];
    if (!is_armed)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return counted(kind, path);
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...) {                                      \
        va_list rest;                                                                 \
        va_start(rest, flags);                                                        \
        mode_t bits = va_arg(rest, mode_t);                                           \
        va_end(rest);                                                                 \
        if (writes(flags) && counted_at("open", AT_FDCWD, path))                      \
            return -1;                                                                \
        return REAL(name)(path, flags, bits);                                         \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                  \
    int name(int folder, const char *path, int flags, ...) {                          \
        va_list rest;                                                                 \
        va_start(rest, flags);                                                        \
        mode_t bits = va_arg(rest, mode_t);                                           \
        va_end(rest);                                                                 \
        if (writes(flags) && counted_at("open", folder, path))                        \
            return -1;                                                                \
        return REAL(name)(folder, path, flags, bits);                                 \
    }
OPENAT(openat)
OPENAT(openat64)

static void end(void) { kill(getpid(), SIGKILL); }

ssize_t write(int fd, const void *bytes, size_t size) {
    int fate = counted_fd("write", fd);
    if (fate < 0)
        return -1;
    ssize_t written = REAL(write)(fd, bytes, fate ? size / 2 : size);
    if (fate)
        end();
    return written;
}

#define PWRITE(name, offset_t)                                                        \
    ssize_t name(int fd, const void *bytes, size_t size, offset_t offset) {           \
        int fate = counted_fd("write", fd);                                           \
        if (fate < 0)                                                                 \
            return -1;                                                                \
        ssize_t written = REAL(name)(fd, bytes, fate ? size / 2 : size, offset);      \
        if (fate)                                                                     \
            end();                                                                    \
        return written;                                                               \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int n_parts) {
    int fate = counted_fd("write", fd);
    if (fate < 0)
        return -1;
    if (fate) { /* the first of several, or half of one */
        REAL(write)(fd, parts[0].iov_base, n_parts > 1 ? parts[0].iov_len : parts[0].iov_len / 2);
        end();
    }
    return REAL(writev)(fd, parts, n_parts);
}

/* Calls that take a descriptor. */
#define BY_FD(name, kind, given, passed)                                              \
    int name given { return counted_fd(kind, fd) ? -1 : REAL(name) passed; }
BY_FD(ftruncate, "ftruncate", (int fd, off_t size), (fd, size))
BY_FD(ftruncate64, "ftruncate", (int fd, off64_t size), (fd, size))
BY_FD(flock, "flock", (int fd, int operation), (fd, operation))

static int is_watched(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return is_armed && is_below(path);
}

#define SYNC(name)                                                                    \
    int name(int fd) {                                                                \
        if (counted_fd("fsync", fd))                                                  \
            return -1;                                                                \
        return is_watched(fd) ? 0 : REAL(name)(fd);                                   \
    }
SYNC(fsync)
SYNC(fdatasync)

/* Calls that take a path, relative to the working folder or to a descriptor. */
#define BY_PATH(name, kind, folder, path, given, passed)                              \
    int name given { return counted_at(kind, folder, path) ? -1 : REAL(name) passed; }
BY_PATH(rename, "rename", AT_FDCWD, to, (const char *from, const char *to), (from, to))
BY_PATH(renameat, "rename", to_fd, to, (int from_fd, const char *from, int to_fd, const char *to),
        (from_fd, from, to_fd, to))
BY_PATH(renameat2, "rename", to_fd, to,
        (int from_fd, const char *from, int to_fd, const char *to, unsigned flags),
        (from_fd, from, to_fd, to, flags))
BY_PATH(link, "link", AT_FDCWD, to, (const char *from, const char *to), (from, to))
BY_PATH(linkat, "link", to_fd, to,
        (int from_fd, const char *from, int to_fd, const char *to, int flags),
        (from_fd, from, to_fd, to, flags))
BY_PATH(symlink, "symlink", AT_FDCWD, to, (const char *from, const char *to), (from, to))
BY_PATH(symlinkat, "symlink", to_fd, to, (const char *from, int to_fd, const char *to),
        (from, to_fd, to))
BY_PATH(unlink, "unlink", AT_FDCWD, path, (const char *path), (path))
BY_PATH(unlinkat, "unlink", folder, path, (int folder, const char *path, int flags),
        (folder, path, flags))
BY_PATH(rmdir, "rmdir", AT_FDCWD, path, (const char *path), (path))
BY_PATH(mkdir, "mkdir", AT_FDCWD, path, (const char *path, mode_t bits), (path, bits))
BY_PATH(mkdirat, "mkdir", folder, path, (int folder, const char *path, mode_t bits),
        (folder, path, bits))
BY_PATH(truncate, "ftruncate", AT_FDCWD, path, (const char *path, off_t size), (path, size))
BY_PATH(truncate64, "ftruncate", AT_FDCWD, path, (const char *path, off64_t size), (path, size))

ssize_t sendfile(int fd, int from, off_t *offset, size_t size) {
    return counted_fd("copy", fd) ? -1 : REAL(sendfile)(fd, from, offset, size);
}

ssize_t sendfile64(int fd, int from, off64_t *offset, size_t size) {
    return counted_fd("copy", fd) ? -1 : REAL(sendfile64)(fd, from, offset, size);
}

ssize_t copy_file_range(int from, off64_t *from_at, int fd, off64_t *at_, size_t size, unsigned f) {
    return counted_fd("copy", fd) ? -1 : REAL(copy_file_range)(from, from_at, fd, at_, size, f);
}
