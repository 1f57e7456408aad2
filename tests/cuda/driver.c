/* The part of the CUDA driver that park uses, over memory of the host: for tests on machines without a device.
 *
 * It is stricter than the real one, so that what works here has kept the rules: calls need a current context; work on a stream is
 * done when somebody waits for it and not before; ranges must lie in memory that is mapped and open; whatever was taken must have been given
 * back when the process ends, or it ends with status 70 and says what is left. With PARK_TEST_ONLY_PINNED set, copies from and to host
 * memory that is not pinned fail. One device of 64 MiB. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int CUresult;
typedef unsigned long long CUdeviceptr;
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, ALREADY_REGISTERED = 712, NOT_REGISTERED = 713 };
enum { PIECE = 2 << 20, DEVICE = 64 << 20, MOST = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int started, contexts, streams;
static _Thread_local int entered;

/* Addresses, and the memory behind them if `memory` is not 0. */
static struct space { char *base; size_t bytes; int memory, open; } spaces[MOST];
static struct memory { int fd; size_t bytes; } memories[MOST]; /* the handle is the index; 0 is none */
static struct range { char *base; size_t bytes; } pinned[MOST];
/* What was put on a stream: `from` is NULL for zeros. */
static struct work { void *stream; char *to; const char *from; size_t len; } *queue;
static size_t queued;

#define BEGIN(condition, error) \
    if (!started) return NOT_INITIALIZED; \
    pthread_mutex_lock(&lock); \
    if (!(condition)) { pthread_mutex_unlock(&lock); return error; }
#define END(result) do { pthread_mutex_unlock(&lock); return result; } while (0)

static int is_of_host(const void *at, size_t len) {
    for (int i = 0; i < MOST; i++)
        if (pinned[i].base && (const char *)at >= pinned[i].base && len <= pinned[i].bytes &&
            (size_t)((const char *)at - pinned[i].base) <= pinned[i].bytes - len)
            return 1;
    return !getenv("PARK_TEST_ONLY_PINNED");
}

static int is_of_device(const void *at, size_t len) {
    for (int i = 0; i < MOST; i++) {
        const struct space *space = &spaces[i];
        if (space->base && space->open && (const char *)at >= space->base && len <= space->bytes &&
            (size_t)((const char *)at - space->base) <= space->bytes - len)
            return 1;
    }
    return 0;
}

static struct space *space_at(CUdeviceptr at, size_t bytes) {
    for (int i = 0; i < MOST; i++)
        if (spaces[i].base == (char *)at && spaces[i].bytes == bytes) return &spaces[i];
    return NULL;
}

CUresult cuInit(unsigned flags) { started = flags == 0; return flags ? INVALID_VALUE : OK; }
CUresult cuDeviceGetCount(int *count) { BEGIN(1, OK) *count = 1; END(OK); }
CUresult cuDeviceGet(int *device, int ordinal) { BEGIN(ordinal == 0, INVALID_DEVICE) *device = 0; END(OK); }
CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
    BEGIN(device == 0, INVALID_DEVICE)
    contexts++;
    *context = &contexts;
    END(OK);
}
CUresult cuDevicePrimaryCtxRelease_v2(int device) { BEGIN(device == 0 && contexts, INVALID_CONTEXT) contexts--; END(OK); }
CUresult cuCtxPushCurrent_v2(void *context) { BEGIN(context == &contexts && contexts, INVALID_CONTEXT) entered++; END(OK); }
CUresult cuCtxPopCurrent_v2(void **context) { BEGIN(entered, INVALID_CONTEXT) entered--; *context = &contexts; END(OK); }
CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : "refused by the driver of the tests";
    return OK;
}

CUresult cuStreamCreate(void **stream, unsigned flags) {
    BEGIN(entered && flags == 0, INVALID_CONTEXT)
    *stream = malloc(1);
    streams++;
    END(OK);
}
CUresult cuStreamDestroy_v2(void *stream) {
    BEGIN(entered && stream, INVALID_CONTEXT)
    free(stream);
    streams--;
    END(OK);
}
CUresult cuStreamSynchronize(void *stream) {
    BEGIN(entered && stream, INVALID_CONTEXT)
    size_t left = 0;
    for (size_t i = 0; i < queued; i++) {
        struct work work = queue[i];
        if (work.stream != stream) queue[left++] = work;
        else if (work.from) memcpy(work.to, work.from, work.len);
        else memset(work.to, 0, work.len);
    }
    queued = left;
    END(OK);
}
static CUresult put(void *stream, char *to, const char *from, size_t len, int valid) {
    BEGIN(entered && stream, INVALID_CONTEXT)
    if (!valid) END(INVALID_VALUE);
    struct work *grown = realloc(queue, (queued + 1) * sizeof *queue);
    if (!grown) END(OUT_OF_MEMORY);
    queue = grown;
    queue[queued++] = (struct work){stream, to, from, len};
    END(OK);
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t len, void *stream) {
    return put(stream, to, (char *)from, len, is_of_device((char *)from, len) && is_of_host(to, len));
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t len, void *stream) {
    return put(stream, (char *)to, from, len, is_of_device((char *)to, len) && is_of_host(from, len));
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t len, void *stream) {
    return put(stream, (char *)to, (char *)from, len, is_of_device((char *)to, len) && is_of_device((char *)from, len));
}
CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t len, void *stream) {
    return put(stream, (char *)at, NULL, len, value == 0 && is_of_device((char *)at, len));
}

