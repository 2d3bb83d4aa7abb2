// SPDX-License-Identifier: Apache-2.0
/*
 * Requests as the kernel sends them, in any order and with anything in them, to a server that has no kernel: each
 * gets one answer of the right form, the table of slots stays sound, and when all clients are gone nothing is
 * left of what they had.
 *
 * The input is a program of steps. Most of them build on what the kernel was told before, its nodeids and open
 * files, so that they get far; some are bytes as they come.
 */
#include "table.h"

#include "../kernel/kernel.h"
#include "../kernel/served.h"
#include <fcntl.h>
#include <unistd.h>

enum { KIB = 1024, IN_A_ROW = 8, CARRIED_MAX = 3 * KIB, UNSEEN_MAX = 64 * KIB };

static struct stream *input;
static unsigned in_a_row; /* requests that the server has not seen yet */

static uint32_t take32(void)
{
    uint32_t value;

    stream_take(input, &value, sizeof(value));
    return value;
}

static uint64_t take64(void)
{
    uint64_t value;

    stream_take(input, &value, sizeof(value));
    return value;
}

/* A small number most of the time, and now and then any. */
static uint64_t take_number(void)
{
    static const uint64_t edges[] = {
        0,       1,          4095,       4096,      65536,     RECORD_TAKE_INPUT, RECORD_TAKE_RESULT,
        1 << 20, UINT32_MAX, 1ULL << 40, INT64_MAX, UINT64_MAX};
    uint8_t choice = stream_byte(input);

    if (choice < 160)
        return choice;
    if (choice < 200)
        return (uint64_t)choice << 6;
    if (choice < 240)
        return edges[choice % (sizeof(edges) / sizeof(edges[0]))];
    return take64();
}

/* --- whom and what a request is about --- */

static struct kernel_caller take_caller(void)
{
    uint8_t choice = stream_byte(input);
    uid_t uid = served_users[choice % SERVED_USERS];

    return (struct kernel_caller){uid, uid, choice < 200 ? getpid() : choice < 240 ? 0 : (pid_t)take32()};
}

static const char *slot_name(unsigned choice)
{
    static const char *const names[] = {"a", "b", "c", "d", ".pyrmap"};

    return names[choice % 5];
}

static const char *file_name(unsigned choice)
{
    static const char *const others[] = {"status", "metrics", "config", "graph", "chains",
                                         "events", ".",       "..",     "x/y",   ""};

    return choice < 2 * SLOT_FILES ? slot_file_name((enum slot_file)(choice % SLOT_FILES))
                                   : others[choice % 10];
}

/* Appends a name and its NUL to the message; returns its length with that. */
static size_t take_name(char *to)
{
    uint8_t choice = stream_byte(input);
    const char *name = NULL;
    size_t length;

    if (choice < 100)
        name = slot_name(choice);
    else if (choice < 220)
        name = file_name(choice - 100);
    if (name) {
        length = strlen(name);
        memcpy(to, name, length);
    } else if (choice < 230) {
        length = 250 + choice % 10u;
        memset(to, 'n', length);
    } else {
        length = choice % 16u;
        stream_take(input, to, length);
    }
    to[length] = '\0';
    return length + 1;
}

static uint64_t take_node(void)
{
    uint8_t choice = stream_byte(input);

    if (choice < 40)
        return FUSE_ROOT_ID;
    if (choice < 248)
        return kernel_node(choice % KERNEL_NODES % 12);
    return take64();
}

/* An open file. The request for it is about the inode that it was opened under. */
static uint64_t take_handle(uint64_t *nodeid)
{
    uint8_t choice = stream_byte(input);
    const struct kernel_handle *handle =
        choice < 248 && kernel_handles() > 0 ? kernel_handle(choice % kernel_handles()) : NULL;

    if (handle) {
        *nodeid = handle->nodeid;
        return handle->fh;
    }
    *nodeid = take_node();
    return choice & 1 ? take64() : choice;
}

/* --- sending --- */

static uint64_t ask(uint32_t opcode, uint64_t nodeid, const void *body, size_t size)
{
    struct kernel_caller caller = take_caller();
    uint8_t manner = stream_byte(input);
    size_t cut = manner >= 250 ? 1u + stream_byte(input) % 48u : 0;
    uint64_t unique = manner % 32 == 31 ? kernel_send_again(opcode, nodeid, &caller, body, size, cut)
                                        : kernel_send(opcode, nodeid, &caller, body, size, cut);

    if (manner % 8 > 1 || ++in_a_row == IN_A_ROW) {
        served_settle(manner % 8 > 3 ? SERVED_WITH_JOBS : SERVED_REQUESTS);
        in_a_row = 0;
    }
    return unique;
}

