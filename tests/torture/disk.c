/* Preloaded into a process, writes down everything it does to the files of one folder, in order,
 * and lets the calls fail that it is told to. The calls themselves go through unless they fail.
 *
 * Without somebody to call disk_fail, calls of one letter (KWOTA_BREAKS, as "S5" for EIO on every
 * sync) fail for as long as the file KWOTA_BROKEN exists.
 *
 * KWOTA_DISK is the folder, KWOTA_TRACE the file to write to. One entry: the letter, two 64-bit
 * numbers, the length of what follows, and that. See simulator/disk.py, which reads it.
 *
 * One thread at a time writes to the folder (the journal's), others only call disk_say.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 4096 };
static char folder[PATH_MAX];
static int trace = -1;
static char is_ours[FDS]; /* 1: a file of the folder, 2: the folder itself */

static volatile int fail_after, fail_times, fail_errno, calls;
static volatile char fail_letter; /* which calls count */
static char hit[4096]; /* letters of the calls that were made to fail */
static volatile int hits;

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("KWOTA_DISK"), *to = getenv("KWOTA_TRACE");
    if (!where || !to || !realpath(where, folder))
        return;
    trace = NEXT(int (*)(const char *, int, ...), "open64")(
        to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void say(char letter, uint64_t a, uint64_t b, const void *data, uint32_t length)
{
    int kept = errno;
    char head[21];
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
    if (trace < 0)
        return;
    head[0] = letter;
    memcpy(head + 1, &a, 8);
    memcpy(head + 9, &b, 8);
    memcpy(head + 17, &length, 4);
    if (writev(trace, parts, 2) != (ssize_t)(sizeof head + length))
        abort();
    errno = kept;
}

/* What the test calls: note something, let calls fail from one on, and ask which did. */
void disk_say(const char *text) { say('A', 0, 0, text, (uint32_t)strlen(text)); }
void disk_fail(int letter, int after, int times, int error)
{
    fail_letter = (char)letter;
    calls = 0;
    hits = 0;
    fail_after = after;
    fail_errno = error;
    fail_times = times;
}
const char *disk_hit(void)
{
    hit[hits] = 0;
    return hit;
}

static int fails(char letter)
{
    const char *breaks = getenv("KWOTA_BREAKS"), *broken = getenv("KWOTA_BROKEN");
    int at;
    if (breaks && broken && *breaks == letter && !access(broken, F_OK)) {
        errno = fail_errno = atoi(breaks + 1);
        hits = 2;
        return 1;
    }
    if (!fail_times || (!hits && letter != fail_letter))
        return 0;
    at = calls++;
    if (at < fail_after || at >= fail_after + fail_times)
        return 0;
    if (hits < (int)sizeof hit - 1)
        hit[hits++] = letter;
    errno = fail_errno;
    return 1;
}

static uint64_t inode(int fd)
{
    struct stat state;
    return fstat(fd, &state) ? 0 : (uint64_t)state.st_ino;
}

/* The name in the folder, or NULL for what is none of ours. "" is the folder. */
static const char *name_in(const char *path)
{
    size_t length = strlen(folder);
    if (trace < 0 || strncmp(path, folder, length))
        return NULL;
    path += length;
    if (*path == '/')
        path++;
    else if (*path)
        return NULL;
    return strchr(path, '/') ? NULL : path;
}

static int opened(const char *path, int flags, mode_t mode)
{
    const char *name = name_in(path);
    int is_new = name && *name && (flags & O_CREAT) && access(path, F_OK), fd;
    if (is_new && fails('C'))
        return -1;
    fd = NEXT(int (*)(const char *, int, ...), "open64")(path, flags, mode);
    if (fd < 0 || fd >= FDS)
        return fd;
    is_ours[fd] = name ? (*name ? 1 : 2) : 0;
    if (is_new)
        say('C', inode(fd), 0, name, (uint32_t)strlen(name));
    else if (name && *name)
        say('O', inode(fd), 0, name, (uint32_t)strlen(name));
    if (name && *name && (flags & O_TRUNC))
        say('T', inode(fd), 0, NULL, 0);
    return fd;
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list more;                                                                              \
        mode_t mode;                                                                               \
        va_start(more, flags);                                                                     \
        mode = (flags & O_CREAT) ? va_arg(more, mode_t) : 0;                                       \
        va_end(more);                                                                              \
        return opened(path, flags, mode);                                                          \
    }
OPEN(open)
OPEN(open64)

int close(int fd)
{
    if (fd >= 0 && fd < FDS)
        is_ours[fd] = 0;
    return NEXT(int (*)(int), "close")(fd);
}

static int ours(int fd) { return fd >= 0 && fd < FDS ? is_ours[fd] : 0; }

typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);

ssize_t pwrite64(int fd, const void *data, size_t length, off_t at)
{
    pwrite_fn next = NEXT(pwrite_fn, "pwrite64");
    if (!ours(fd))
        return next(fd, data, length, at);
    if (fails('W')) {
        /* A disk that fills up takes a part of what it is given, and says so, first. */
        if (fail_errno != ENOSPC || length < 2 || hits > 1)
            return -1;
        length /= 2;
    }
    say('W', inode(fd), (uint64_t)at, data, (uint32_t)length);
    return next(fd, data, length, at);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t at)
{
    return pwrite64(fd, data, length, at);
}

ssize_t write(int fd, const void *data, size_t length)
{
    ssize_t (*next)(int, const void *, size_t) =
        NEXT(ssize_t (*)(int, const void *, size_t), "write");
    if (!ours(fd))
        return next(fd, data, length);
    if (fails('W'))
        return -1;
    say('W', inode(fd), (uint64_t)lseek(fd, 0, SEEK_CUR), data, (uint32_t)length);
    return next(fd, data, length);
}

int ftruncate64(int fd, off_t size)
{
    int (*next)(int, off_t) = NEXT(int (*)(int, off_t), "ftruncate64");
    if (!ours(fd))
        return next(fd, size);
    if (fails('T'))
        return -1;
    say('T', inode(fd), (uint64_t)size, NULL, 0);
    return next(fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Writing through costs time and shows nothing: what is synced is decided in the replay. */
static int synced(int fd, const char *name)
{
    if (!ours(fd))
        return NEXT(int (*)(int), name)(fd);
    if (fails(ours(fd) == 2 ? 'D' : 'S')) {
        say('E', ours(fd) == 2 ? 0 : inode(fd), 0, NULL, 0);
        return -1;
    }
    say(ours(fd) == 2 ? 'D' : 'S', inode(fd), 0, NULL, 0);
    return 0;
}
int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

int unlink(const char *path)
{
    const char *name = name_in(path);
    if (name && *name) {
        if (fails('U'))
            return -1;
        if (!access(path, F_OK))
            say('U', 0, 0, name, (uint32_t)strlen(name));
    }
    return NEXT(int (*)(const char *), "unlink")(path);
}

int rename(const char *from, const char *to)
{
    const char *old = name_in(from), *new = name_in(to);
    if (old && new) {
        char both[2 * NAME_MAX + 2];
        int length = snprintf(both, sizeof both, "%s/%s", old, new);
        if (fails('R'))
            return -1;
        say('R', 0, 0, both, (uint32_t)length);
    }
    return NEXT(int (*)(const char *, const char *), "rename")(from, to);
}