/* As in cuda.h. */
typedef struct { int type, id; } Location;
typedef struct { int type, handles; Location location; void *windows; unsigned char flags[8]; } Wanted;
typedef struct { Location location; int flags; } Access;
static int is_plain(const Wanted *wanted) {
    return wanted->type == 1 && wanted->handles == 0 && wanted->location.type == 1 && wanted->location.id == 0;
}

CUresult cuMemGetAllocationGranularity(size_t *piece, const Wanted *wanted, int option) {
    BEGIN(is_plain(wanted) && (option == 0 || option == 1), INVALID_VALUE)
    *piece = PIECE;
    END(OK);
}
CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr hint, unsigned long long flags) {
    BEGIN(bytes && bytes % PIECE == 0 && !alignment && !hint && !flags, INVALID_VALUE)
    struct space *space = space_at(0, 0);
    if (!space) END(OUT_OF_MEMORY);
    void *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) END(OUT_OF_MEMORY);
    *space = (struct space){base, bytes, 0, 0};
    *address = (CUdeviceptr)base;
    END(OK);
}
CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
    struct space *space = space_at(address, bytes);
    BEGIN(space && !space->memory, INVALID_VALUE)
    munmap(space->base, bytes);
    *space = (struct space){0};
    END(OK);
}
CUresult cuMemCreate(unsigned long long *handle, size_t bytes, const Wanted *wanted, unsigned long long flags) {
    BEGIN(is_plain(wanted) && bytes && bytes % PIECE == 0 && !flags, INVALID_VALUE)
    size_t used = 0;
    int free_one = 0;
    for (int i = 1; i < MOST; i++) {
        used += memories[i].bytes;
        if (!memories[i].bytes) free_one = i;
    }
    if (!free_one || used + bytes > DEVICE) END(OUT_OF_MEMORY);
    int fd = memfd_create("device", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes)) END(OUT_OF_MEMORY);
    /* Fresh memory of a device holds anything. */
    char *view = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (view == MAP_FAILED) END(OUT_OF_MEMORY);
    memset(view, 0xa5, bytes);
    munmap(view, bytes);
    memories[free_one] = (struct memory){fd, bytes};
    *handle = (unsigned long long)free_one;
    END(OK);
}
CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, unsigned long long handle, unsigned long long flags) {
    struct space *space = space_at(address, bytes);
    BEGIN(space && !space->memory && !offset && !flags && handle && handle < MOST && memories[handle].bytes == bytes, INVALID_VALUE)
    if (mmap(space->base, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, memories[handle].fd, 0) == MAP_FAILED) END(OUT_OF_MEMORY);
    space->memory = (int)handle;
    END(OK);
}
CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const Access *access, size_t count) {
    struct space *space = space_at(address, bytes);
    BEGIN(space && space->memory && count == 1 && access->location.type == 1 && access->location.id == 0 && access->flags == 3, INVALID_VALUE)
    if (mprotect(space->base, bytes, PROT_READ | PROT_WRITE)) END(INVALID_VALUE);
    space->open = 1;
    END(OK);
}
CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
    struct space *space = space_at(address, bytes);
    BEGIN(space && space->memory, INVALID_VALUE)
    if (mmap(space->base, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) END(INVALID_VALUE);
    space->memory = space->open = 0;
    END(OK);
}
CUresult cuMemRelease(unsigned long long handle) {
    BEGIN(handle && handle < MOST && memories[handle].bytes, INVALID_HANDLE)
    for (int i = 0; i < MOST; i++)
        if (spaces[i].memory == (int)handle) END(INVALID_VALUE);
    close(memories[handle].fd);
    memories[handle] = (struct memory){0};
    END(OK);
}

CUresult cuMemHostRegister_v2(void *base, size_t bytes, unsigned flags) {
    BEGIN(entered && base && bytes && flags == 1, INVALID_VALUE)
    struct range *free_one = NULL;
    for (int i = 0; i < MOST; i++) {
        if (pinned[i].base == base) END(ALREADY_REGISTERED);
        if (!pinned[i].base) free_one = &pinned[i];
    }
    if (!free_one) END(OUT_OF_MEMORY);
    *free_one = (struct range){base, bytes};
    END(OK);
}
CUresult cuMemHostUnregister(void *base) {
    BEGIN(entered && base, INVALID_VALUE)
    for (int i = 0; i < MOST; i++)
        if (pinned[i].base == base) { pinned[i] = (struct range){0}; END(OK); }
    END(NOT_REGISTERED);
}

__attribute__((destructor)) static void look_what_is_left(void) {
    int reserved = 0, taken = 0, held = 0;
    for (int i = 0; i < MOST; i++) {
        reserved += spaces[i].base != NULL;
        taken += memories[i].bytes != 0;
        held += pinned[i].base != NULL;
    }
    if (contexts || streams || reserved || taken || held || queued) {
        fprintf(stderr, "left behind: %d contexts, %d streams, %d ranges of addresses, %d of memory, %d pinned, %zu copies\n", contexts,
                streams, reserved, taken, held, queued);
        _exit(70);
    }
}