/* What follows a nodeid that this returns depends on the answer: 0 if there was none. */
static uint64_t look_up(uint64_t parent, const char *name)
{
    const struct kernel_caller caller = {0, 0, getpid()};
    uint64_t unique = kernel_send(FUSE_LOOKUP, parent, &caller, name, strlen(name) + 1, 0);
    struct fuse_entry_out entry;

    served_settle(SERVED_REQUESTS);
    in_a_row = 0;
    if (!unique || kernel_answer()->unique != unique || kernel_answer()->error != 0)
        return 0;
    memcpy(&entry, kernel_answer()->bytes, sizeof(entry));
    return entry.nodeid;
}

static uint64_t walk(uint8_t slot, uint8_t file)
{
    uint64_t directory = look_up(FUSE_ROOT_ID, slot_name(slot));

    return directory ? look_up(directory, file_name(file)) : 0;
}

/* --- steps --- */

static void do_name(void)
{
    static const uint32_t opcodes[] = {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR};
    char name[300];
    uint32_t opcode = opcodes[stream_byte(input) % 3];
    uint64_t node = take_node();

    ask(opcode, node, name, take_name(name));
}

static void do_make(void)
{
    char message[400] = {0};
    uint8_t choice = stream_byte(input);

    if (choice < 200) {
        struct fuse_mkdir_in in = {.mode = choice < 150 ? 0777 : choice};

        memcpy(message, &in, sizeof(in));
        ask(FUSE_MKDIR, choice < 180 ? FUSE_ROOT_ID : take_node(), message,
            sizeof(in) + take_name(message + sizeof(in)));
    } else if (choice < 220) {
        struct fuse_mknod_in in = {.mode = 0100644};

        memcpy(message, &in, sizeof(in));
        ask(FUSE_MKNOD, take_node(), message, sizeof(in) + take_name(message + sizeof(in)));
    } else if (choice < 240) {
        struct fuse_create_in in = {.flags = take32()};

        memcpy(message, &in, sizeof(in));
        ask(FUSE_CREATE, take_node(), message, sizeof(in) + take_name(message + sizeof(in)));
    } else {
        struct fuse_link_in in = {.oldnodeid = take_node()};

        memcpy(message, &in, sizeof(in));
        ask(FUSE_LINK, take_node(), message, sizeof(in) + take_name(message + sizeof(in)));
    }
}

static void do_rename(void)
{
    char message[700];
    uint8_t choice = stream_byte(input);
    uint64_t from = FUSE_ROOT_ID, to = FUSE_ROOT_ID;
    struct fuse_rename2_in in = {0};
    size_t at = choice & 1 ? sizeof(struct fuse_rename_in) : sizeof(in);

    if (choice > 100) { /* a result that becomes an input */
        from = look_up(FUSE_ROOT_ID, slot_name(choice));
        to = look_up(FUSE_ROOT_ID, slot_name(choice / 5));
    }
    in.newdir = to;
    in.flags = choice % 16 == 15 ? take32() : choice / 4 % 2;
    memcpy(message, &in, at);
    if (choice > 100 && choice < 230) {
        memcpy(message + at, "result.bin\0data.bin", 20);
        at += 20;
    } else {
        at += take_name(message + at);
        at += take_name(message + at);
    }
    ask(choice & 1 ? FUSE_RENAME : FUSE_RENAME2, from, message, at);
}

static void do_chain(void)
{
    char message[400];
    uint8_t choice = stream_byte(input);
    uint64_t directory = choice < 240 ? look_up(FUSE_ROOT_ID, slot_name(choice)) : take_node();
    size_t at = 7;

    memcpy(message, "source", 7);
    if (choice < 230)
        at += (size_t)snprintf(message + at, 100, "../%s/%s", slot_name(choice / 5),
                               choice & 1 ? "result.bin" : "data.bin") +
              1;
    else
        at += take_name(message + at);
    if (choice >= 250) {
        at = take_name(message);
        at += take_name(message + at);
    }
    ask(FUSE_SYMLINK, directory, message, at);
}

