/* Faults below the product: preloaded into its processes, steered by a file that says what fails now.

   Each line of $FAULT_RULES is "call what path": call is fsync, write, rename, mkdir or resolve; what is the name of
   an error or a number of milliseconds; path is a piece of the path the fault is for (of the host name, for resolve). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const struct { const char *name; int number; } ERRORS[] = {
    {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}, {"EAI_AGAIN", EAI_AGAIN},
};

/* The number of the error to give, after any pause that was asked for; 0 for none. */
static int fault(const char *call, const char *path)
{
    const char *rules = getenv("FAULT_RULES");
    if (!rules || !path) return 0;
    int kept = errno, result = 0;
    char text[4096];
    int descriptor = (int)open(rules, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) { errno = kept; return 0; }
    ssize_t size = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (size > 0) {
        text[size] = 0;
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line && !result; line = strtok_r(NULL, "\n", &rest)) {
            char name[32], what[32], where[512];
            if (sscanf(line, "%31s %31s %511s", name, what, where) != 3) continue;
            if (strcmp(name, call) || !strstr(path, where)) continue;
            for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
                if (!strcmp(what, ERRORS[i].name)) result = ERRORS[i].number;
            long pause = atol(what);
            if (pause > 0) {
                struct timespec time = {pause / 1000, (pause % 1000) * 1000000L};
                nanosleep(&time, NULL);
            }
        }
    }
    errno = kept;
    return result;
}

static int fault_at(const char *call, int descriptor)
{
    char link[64], path[1024];
    if (!getenv("FAULT_RULES")) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    int kept = errno;
    ssize_t size = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (size <= 0) return 0;
    path[size] = 0;
    return fault(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(number) do { int n = (number); if (n) { errno = n; return -1; } } while (0)

int fsync(int d) { FAIL(fault_at("fsync", d)); return REAL(fsync)(d); }
int fdatasync(int d) { FAIL(fault_at("fsync", d)); return REAL(fdatasync)(d); }
ssize_t write(int d, const void *b, size_t n) { FAIL(fault_at("write", d)); return REAL(write)(d, b, n); }
ssize_t writev(int d, const struct iovec *v, int n) { FAIL(fault_at("write", d)); return REAL(writev)(d, v, n); }
ssize_t pwrite(int d, const void *b, size_t n, off_t o) { FAIL(fault_at("write", d)); return REAL(pwrite)(d, b, n, o); }
ssize_t pwrite64(int d, const void *b, size_t n, off_t o) { FAIL(fault_at("write", d)); return REAL(pwrite64)(d, b, n, o); }
int rename(const char *a, const char *b) { FAIL(fault("rename", b)); return REAL(rename)(a, b); }
int link(const char *a, const char *b) { FAIL(fault("rename", b)); return REAL(link)(a, b); }
int renameat(int f, const char *a, int t, const char *b) { FAIL(fault("rename", b)); return REAL(renameat)(f, a, t, b); }
int mkdir(const char *p, mode_t m) { FAIL(fault("mkdir", p)); return REAL(mkdir)(p, m); }

int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r)
{
    int number = fault("resolve", n);
    if (number) return number;
    return REAL(getaddrinfo)(n && strstr(n, "rig.test") ? "127.0.0.1" : n, s, h, r);
}
