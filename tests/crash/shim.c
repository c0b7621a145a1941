/*
 * Loaded into the daemon by the crash test (LD_PRELOAD). It counts the calls that change files below one directory, and
 * at a chosen call ends the process by SIGKILL before, in the middle of, or after it; or, while a file exists, lets such
 * calls fail with the error that stands in it.
 *
 *   CRASH_DIRECTORY  absolute, resolved path of the directory; without it, the shim does nothing
 *   CRASH_COUNTER    file in which the number of calls so far stands (8 octets, native), shared between processes
 *   CRASH_AT         the call, from 1, at which the process ends; absent or 0: never
 *   CRASH_WHEN       before, torn (half of a write), after (default)
 *   CRASH_DURABLE    directory for what is on stable storage: at each sync of a file its content goes to NUMBER of its inode,
 *                    at each sync of a directory its names to NUMBER.names, a line each: f or d, the inode, the name
 *   CRASH_FAULT      file; while it exists and says EIO, ENOSPC or EROFS, writes and syncs fail with that error
 *
 * Counted: write, pwrite, writev, pwritev, fsync, fdatasync, sync_file_range, rename*, unlink*, ftruncate, fallocate, and
 * open with O_CREAT. Reads and sockets pass. A system call that does not go through the C library is not seen.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum when { BEFORE, TORN, AFTER };

static char directory[PATH_MAX];
static size_t directory_length;
static char fault_file[PATH_MAX];
static char durable[PATH_MAX - 64];
static uint64_t crash_at;
static enum when when = AFTER;
static uint64_t own_count;
static uint64_t *count = &own_count;

__attribute__((constructor)) static void start(void)
{
    const char *value = getenv("CRASH_DIRECTORY");
    if (!value || !*value || strlen(value) >= sizeof directory)
        return;
    strcpy(directory, value);
    directory_length = strlen(directory);
    if ((value = getenv("CRASH_AT")))
        crash_at = strtoull(value, NULL, 10);
    if ((value = getenv("CRASH_WHEN")))
        when = !strcmp(value, "before") ? BEFORE : !strcmp(value, "torn") ? TORN : AFTER;
    if ((value = getenv("CRASH_FAULT")) && strlen(value) < sizeof fault_file)
        strcpy(fault_file, value);
    if ((value = getenv("CRASH_DURABLE")) && strlen(value) < sizeof durable)
        strcpy(durable, value);
    if ((value = getenv("CRASH_COUNTER"))) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, value, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0 && syscall(SYS_ftruncate, fd, 8L) == 0) {
            void *shared = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (shared != MAP_FAILED)
                count = shared;
        }
        if (fd >= 0)
            syscall(SYS_close, fd);
    }
}

static int below(const char *path)
{
    return directory_length && !strncmp(path, directory, directory_length)
        && (path[directory_length] == '/' || !path[directory_length]);
}

static int path_counts(int at, const char *path)
{
    char whole[PATH_MAX], link[64];
    if (!directory_length || !path)
        return 0;
    if (path[0] == '/')
        return below(path);
    if (at == AT_FDCWD) {
        if (!getcwd(whole, sizeof whole))
            return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, whole, sizeof whole - 1);
        if (length < 0)
            return 0;
        whole[length] = 0;
    }
    size_t length = strlen(whole);
    if (length + strlen(path) + 2 > sizeof whole)
        return 0;
    whole[length] = '/';
    strcpy(whole + length + 1, path[0] == '.' && path[1] == '/' ? path + 2 : path);
    return below(whole);
}

static int file_counts(int fd)
{
    struct stat about;
    char link[64], path[PATH_MAX];
    if (!directory_length)
        return 0;
    int saved = errno;
    int found = 0;
    if (!fstat(fd, &about) && (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            found = below(path);
        }
    }
    errno = saved;
    return found;
}

static void end(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        syscall(SYS_pause);
}

/* Counts a call; true if it is the one. */
static int chosen(void)
{
    uint64_t number = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    if (number != crash_at)
        return 0;
    if (when == BEFORE)
        end();
    return 1;
}

