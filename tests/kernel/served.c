// SPDX-License-Identifier: Apache-2.0
#include "served.h"

#include "base/cgroup.h"
#include "base/log.h"
#include "base/process.h"
#include "daemon/mount.h"
#include "fuse/follow.h"
#include "fuse/held.h"
#include "fuse/notify.h"
#include "kernel.h"
#include "slot/restore.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

const uid_t served_users[SERVED_USERS] = {0, 1000, 1001};

static struct served {
    struct conf conf;
    struct session kept;
    struct request_ops ops;
    struct loop *loop;
    struct slots *slots;
    struct loop_source requests, completions, idle;
    enum served_depth depth;
    bool serves, is_over;
} served;

/* --- the loop stops where it would sleep, and the device is a socket: see the Makefile --- */

int __real_epoll_wait(int epoll, struct epoll_event *events, int room, int timeout);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int room, int timeout);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int room, int timeout)
{
    int count = __real_epoll_wait(epoll, events, room, 0);

    (void)timeout;
    kernel_receive();
    if (count != 0)
        return count;
    events[0] = (struct epoll_event){.events = EPOLLIN, .data.ptr = &served.idle};
    return 1;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    void *argument;
    va_list rest;

    va_start(rest, request);
    argument = va_arg(rest, void *);
    va_end(rest);
    if (request == TRANSPORT_BACKING_OPEN || request == TRANSPORT_BACKING_CLOSE)
        return kernel_ioctl(request, argument);
    return __real_ioctl(fd, request, argument);
}

static bool has_jobs(void)
{
    return background_busy(served.ops.background, BACKGROUND_URGENT) ||
           background_busy(served.ops.background, BACKGROUND_IDLE);
}

static void idle_ready(struct loop_source *source)
{
    (void)source;
    if (served.depth == SERVED_WITH_JOBS && has_jobs())
        background_drain(served.ops.background);
    else
        loop_stop(served.loop, 0);
}

static void completions_ready(struct loop_source *source)
{
    (void)source;
    background_dispatch(served.ops.background);
}

static void requests_ready(struct loop_source *source)
{
    char error[CONF_ERROR_MAX] = "";

    (void)source;
    switch (transport_serve(served.ops.transport)) {
    case TRANSPORT_IDLE:
        break;
    case TRANSPORT_UNMOUNTED:
        KERNEL_EXPECT(fuse_session_exited(served.ops.session)); /* libfuse did not agree on terms */
        served.is_over = true;
        loop_remove(served.loop, &served.requests);
        loop_stop(served.loop, 0);
        break;
    case TRANSPORT_INITIALISED:
        KERNEL_EXPECT(ops_settle_data_path(&served.ops, error) == 0);
        KERNEL_EXPECT(exchange_restore(served.ops.exchange, EXCHANGE_RESTARTS, error) == 0);
        exchange_go_on(served.ops.exchange, EXCHANGE_RESTARTS);
        served.serves = true;
    }
}

static void commit(void *context)
{
    (void)context;
    if (served.ops.exchange)
        exchange_commit(served.ops.exchange);
}

/* --- beginning --- */

struct served_options served_defaults(void)
{
    return (struct served_options){.data_path = DATA_PATH_PASSTHROUGH,
                                   .capacity = 8 * MIB,
                                   .slots_per_user = 100,
                                   .open_per_user = 100,
                                   .memory_per_user = 4 * MIB};
}

static void configure(const struct served_options *options)
{
    struct conf *conf = &served.conf;

    conf_init(conf);
    conf->arena_kind = CONF_ARENA_MEMFD;
    conf->capacity = options->capacity;
    conf->warm = options->capacity / 16;
    conf->wait = !options->no_waiting;
    conf->slots = 100;
    conf->slots_per_user = options->slots_per_user;
    conf->bytes_per_user = options->bytes_per_user;
    conf->open_per_user = options->open_per_user;
    conf->memory_per_user = options->memory_per_user;
    conf->passthrough = options->data_path == DATA_PATH_PASSTHROUGH ? CONF_AUTO : CONF_OFF;
    conf->links = options->data_path == DATA_PATH_PAGE_CACHE ? CONF_LINKS_OFF : CONF_LINKS_AUTO;
}