static void open_node(uint64_t node)
{
    uint8_t choice = stream_byte(input);
    struct fuse_open_in in = {.flags = (uint32_t[]){O_RDONLY, O_WRONLY, O_RDWR, O_RDWR}[choice & 3]};

    if (choice & 4)
        in.flags |= O_NONBLOCK;
    if (choice & 8 && choice & 3)
        in.flags |= O_TRUNC;
    if (choice & 16 && choice & 3)
        in.flags |= O_APPEND;
    if (choice > 250)
        in.flags = take32();
    ask(FUSE_OPEN, node, &in, sizeof(in));
}

static void do_open(void)
{
    uint8_t choice = stream_byte(input);

    open_node(choice < 50 ? take_node() : walk(choice, stream_byte(input)));
}

static void do_read(void)
{
    uint8_t choice = stream_byte(input);
    uint64_t nodeid;
    struct fuse_read_in in = {.fh = take_handle(&nodeid)};

    in.offset = take_number();
    in.size = choice < 128 ? 4 * KIB : (uint32_t)(take_number() % (32 * KIB));
    in.flags = choice & 1 ? O_NONBLOCK : 0;
    ask(FUSE_READ, nodeid, &in, sizeof(in));
}

/* A record that is mostly right, for its slot's next step, and the array behind it. Returns its size. */
static size_t make_record(char *to)
{
    struct record record;
    uint8_t choice = stream_byte(input);
    uint32_t size = choice & 64 ? stream_byte(input) % 32u * 8 : 0;

    record_init(&record);
    record.flag = choice % 4 - 1;
    record.dtype = RECORD_FLOAT64;
    record.input_length = record.result_length = choice & 32 ? RECORD_LENGTH_ALL : (int64_t)(size / 8);
    if (choice >= 192)
        size = (uint32_t)(take_number() % CARRIED_MAX);
    if (choice % 16 == 15) { /* bytes anywhere in it */
        uint8_t at = stream_byte(input) % RECORD_SIZE;

        stream_take(input, (char *)&record + at, RECORD_SIZE - at < 12 ? (size_t)(RECORD_SIZE - at) : 12);
    }
    memcpy(to, &record, RECORD_SIZE);
    memset(to + RECORD_SIZE, choice, size);
    if (choice & 16)
        return choice & 64 ? RECORD_SIZE + size : 20;
    return RECORD_SIZE + size;
}

static size_t make_text(char *to)
{
    static const char *const lines[] = {"flag=0\n",
                                        "flag=1\n",
                                        "flag=-1\n",
                                        "flag=2\n",
                                        "dtype=int32\n",
                                        "input_shape=2x3\n",
                                        "input_length=4\n",
                                        "dtype=9\n",
                                        "self\n",
                                        "self once\n",
                                        "1\n",
                                        "0",
                                        "99999999999",
                                        "result_length=0\n"};
    uint8_t count = stream_byte(input);
    size_t size = 0;

    for (unsigned i = 0; i <= count % 4u; i++) {
        const char *line = lines[stream_byte(input) % (sizeof(lines) / sizeof(lines[0]))];

        memcpy(to + size, line, strlen(line));
        size += strlen(line);
    }
    if (count > 200) {
        stream_take(input, to + size, 16);
        size += 16;
    }
    if (count > 250) {
        memset(to + size, '\n', 5 * KIB);
        size += 5 * KIB;
    }
    return size;
}

static size_t make_bytes(char *to)
{
    size_t size = take_number() % (16 * KIB);

    memset(to, (int)(size & 255), size);
    stream_take(input, to, size < 8 ? size : 8);
    return size;
}

static void write_to(uint64_t nodeid, uint64_t fh)
{
    static char message[sizeof(struct fuse_write_in) + KERNEL_MESSAGE_MAX / 2];
    struct fuse_write_in in = {.fh = fh};
    uint8_t choice = stream_byte(input);
    char *bytes = message + sizeof(in);
    enum slot_file file = (enum slot_file)(nodeid >> 18 & 31); /* see nodeid.h */
    size_t size;

    if (choice >= 240)
        file = (enum slot_file)(choice % SLOT_FILES);
    if (file == SLOT_METADATA_BIN || file == 30)
        size = make_record(bytes);
    else if (file == SLOT_DATA_BIN || file == SLOT_RESULT_BIN)
        size = make_bytes(bytes);
    else
        size = make_text(bytes);
    in.size = (uint32_t)size;
    in.offset = choice < 192 ? 0 : take_number();
    in.flags = choice & 1 ? O_NONBLOCK : choice & 2 ? O_APPEND : 0;
    in.write_flags = choice % 16 == 5 ? FUSE_WRITE_CACHE : 0;
    memcpy(message, &in, sizeof(in));
    ask(FUSE_WRITE, nodeid, message, sizeof(in) + size);
}

