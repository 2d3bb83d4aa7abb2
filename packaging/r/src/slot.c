// SPDX-License-Identifier: Apache-2.0
/*
 * slot.c - making, describing, chaining and removing slots.
 */
#include "slot.h"

#include "collect.h"
#include "lend.h"
#include "spare.h"
#include <errno.h>
#include <fcntl.h>
#include <R_ext/Utils.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { TEXT_MAX = 65536 };

_Noreturn void raise_in_r(const char *function, SEXP arguments)
{
    PROTECT(arguments);
    SEXP space = PROTECT(R_FindNamespace(PROTECT(Rf_mkString("pyrmap"))));
    Rf_eval(PROTECT(Rf_lcons(Rf_install(function), arguments)), space);
    UNPROTECT(4);
    Rf_error("%s returned", function);
}

_Noreturn void raise_system(int error, const char *operation, const char *path)
{
    const char *name = strerrorname_np(error);
    const char *values[] = {operation, path, name ? name : "errno", strerror(error)};
    SEXP arguments = PROTECT(Rf_allocList(4));
    SEXP next = arguments;
    for (int i = 0; i < 4; i++, next = CDR(next))
        SETCAR(next, Rf_mkString(values[i]));
    raise_in_r("stop_system", arguments);
}

struct slot *slot_get(SEXP pointer)
{
    struct slot *slot = TYPEOF(pointer) == EXTPTRSXP ? R_ExternalPtrAddr(pointer) : NULL;
    if (!slot || slot->record_fd < 0)
        Rf_error("this slot was removed");
    return slot;
}

bool slot_is_lost(int error)
{
    switch (-error) {
    case ENOENT:
    case ENOTCONN:
    case ESTALE:
    case ECONNABORTED:
    case ENODEV:
        return true;
    default:
        return false;
    }
}

bool slot_is_removed(const struct slot *slot)
{
    return slot->record_fd < 0 && !slot->parked;
}

/* The device of the filesystem that path, or the directory behind fd, lies in; 0 if the kernel cannot tell it.
 * The kernel does not ask the daemon. */
static dev_t device_of(int fd, const char *path)
{
    struct statx info;
    if (statx(fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &info) < 0)
        return 0;
    return makedev(info.stx_dev_major, info.stx_dev_minor);
}

bool slot_exists(const struct slot *slot)
{
    struct statx found;
    return statx(AT_FDCWD, slot->path, AT_STATX_DONT_SYNC, 0, &found) == 0;
}

bool slot_on_mount(const struct slot *slot, const char *root)
{
    dev_t device = device_of(AT_FDCWD, root);
    return device != 0 && device == slot->device;
}