static void open_arena(void)
{
    char error[ARENA_ERROR_MAX];
    const struct arena_options options = {
        .kind = ARENA_MEMFD,
        .capacity = served.conf.capacity,
        .warm = served.conf.warm,
        .files = slots_bytes(served.conf.slots),
        .kept = &served.kept.arena,
        .background = served.ops.background,
        .forget_backing = notify_forget_backing,
        .freed = notify_segment_freed,
        .keeps_descriptor = notify_segment_keeps_descriptor,
        .context = &served.ops,
    };

    KERNEL_EXPECT(arena_open(&served.ops.arena, &options, error) == 0);
    KERNEL_EXPECT(slots_open(&served.slots, served.ops.arena, served.conf.slots, error) == 0);
}

static void watch(struct loop_source *source, int fd, void (*ready)(struct loop_source *))
{
    source->fd = fd;
    source->ready = ready;
    KERNEL_EXPECT(loop_add(served.loop, source) == 0);
}

void served_begin(const struct served_options *options)
{
    struct request_ops *ops = &served.ops;
    struct exchange_hooks hooks = notify_hooks;
    const struct exchange_limits limits = {.no_waiting = options->no_waiting,
                                           .slots_per_user = options->slots_per_user,
                                           .bytes_per_user = options->bytes_per_user};
    static bool is_first = true;
    char error[CONF_ERROR_MAX];

    if (is_first) {
        log_open(LOG_TO_STDERR, LOG_LEVEL_ERROR);
        process_open_proc();
        cgroup_open();
        is_first = false;
    }
    memset(&served, 0, sizeof(served));
    served.idle.ready = idle_ready;
    configure(options);
    ops->conf = &served.conf;
    ops->kept = &served.kept;
    ops->mountpoint = "/mnt/pyrmap";
    hooks.context = ops;
    KERNEL_EXPECT(session_open(&served.kept) == 0);
    ops->session = mount_again(ops, kernel_begin(), error);
    KERNEL_EXPECT(ops->session);
    journal_init(&ops->journal, ops->kept);
    KERNEL_EXPECT(loop_init(&served.loop) == 0);
    KERNEL_EXPECT(background_init(&ops->background) == 0);
    watch(&served.completions, background_fd(ops->background), completions_ready);
    KERNEL_EXPECT(turn_queue_init(&ops->turns, served.loop) == 0);
    ops->quota = quota_new();
    KERNEL_EXPECT(ops->quota);
    open_arena();
    KERNEL_EXPECT(transport_init(&ops->transport, ops->session, &ops->journal, served.conf.passthrough,
                                 TRANSPORT_STACK_PLAIN) == 0);
    KERNEL_EXPECT(exchange_init(&ops->exchange, served.slots, ops->arena, served.loop, &limits, &hooks) == 0);
    KERNEL_EXPECT(held_init(ops) == 0);
    KERNEL_EXPECT(follow_init(ops) == 0);
    watch(&served.requests, fuse_session_fd(ops->session), requests_ready);
    transport_before_reply(ops->transport, commit, ops);
    request_init(ops);
}

struct request_ops *served_ops(void)
{
    return &served.ops;
}

bool served_is_over(void)
{
    return served.is_over;
}

void served_settle(enum served_depth depth)
{
    if (served.is_over)
        return;
    served.depth = depth;
    KERNEL_EXPECT(loop_run(served.loop) == 0);
    kernel_receive();
}

int served_call(uint32_t opcode, uint64_t nodeid, const void *body, size_t size)
{
    const struct kernel_caller caller = {getuid(), getgid(), getpid()};
    uint64_t unique = kernel_send(opcode, nodeid, &caller, body, size, 0);

    served_settle(SERVED_WITH_JOBS);
    return kernel_answer()->unique == unique ? kernel_answer()->error : SERVED_WAITS;
}

bool served_init(uint32_t flags, uint32_t flags2)
{
    const struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
                                      .minor = FUSE_KERNEL_MINOR_VERSION,
                                      .max_readahead = 128 << 10,
                                      .flags = flags,
                                      .flags2 = flags2};

    return served_call(FUSE_INIT, 0, &init, sizeof(init)) == 0 && served.serves;
}

/* --- the end --- */