static void do_write(void)
{
    uint64_t nodeid;
    uint64_t fh = take_handle(&nodeid);

    write_to(nodeid, fh);
}

/* Opens a file by its path, writes to it and closes it: a whole publish, or a bond, or a failure. */
static void do_put(void)
{
    uint8_t slot = stream_byte(input), choice = stream_byte(input);
    enum slot_file file =
        (enum slot_file[]){SLOT_METADATA_BIN, SLOT_METADATA_BIN, SLOT_METADATA_TXT, SLOT_DATA_BIN,
                           SLOT_RESULT_BIN,   SLOT_ERROR,        SLOT_OWNER,        SLOT_WORKER}[choice % 8];
    const struct kernel_caller caller = {0, 0, getpid()};
    const struct fuse_open_in in = {.flags = O_WRONLY | (choice & 64 ? O_NONBLOCK : 0)};
    uint64_t node = walk(slot, (uint8_t)file);
    uint64_t unique = node ? kernel_send(FUSE_OPEN, node, &caller, &in, sizeof(in), 0) : 0;
    struct fuse_open_out out;
    struct fuse_release_in release = {0};

    served_settle(SERVED_WITH_JOBS);
    if (!unique || kernel_answer()->unique != unique || kernel_answer()->error != 0)
        return;
    memcpy(&out, kernel_answer()->bytes, sizeof(out));
    write_to(node, out.fh);
    if (choice & 128)
        return;
    release.fh = out.fh;
    ask(FUSE_RELEASE, node, &release, sizeof(release));
}

static void do_release(void)
{
    uint64_t nodeid;
    struct fuse_release_in in = {.fh = take_handle(&nodeid)};

    ask(FUSE_RELEASE, nodeid, &in, sizeof(in));
}

static void do_getattr(void)
{
    struct fuse_getattr_in in = {0};
    uint64_t node = take_node();

    if (stream_byte(input) & 1) {
        in.getattr_flags = FUSE_GETATTR_FH;
        in.fh = take_handle(&node);
    }
    ask(FUSE_GETATTR, node, &in, sizeof(in));
}

static void do_setattr(void)
{
    uint8_t choice = stream_byte(input);
    struct fuse_setattr_in in = {.valid = choice < 120 ? FATTR_SIZE : choice < 160 ? FATTR_MODE : take32()};
    uint64_t node;

    if (choice & 1) {
        in.valid |= FATTR_FH;
        in.fh = take_handle(&node);
    } else {
        node = take_node();
    }
    in.size = take_number();
    in.mode = (uint32_t)take_number();
    in.uid = choice & 2 ? 1000 : 0;
    in.gid = in.uid;
    in.mtime = in.atime = in.size;
    ask(FUSE_SETATTR, node, &in, sizeof(in));
}

static void do_fallocate(void)
{
    uint64_t nodeid;
    struct fuse_fallocate_in in = {.fh = take_handle(&nodeid)};

    in.offset = take_number();
    in.length = take_number();
    in.mode = stream_byte(input) % 4;
    ask(FUSE_FALLOCATE, nodeid, &in, sizeof(in));
}

static void do_poll(void)
{
    uint64_t nodeid;
    struct fuse_poll_in in = {.fh = take_handle(&nodeid)};

    in.kh = stream_byte(input) % 8;
    in.flags = stream_byte(input) & 3 ? FUSE_POLL_SCHEDULE_NOTIFY : 0;
    in.events = take32();
    ask(FUSE_POLL, nodeid, &in, sizeof(in));
}

static void do_list(void)
{
    uint8_t choice = stream_byte(input);
    struct fuse_read_in in = {.size = choice < 200 ? 4 * KIB : stream_byte(input)};

    in.offset = choice & 2 ? take_number() : 0;
    ask(choice & 1 ? FUSE_READDIRPLUS : FUSE_READDIR, take_node(), &in, sizeof(in));
}

static void do_forget(void)
{
    struct {
        struct fuse_batch_forget_in in;
        struct fuse_forget_one one[3];
    } batch = {.in.count = stream_byte(input)};

    if (batch.in.count < 128) {
        struct fuse_forget_in in = {.nlookup = take64()};

        ask(FUSE_FORGET, take_node(), &in, sizeof(in));
        return;
    }
    for (int i = 0; i < 3; i++)
        batch.one[i] = (struct fuse_forget_one){take_node(), 1};
    if (batch.in.count < 250)
        batch.in.count = 3;
    ask(FUSE_BATCH_FORGET, 0, &batch, sizeof(batch));
}