/* The error that calls have to fail with now, or 0. */
static int fault(void)
{
    char text[16];
    if (!fault_file[0])
        return 0;
    int saved = errno, found = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, fault_file, O_RDONLY | O_CLOEXEC, 0);
    if (fd >= 0) {
        long length = syscall(SYS_read, fd, text, sizeof text - 1);
        text[length > 0 ? length : 0] = 0;
        found = !strncmp(text, "ENOSPC", 6) ? ENOSPC
                : !strncmp(text, "EROFS", 5) ? EROFS
                : !strncmp(text, "EIO", 3)   ? EIO
                                             : 0;
        syscall(SYS_close, fd);
    }
    errno = saved;
    return found;
}

/* The content of a file, as it is now; what is empty stays empty. Raw calls: the shim does not count its own. */
static int copy_content(int from, int to)
{
    static char piece[1 << 16], nothing[1 << 16];
    off_t at = 0;
    for (;;) {
        at = lseek(from, at, SEEK_DATA);
        if (at < 0)
            break;
        long length = syscall(SYS_pread64, from, piece, sizeof piece, at);
        if (length <= 0)
            break;
        if (memcmp(piece, nothing, (size_t)length) && syscall(SYS_pwrite64, to, piece, length, at) != length)
            return -1;
        at += length;
    }
    struct stat about;
    return fstat(from, &about) || syscall(SYS_ftruncate, to, about.st_size);
}

/* The names in a directory, as they are now. */
static int copy_names(const char *path, int to)
{
    DIR *names = opendir(path);
    if (!names)
        return -1;
    for (struct dirent *name; (name = readdir(names));) {
        if (!strcmp(name->d_name, ".") || !strcmp(name->d_name, "..") || (name->d_type != DT_REG && name->d_type != DT_DIR))
            continue;
        char line[NAME_MAX + 64];
        int length = snprintf(line, sizeof line, "%c %llu %s\n", name->d_type == DT_DIR ? 'd' : 'f',
                              (unsigned long long)name->d_ino, name->d_name);
        if (syscall(SYS_write, to, line, (size_t)length) != length)
            break;
    }
    return closedir(names);
}

/* After a sync: what is on stable storage now. A link keeps the number of the inode from being used again. */
static void keep(int fd)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct stat about;
    char self[64], part[PATH_MAX], whole[PATH_MAX], link[PATH_MAX];
    if (!durable[0] || fstat(fd, &about))
        return;
    int saved = errno;
    unsigned long long number = about.st_ino;
    const char *suffix = S_ISDIR(about.st_mode) ? ".names" : "";
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    snprintf(part, sizeof part, "%s/%llu%s.part", durable, number, suffix);
    snprintf(whole, sizeof whole, "%s/%llu%s", durable, number, suffix);
    snprintf(link, sizeof link, "%s/%llu.link", durable, number);
    pthread_mutex_lock(&mutex);
    int to = (int)syscall(SYS_openat, AT_FDCWD, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int from = (int)syscall(SYS_openat, AT_FDCWD, self, O_RDONLY | O_CLOEXEC, 0);
    int failed = to < 0 || from < 0 || (suffix[0] ? copy_names(self, to) : copy_content(from, to))
        || syscall(SYS_renameat, AT_FDCWD, part, AT_FDCWD, whole);
    if (!suffix[0])
        syscall(SYS_linkat, AT_FDCWD, self, AT_FDCWD, link, AT_SYMLINK_FOLLOW);
    if (from >= 0)
        syscall(SYS_close, from);
    if (to >= 0)
        syscall(SYS_close, to);
    pthread_mutex_unlock(&mutex);
    errno = saved;
    /* A test that believes in what was not kept would find faults where there are none. */
    if (failed)
        abort();
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* A call without payload: counts it, lets it fail where it must, ends the process around it. */
#define PASS(counts, fails, call) \
    do { \
        if (!(counts)) \
            return call; \
        int hit = chosen(); \
        int error = (fails) ? fault() : 0; \
        if (error) { \
            errno = error; \
            return -1; \
        } \
        __typeof__(call) result = call; \
        if (hit) \
            end(); \
        return result; \
    } while (0)

/* A sync: as PASS, and what it brought to stable storage is kept. */
#define PASS_SYNC(fd, call) \
    do { \
        if (!file_counts(fd)) \
            return call; \
        int hit = chosen(); \
        int error = fault(); \
        if (error) { \
            errno = error; \
            return -1; \
        } \
        int result = call; \
        if (!result) \
            keep(fd); \
        if (hit) \
            end(); \
        return result; \
    } while (0)

/* A write of `size` octets: as PASS, but the process may end with half of it written. */
#define PASS_WRITE(fd, size, half, call) \
    do { \
        if (!file_counts(fd)) \
            return call; \
        int hit = chosen(); \
        int error = fault(); \
        if (error) { \
            errno = error; \
            return -1; \
        } \
        if (hit && when == TORN && (size) > 1) { \
            half; \
            end(); \
        } \
        ssize_t result = call; \
        if (hit) \
            end(); \
        return result; \
    } while (0)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    PASS_WRITE(fd, size, (void)!real(fd, data, size / 2), real(fd, data, size));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    REAL(pwrite);
    PASS_WRITE(fd, size, (void)!real(fd, data, size / 2, at), real(fd, data, size, at));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    REAL(pwrite64);
    PASS_WRITE(fd, size, (void)!real(fd, data, size / 2, at), real(fd, data, size, at));
}