int slot_open_file(const struct slot *slot, const char *name, int flags)
{
    int fd = openat(slot->directory, name, flags | O_CLOEXEC);
    if (fd < 0 && collected_for(-errno))
        fd = openat(slot->directory, name, flags | O_CLOEXEC);
    return fd;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int slot_open_pages(const struct slot *slot, int fd, const char *name, int flags)
{
    char link[16];
    if (slot->live != LIVE_LINKS)
        return fd;
    snprintf(link, sizeof(link), "%.*smem", (int)(strlen(name) - strlen("bin")), name);
    int pages = slot_open_file(slot, link, flags);
    return pages < 0 && errno == EACCES ? fd : pages;
}

void slot_close_pages(int fd, int pages)
{
    if (pages != fd)
        close_fd(&pages);
    close_fd(&fd);
}

static int read_all(int fd, void *bytes, size_t size, off_t offset)
{
    ssize_t got;
    do
        got = pread(fd, bytes, size, offset);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    return got == (ssize_t)size ? 0 : -EIO;
}

int slot_read_record(const struct slot *slot, struct record *record)
{
    return read_all(slot->record_fd, record, sizeof(*record), 0);
}

static int write_record(const struct slot *slot, const void *bytes, size_t size)
{
    if (pwrite(slot->record_fd, bytes, size, 0) < 0)
        return -errno;
    return 0;
}

/* Opens metadata.mem, and maps it where it is live. 0 or -errno. */
static int open_page(struct slot *slot)
{
    if (slot->page || slot->page_fd >= 0)
        return 0;
    slot->page_fd = slot_open_file(slot, "metadata.mem", O_RDONLY);
    /* A link may lead where this process may not go, as into another user namespace. */
    if (slot->page_fd < 0 && errno == EACCES && slot->live == LIVE_LINKS)
        slot->page_fd = slot_open_file(slot, ".metadata.mem", O_RDONLY);
    if (slot->page_fd < 0)
        return -errno;
    /* A link that cannot lead to the page leads to a file of the mount, which lags behind it. */
    if (slot->live == LIVE_LINKS && device_of(slot->page_fd, "") == slot->device)
        slot->live = LIVE_NOT;
    void *page =
        slot->live ? mmap(NULL, RECORD_PAGE_SIZE, PROT_READ, MAP_SHARED, slot->page_fd, 0) : MAP_FAILED;
    if (page != MAP_FAILED) {
        slot->page = page;
        close_fd(&slot->page_fd);
    }
    return 0;
}

bool slot_is_live(struct slot *slot)
{
    return slot->live && open_page(slot) == 0 && slot->page;
}

void slot_look(const struct slot *slot, struct record *record)
{
    while (!record_snapshot(&slot->page->record, record))
        sched_yield();
}

int slot_outcome(struct slot *slot, struct record_page *page)
{
    int error = open_page(slot);
    if (error)
        return error;
    if (!slot->page)
        return read_all(slot->page_fd, page, sizeof(*page), 0);
    do {
        slot_look(slot, &page->record);
        if (page->record.result_inline <= RECORD_INLINE_MAX)
            memcpy(page->result, slot->page->result, page->record.result_inline);
    } while (!record_is_current(&slot->page->record, &page->record));
    return 0;
}

int slot_take_result(const struct slot *slot, void *image, size_t size)
{
    return read_all(slot->record_fd, image, size, RECORD_TAKE_RESULT);
}

struct record slot_input(int32_t dtype, uint32_t order, R_xlen_t length, SEXP dim)
{
    struct record record = {
        .flag = RECORD_FLAG_INPUT,
        .version = RECORD_VERSION,
        .input_length = length,
        .dtype = dtype,
        .result_length = RECORD_LENGTH_ALL,
        .input_ndim = dim == R_NilValue ? 0 : LENGTH(dim),
        /* Column-major for plain vectors too: it asks for such a result. */
        .order = dtype == RECORD_BUNDLE ? 0 : RECORD_ORDER_INPUT_F | order,
    };
    for (int i = 0; i < record.input_ndim; i++)
        record.input_shape[i] = INTEGER(dim)[i];
    return record;
}

int slot_publish(struct slot *slot, const void *bytes, size_t size)
{
    int error;
    /* A signal interrupted a publish that waited for its followers, before it took place: we try it again. */
    while ((error = write_record(slot, bytes, size)) == -EINTR)
        R_CheckUserInterrupt();
    if (!error)
        slot->running = true;
    return error;
}

static void let_go(struct slot *slot)
{
    if (slot->page)
        munmap((void *)slot->page, RECORD_PAGE_SIZE);
    slot->page = NULL;
    close_fd(&slot->page_fd);
    close_fd(&slot->directory);
    close_fd(&slot->record_fd);
}

/* Lets go of the slot; the directory goes too if this process made it. */
static int slot_close(struct slot *slot)
{
    bool was_there = !slot_is_removed(slot);
    lend_end(slot);
    let_go(slot);
    slot->parked = false;
    if (was_there && slot->creator == getpid() && rmdir(slot->path) < 0)
        return -errno;
    return 0;
}

void slot_park(struct slot *slot)
{
    slot->parked = !slot_is_removed(slot);
    let_go(slot);
}

void slot_free(struct slot *slot)
{
    slot_close(slot);
    free(slot);
}

static void finalize_slot(SEXP pointer)
{
    struct slot *slot = R_ExternalPtrAddr(pointer);
    if (!slot)
        return;
    R_ClearExternalPtr(pointer);
    if (!spare_keep(slot))
        slot_free(slot);
}

/* Creates SLOT/name's content in one write. 0 or -errno. */
static int write_text(const struct slot *slot, const char *name, const char *text, size_t size)
{
    int fd = slot_open_file(slot, name, O_WRONLY | O_TRUNC);
    if (fd < 0)
        return -errno;
    int error = 0;
    if (size > 0 && write(fd, text, size) < 0)
        error = -errno;
    if (close(fd) < 0 && !error)
        error = -errno;
    return error;
}

/* 0 or -errno, and nothing is open then. */
static int open_files(struct slot *slot)
{
    slot->directory = open(slot->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (slot->directory < 0 && collected_for(-errno))
        slot->directory = open(slot->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (slot->directory < 0)
        return -errno;
    slot->record_fd = slot_open_file(slot, "metadata.bin", O_RDWR);
    if (slot->record_fd < 0) {
        int error = -errno;
        close_fd(&slot->directory);
        return error;
    }
    slot->device = device_of(slot->directory, "");
    return 0;
}

int slot_wake(struct slot *slot)
{
    dev_t device = slot->device;
    if (!slot->parked)
        return 0;
    int error = open_files(slot);
    if (!error && slot->device != device) {
        /* The same path in another mount. */
        let_go(slot);
        slot->device = device;
        error = -ENODEV;
    }
    slot->parked = error != 0;
    return error;
}

/* What the arena holds in all; a guess where the mount does not say. */
static size_t arena_capacity(const char *path)
{
    struct statvfs arena;
    if (statvfs(path, &arena) < 0 || arena.f_blocks == 0)
        return (size_t)1 << 30;
    return (size_t)arena.f_blocks * arena.f_frsize;
}

/* Creates a directory root/r-PID-NUMBER, and leaves its path in path. 0 or -errno. */
static int make_directory(const char *root, char *path, size_t size)
{
    static unsigned counter;
    do {
        snprintf(path, size, "%s/r-%ld-%u", root, (long)getpid(), ++counter);
        if (mkdir(path, 0700) == 0)
            return 0;
    } while (errno == EEXIST);
    return -errno;
}

/* With nothing open, and room for a path of size bytes. Raises an R error. */
static struct slot *allocate(const char *root, size_t size, enum slot_live live)
{
    struct slot *slot = calloc(1, sizeof(*slot) + size);
    if (!slot)
        raise_system(ENOMEM, "open a slot of", root);
    slot->directory = slot->record_fd = slot->page_fd = -1;
    slot->live = live;
    slot->idle = true;
    return slot;
}

const char *slot_root(const char *path)
{
    const size_t size = (size_t)(strrchr(path, '/') - path);
    char *root = R_alloc(size + 1, 1);
    memcpy(root, path, size);
    root[size] = 0;
    return root;
}

static SEXP pointer_of(struct slot *slot)
{
    SEXP pointer = PROTECT(R_MakeExternalPtr(slot, R_NilValue, R_NilValue));
    R_RegisterCFinalizerEx(pointer, finalize_slot, TRUE);
    UNPROTECT(1);
    return pointer;
}

/* Into a slot that was just made. 0 or -errno. */
static int move_result(const struct slot *from, struct slot *to)
{
    to->directory = open(to->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (to->directory < 0)
        return -errno;
    int error = write_text(to, "owner", "self", 4);
    if (!error && renameat(from->directory, "result.bin", to->directory, "data.bin") < 0)
        error = -errno;
    close_fd(&to->directory);
    return error;
}

static struct slot *moved_into_new(const struct slot *slot)
{
    const char *root = slot_root(slot->path);
    const size_t size = strlen(root) + 40;
    struct slot *kept = allocate(root, size, slot->live);
    int error = make_directory(root, kept->path, size);
    if (!error && (error = move_result(slot, kept)) != 0)
        rmdir(kept->path);
    if (error) {
        free(kept);
        return NULL;
    }
    kept->creator = getpid();
    kept->holds_result = true;
    kept->parked = true;
    kept->capacity = slot->capacity;
    kept->device = slot->device;
    return kept;
}

SEXP slot_move_result(struct slot *slot)
{
    struct slot *kept = spare_fill(slot);
    if (!kept)
        kept = moved_into_new(slot);
    if (!kept)
        return R_NilValue;
    slot->running = false;
    slot->idle = true;
    return pointer_of(kept);
}

/* Into a slot that was just made: the input that another slot has now. That may go on, or go, without it. 0 or -errno. */
static int take_input(const struct slot *from, struct slot *to)
{
    char target[64];
    snprintf(target, sizeof(target), "../%s/data.bin", strrchr(from->path, '/') + 1);
    to->directory = open(to->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (to->directory < 0)
        return -errno;
    int error = write_text(to, "owner", "self", 4);
    if (!error &&
        (symlinkat(target, to->directory, "source") < 0 || unlinkat(to->directory, "source", 0) < 0))
        error = -errno;
    close_fd(&to->directory);
    return error;
}

const char *slot_share_input(const struct slot *slot)
{
    const char *root = slot_root(slot->path);
    const size_t size = strlen(root) + 40;
    struct slot *shared = allocate(root, size, slot->live);
    int error = make_directory(root, shared->path, size);
    if (!error && (error = take_input(slot, shared)) != 0)
        rmdir(shared->path);
    const char *path = error ? NULL : strcpy(R_alloc(size, 1), shared->path);
    free(shared);
    return path;
}

bool slot_adopt(struct slot *slot)
{
    if (write_text(slot, "owner", "self", 4) < 0)
        return false;
    slot->creator = getpid();
    return true;
}

SEXP pyrmap_slot_new(SEXP mount, SEXP live)
{
    const char *root = Rf_translateChar(STRING_ELT(mount, 0));
    size_t size = strlen(root) + 40;
    struct slot *slot = allocate(root, size, (enum slot_live)Rf_asInteger(live));
    slot->creator = getpid();
    int error = make_directory(root, slot->path, size);
    if (collected_for(error))
        error = make_directory(root, slot->path, size);
    if (error) {
        free(slot);
        raise_system(-error, "create a slot in", root);
    }
    slot->capacity = arena_capacity(slot->path);
    SEXP pointer = PROTECT(pointer_of(slot));
    error = open_files(slot);
    if (error)
        rmdir(slot->path);
    else if ((error = write_text(slot, "owner", "self", 4)) != 0)
        slot_close(slot);
    if (error)
        raise_system(-error, "open", slot->path);
    UNPROTECT(1);
    return pointer;
}

SEXP pyrmap_slot_open(SEXP place, SEXP live)
{
    const char *path = Rf_translateChar(STRING_ELT(place, 0));
    struct slot *slot = allocate(path, strlen(path) + 1, (enum slot_live)Rf_asInteger(live));
    strcpy(slot->path, path);
    SEXP pointer = PROTECT(pointer_of(slot));
    struct record record = {.round = 0};
    int error = open_files(slot);
    if (!error)
        error = slot_read_record(slot, &record);
    if (error)
        raise_system(-error, "open", path);
    slot->capacity = arena_capacity(path);
    bool over = record.flag == RECORD_FLAG_RESULT || record.flag == RECORD_FLAG_FAILED;
    slot->seen = over ? record.round : record.round - 1;
    UNPROTECT(1);
    return pointer;
}

/* The kernel keeps such locks: the filesystem is not asked. */
SEXP pyrmap_slot_lock(SEXP pointer)
{
    return Rf_ScalarLogical(flock(slot_get(pointer)->record_fd, LOCK_EX | LOCK_NB) == 0);
}

SEXP pyrmap_slot_remove(SEXP pointer)
{
    struct slot *slot = R_ExternalPtrAddr(pointer);
    return Rf_ScalarLogical(slot && slot_close(slot) == 0);
}

SEXP pyrmap_slot_path(SEXP pointer)
{
    const struct slot *slot = TYPEOF(pointer) == EXTPTRSXP ? R_ExternalPtrAddr(pointer) : NULL;
    return slot && !slot_is_removed(slot) ? Rf_mkString(slot->path) : R_NilValue;
}

SEXP pyrmap_slot_current(SEXP pointer, SEXP root)
{
    return Rf_ScalarLogical(slot_on_mount(slot_get(pointer), CHAR(STRING_ELT(root, 0))));
}

SEXP pyrmap_slot_text(SEXP pointer, SEXP name, SEXP text)
{
    const struct slot *slot = slot_get(pointer);
    const char *bytes = CHAR(STRING_ELT(text, 0));
    int error = write_text(slot, CHAR(STRING_ELT(name, 0)), bytes, strlen(bytes));
    return error ? Rf_mkString(strerrorname_np(-error)) : R_NilValue;
}

SEXP pyrmap_slot_read(SEXP pointer, SEXP name)
{
    const struct slot *slot = slot_get(pointer);
    int fd = slot_open_file(slot, CHAR(STRING_ELT(name, 0)), O_RDONLY);
    if (fd < 0)
        raise_system(errno, "read a text of", slot->path);
    static char text[TEXT_MAX];
    size_t size = 0;
    ssize_t got;
    do {
        got = read(fd, text + size, sizeof(text) - size);
        if (got > 0)
            size += (size_t)got;
    } while ((got > 0 && size < sizeof(text)) || (got < 0 && errno == EINTR));
    int error = got < 0 ? errno : 0;
    close(fd);
    if (error)
        raise_system(error, "read a text of", slot->path);
    /* Untrusted text: R refuses a nul, and the encoding may be anything. */
    for (size_t i = 0; i < size; i++)
        if (!text[i])
            text[i] = '?';
    return Rf_ScalarString(Rf_mkCharLenCE(text, (int)size, CE_UTF8));
}

SEXP pyrmap_slot_source(SEXP pointer, SEXP target)
{
    struct slot *slot = slot_get(pointer);
    if (target == R_NilValue) {
        if (unlinkat(slot->directory, "source", 0) < 0 && errno != ENOENT)
            raise_system(errno, "unchain", slot->path);
    } else {
        /* As where an input is mapped: results that R has dropped make room. */
        mapped_account(slot, 0);
        if (symlinkat(CHAR(STRING_ELT(target, 0)), slot->directory, "source") < 0)
            raise_system(errno, "chain", slot->path);
    }
    slot->chained = target != R_NilValue;
    slot->idle = slot->idle && !slot->chained;
    return R_NilValue;
}

SEXP pyrmap_slot_state(SEXP pointer)
{
    const struct slot *slot = slot_get(pointer);
    struct record record;
    int error = slot_read_record(slot, &record);
    if (error)
        raise_system(-error, "read the record of", slot->path);
    SEXP state = PROTECT(Rf_allocVector(REALSXP, 2));
    REAL(state)[0] = record.flag;
    REAL(state)[1] = (double)record.round;
    UNPROTECT(1);
    return state;
}

int slot_reset(struct slot *slot)
{
    const int32_t flag = RECORD_FLAG_NONE;
    slot->running = false;
    int error = write_record(slot, &flag, sizeof(flag));
    slot->idle = !error;
    return error;
}

SEXP pyrmap_slot_reset(SEXP pointer)
{
    return Rf_ScalarLogical(slot_reset(slot_get(pointer)) == 0);
}

SEXP pyrmap_slot_empty(SEXP pointer)
{
    struct slot *slot = slot_get(pointer);
    return Rf_ScalarLogical(slot->idle || slot_reset(slot) == 0);
}

SEXP pyrmap_slot_bytes(SEXP pointer)
{
    return Rf_ScalarReal((double)slot_get(pointer)->result_bytes);
}