static void do_interrupt(void)
{
    uint8_t choice = stream_byte(input);
    struct fuse_interrupt_in in = {.unique = choice < 240 && kernel_pending() > 0
                                                 ? kernel_pending_at(choice % kernel_pending())
                                                 : take_number()};

    ask(FUSE_INTERRUPT, 0, &in, sizeof(in));
}

static void do_readlink(void)
{
    static char target[KIB];
    uint64_t node = stream_byte(input) & 1 ? take_node() : walk(stream_byte(input), SLOT_DATA_LINK);
    uint64_t unique = ask(FUSE_READLINK, node, NULL, 0);
    const struct kernel_answer *answer = kernel_answer();

    if (!unique || answer->unique != unique || answer->error != 0 || answer->size >= sizeof(target))
        return;
    memcpy(target, answer->bytes, answer->size);
    target[answer->size] = '\0';
    if (strncmp(target, "/proc/", 6) == 0)
        kernel_map_path(target);
}

/* Requests that the server leaves to libfuse, and bytes as they come. */
static void do_raw(void)
{
    static const uint32_t opcodes[] = {
        FUSE_STATFS,   FUSE_FSYNC,     FUSE_FLUSH,           FUSE_ACCESS,     FUSE_LSEEK,
        FUSE_GETXATTR, FUSE_LISTXATTR, FUSE_OPENDIR,         FUSE_RELEASEDIR, FUSE_SETXATTR,
        FUSE_GETLK,    FUSE_IOCTL,     FUSE_REMOVEXATTR,     FUSE_BMAP,       FUSE_FSYNCDIR,
        FUSE_INIT,     FUSE_SETLK,     FUSE_COPY_FILE_RANGE, FUSE_DESTROY};
    static char body[256];
    uint8_t choice = stream_byte(input);
    uint32_t opcode = choice < 200   ? opcodes[choice % (sizeof(opcodes) / sizeof(opcodes[0]))]
                      : choice < 250 ? choice - 200u
                                     : take32();
    size_t size = stream_byte(input) % 128u;

    memset(body, 0, sizeof(body));
    stream_take(input, body, size);
    ask(opcode, take_node(), body, choice & 1 ? size : 128);
}

static void do_memory(void)
{
    uint8_t choice = stream_byte(input);
    unsigned handle = kernel_handles() > 0 ? choice / 4 % kernel_handles() : 0;
    static char bytes[256];

    switch (choice & 3) {
    case 0:
        kernel_map(handle);
        break;
    case 1:
        kernel_unmap();
        break;
    default:
        memset(bytes, choice, sizeof(bytes));
        kernel_store(handle, take_number() % UNSEEN_MAX, bytes, sizeof(bytes));
    }
}

static void step(void)
{
    static void (*const steps[])(void) = {
        do_name,  do_make, do_make,   do_rename,    do_chain,    do_open,    do_open,    do_read,
        do_write, do_put,  do_put,    do_put,       do_release,  do_getattr, do_setattr, do_fallocate,
        do_poll,  do_list, do_forget, do_interrupt, do_readlink, do_raw,     do_memory};

    steps[stream_byte(input) % (sizeof(steps) / sizeof(steps[0]))]();
}

static void begin(uint8_t choice)
{
    struct served_options options = served_defaults();

    options.data_path =
        (enum exchange_data_path[]){DATA_PATH_PASSTHROUGH, DATA_PATH_LINKS, DATA_PATH_PAGE_CACHE}[choice % 3];
    options.no_waiting = choice % 16 == 15;
    if (choice & 16) {
        options.capacity = 1 << 20;
        options.bytes_per_user = 256 * KIB;
        options.slots_per_user = 3;
        options.open_per_user = 6;
        options.memory_per_user = 4 * KIB;
    }
    served_begin(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint32_t flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS |
                           FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_INIT_EXT;
    struct stream stream = {data, size};
    uint8_t choice = stream_byte(&stream);

    input = &stream;
    in_a_row = 0;
    begin(choice);
    /* A kernel that offers passthrough, and one that has never heard of it. */
    if (served_init(choice >= 240 ? take32()
                    : choice & 32 ? flags & ~(uint32_t)FUSE_INIT_EXT
                                  : flags,
                    UINT32_MAX)) {
        while (stream.size > 0 && !served_is_over()) {
            step();
            if (in_a_row == 0)
                check_table(exchange_slots(served_ops()->exchange));
        }
    }
    served_end();
    return 0;
}