static void interrupt_all(void)
{
    const struct kernel_caller caller = {0};

    while (kernel_pending() > 0) {
        struct fuse_interrupt_in in = {.unique = kernel_pending_at(0)};
        unsigned before = kernel_pending();

        kernel_send(FUSE_INTERRUPT, 0, &caller, &in, sizeof(in), 0);
        served_settle(SERVED_WITH_JOBS);
        KERNEL_EXPECT(kernel_pending() < before);
    }
}

/*
 * libfuse keeps those that name no request. Each request takes one of them: the one that names it, which has no answer
 * then, or any.
 */
static void take_early_interrupts(void)
{
    for (unsigned i = kernel_interrupts(); i > 0; i--)
        KERNEL_EXPECT(served_call(FUSE_STATFS, FUSE_ROOT_ID, NULL, 0) == 0);
}

static void remove_all(void)
{
    const struct kernel_handle *handle;
    struct slot *slot;

    while ((handle = kernel_handle(0))) {
        struct fuse_release_in in = {.fh = handle->fh};

        KERNEL_EXPECT(served_call(FUSE_RELEASE, handle->nodeid, &in, sizeof(in)) == 0);
    }
    while ((slot = slot_after(served.slots, 0)))
        KERNEL_EXPECT(served_call(FUSE_RMDIR, FUSE_ROOT_ID, slot->name, strlen(slot->name) + 1) == 0);
}

static void expect_no_share(void *context, const struct quota_share *share)
{
    (void)context;
    KERNEL_EXPECT(share->slots == 0 && share->bytes == 0);
}

/* Whoever has nothing open, or no memory of ours, may have one file, and any amount of memory: see quota.h. */
static void expect_no_use(uid_t uid)
{
    KERNEL_EXPECT(quota_add_open(served.ops.quota, uid, 1) == 0);
    KERNEL_EXPECT(quota_hold(served.ops.quota, uid, 2, 1) == 0);
}

static uint64_t index_bytes(void)
{
    struct stat status;

    KERNEL_EXPECT(fstat(slots_fd(served.slots), &status) == 0);
    return (uint64_t)status.st_blocks * 512;
}

static bool is_empty(const struct keep *keep)
{
    return !keep_next(keep, &(uint32_t){0});
}

static void expect_empty(void)
{
    struct ledger_usage usage;

    while (kernel_unmap())
        continue;
    arena_usage(served.ops.arena, &usage);
    served_settle(SERVED_WITH_JOBS);
    quota_visit(exchange_quota(served.ops.exchange), QUOTA_USER, expect_no_share, NULL);
    quota_visit(exchange_quota(served.ops.exchange), QUOTA_JOB, expect_no_share, NULL);
    for (size_t i = 0; i < sizeof(served_users) / sizeof(served_users[0]); i++)
        expect_no_use(served_users[i]);
    KERNEL_EXPECT(slots_count(served.slots) == 0);
    KERNEL_EXPECT(exchange_counts(served.ops.exchange)->waiters == 0);
    arena_usage(served.ops.arena, &usage);
    KERNEL_EXPECT(usage.used == 0 && usage.warm <= served.conf.warm);
    KERNEL_EXPECT(usage.files == index_bytes());
    KERNEL_EXPECT(is_empty(&served.kept.handles) && is_empty(&served.kept.known));
    KERNEL_EXPECT(kernel_backings() == 0);
}

static void close_parts(void)
{
    struct request_ops *ops = &served.ops;

    background_drain(ops->background);
    ops->closing = true;
    turn_queue_deinit(ops->turns, served.loop);
    follow_deinit(ops);
    held_deinit(ops);
    daemon_files_deinit(&ops->files);
    exchange_deinit(ops->exchange);
    ops->exchange = NULL;
    slots_close(served.slots);
    arena_close(ops->arena, ARENA_REMOVE);
    background_deinit(ops->background);
    transport_deinit(ops->transport);
    loop_deinit(served.loop);
    quota_free(ops->quota);
    free(ops->handles);
    fuse_session_destroy(ops->session);
    keep_close(&served.kept.heads);
    keep_close(&served.kept.handles);
    keep_close(&served.kept.known);
    keep_close(&served.kept.arena.places);
    keep_close(&served.kept.arena.files);
    keep_close(&served.kept.arena.segments);
}

void served_end(void)
{
    if (served.serves && !served.is_over) {
        served_settle(SERVED_WITH_JOBS);
        interrupt_all();
        remove_all();
        take_early_interrupts();
        expect_empty();
    }
    kernel_end();
    close_parts();
}