ssize_t writev(int fd, const struct iovec *parts, int number)
{
    REAL(writev);
    PASS_WRITE(fd, number, (void)!real(fd, parts, number / 2), real(fd, parts, number));
}

ssize_t pwritev(int fd, const struct iovec *parts, int number, off_t at)
{
    REAL(pwritev);
    PASS_WRITE(fd, number, (void)!real(fd, parts, number / 2, at), real(fd, parts, number, at));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int number, off64_t at)
{
    REAL(pwritev64);
    PASS_WRITE(fd, number, (void)!real(fd, parts, number / 2, at), real(fd, parts, number, at));
}

int fsync(int fd)
{
    REAL(fsync);
    PASS_SYNC(fd, real(fd));
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    PASS_SYNC(fd, real(fd));
}

int sync_file_range(int fd, off64_t at, off64_t size, unsigned flags)
{
    REAL(sync_file_range);
    PASS(file_counts(fd), 1, real(fd, at, size, flags));
}

int ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    PASS(file_counts(fd), 1, real(fd, size));
}

int ftruncate64(int fd, off64_t size)
{
    REAL(ftruncate64);
    PASS(file_counts(fd), 1, real(fd, size));
}

int fallocate(int fd, int mode, off_t at, off_t size)
{
    REAL(fallocate);
    PASS(file_counts(fd), 1, real(fd, mode, at, size));
}

int fallocate64(int fd, int mode, off64_t at, off64_t size)
{
    REAL(fallocate64);
    PASS(file_counts(fd), 1, real(fd, mode, at, size));
}

/* This one returns the error instead of setting errno. */
int posix_fallocate(int fd, off_t at, off_t size)
{
    REAL(posix_fallocate);
    if (file_counts(fd)) {
        int hit = chosen();
        int error = fault();
        if (error)
            return error;
        int result = real(fd, at, size);
        if (hit)
            end();
        return result;
    }
    return real(fd, at, size);
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    PASS(path_counts(AT_FDCWD, to), 1, real(from, to));
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
    REAL(renameat);
    PASS(path_counts(to_at, to), 1, real(from_at, from, to_at, to));
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
    REAL(renameat2);
    PASS(path_counts(to_at, to), 1, real(from_at, from, to_at, to, flags));
}

/* A full disk does not keep files from being removed. */
int unlink(const char *path)
{
    REAL(unlink);
    PASS(path_counts(AT_FDCWD, path), 0, real(path));
}

int unlinkat(int at, const char *path, int flags)
{
    REAL(unlinkat);
    PASS(path_counts(at, path), 0, real(at, path, flags));
}

#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...)
{
    REAL(open);
    MODE_OF(flags)
    PASS((flags & O_CREAT) && path_counts(AT_FDCWD, path), 1, real(path, flags, mode));
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    MODE_OF(flags)
    PASS((flags & O_CREAT) && path_counts(AT_FDCWD, path), 1, real(path, flags, mode));
}

int openat(int at, const char *path, int flags, ...)
{
    REAL(openat);
    MODE_OF(flags)
    PASS((flags & O_CREAT) && path_counts(at, path), 1, real(at, path, flags, mode));
}

int openat64(int at, const char *path, int flags, ...)
{
    REAL(openat64);
    MODE_OF(flags)
    PASS((flags & O_CREAT) && path_counts(at, path), 1, real(at, path, flags, mode));
}
