// SPDX-License-Identifier: Apache-2.0
/*
 * test_requests.c - a whole server, as the kernel meets it: requests in, answers out. What only a broken kernel would
 * send is refused, and the server goes on.
 */
#include "../kernel/kernel.h"
#include "../kernel/served.h"
#include "slot/slot_file.h"
#include "suite.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const uint32_t modern = FUSE_INIT_EXT | FUSE_MAX_PAGES | FUSE_DO_READDIRPLUS;

static void begin(enum exchange_data_path data_path)
{
    struct served_options options = served_defaults();

    options.data_path = data_path;
    served_begin(&options);
    ck_assert(served_init(modern, UINT32_MAX));
    ck_assert_int_eq(exchange_data_path(served_ops()->exchange), data_path);
}

/* --- a client --- */

static int ask_name(uint32_t opcode, uint64_t parent, const char *name)
{
    return served_call(opcode, parent, name, strlen(name) + 1);
}

static uint64_t answered_node(void)
{
    struct fuse_entry_out entry;

    memcpy(&entry, kernel_answer()->bytes, sizeof(entry));
    return entry.nodeid;
}

static uint64_t make_slot(const char *name)
{
    char message[sizeof(struct fuse_mkdir_in) + 32] = {0};
    const struct fuse_mkdir_in in = {.mode = 0755};

    memcpy(message, &in, sizeof(in));
    strcpy(message + sizeof(in), name);
    ck_assert_int_eq(served_call(FUSE_MKDIR, FUSE_ROOT_ID, message, sizeof(in) + strlen(name) + 1), 0);
    return answered_node();
}

static uint64_t find(uint64_t directory, enum slot_file file)
{
    ck_assert_int_eq(ask_name(FUSE_LOOKUP, directory, slot_file_name(file)), 0);
    return answered_node();
}

/* 0 with an open file, SERVED_WAITS or -errno. */
static int try_open(uint64_t node, uint32_t flags, uint64_t *fh)
{
    const struct fuse_open_in in = {.flags = flags};
    int result = served_call(FUSE_OPEN, node, &in, sizeof(in));
    struct fuse_open_out out;

    memcpy(&out, kernel_answer()->bytes, sizeof(out));
    *fh = out.fh;
    return result;
}

static int write_bytes(uint64_t node, uint64_t fh, const void *bytes, size_t size)
{
    static char message[sizeof(struct fuse_write_in) + 4096];
    const struct fuse_write_in in = {.fh = fh, .size = (uint32_t)size};

    memcpy(message, &in, sizeof(in));
    memcpy(message + sizeof(in), bytes, size);
    return served_call(FUSE_WRITE, node, message, sizeof(in) + size);
}

static int read_bytes(uint64_t node, uint64_t fh, uint32_t size)
{
    const struct fuse_read_in in = {.fh = fh, .size = size};

    return served_call(FUSE_READ, node, &in, sizeof(in));
}

static int release(uint64_t node, uint64_t fh)
{
    const struct fuse_release_in in = {.fh = fh};

    return served_call(FUSE_RELEASE, node, &in, sizeof(in));
}

/* Flag and doubles in one write. Returns its answer. */
static int send_array(uint64_t directory, int32_t flag, double value)
{
    struct {
        struct record record;
        double values[4];
    } message = {.values = {value, value, value, value}};
    uint64_t node = find(directory, SLOT_METADATA_BIN), fh;
    int result;

    record_init(&message.record);
    message.record.flag = flag;
    message.record.dtype = RECORD_FLOAT64;
    message.record.input_length = message.record.result_length = 4;
    ck_assert_int_eq(try_open(node, O_WRONLY, &fh), 0);
    result = write_bytes(node, fh, &message, sizeof(message));
    ck_assert_int_eq(release(node, fh), 0);
    return result;
}

static void expect_doubles(double value)
{
    const double expected[4] = {value, value, value, value};

    ck_assert_uint_eq(kernel_answer()->size, sizeof(expected));
    ck_assert_mem_eq(kernel_answer()->bytes, expected, sizeof(expected));
}

/* --- tests --- */

static const enum exchange_data_path data_paths[] = {DATA_PATH_PASSTHROUGH, DATA_PATH_LINKS,
                                                     DATA_PATH_PAGE_CACHE};
enum { DATA_PATHS = 3 };

/* The reader of the result waits from before the worker begins, and has the worker's bytes then. */
START_TEST(test_round)
{
    uint64_t slot, result, fh;

    begin(data_paths[_i]);
    slot = make_slot("job");
    ck_assert_int_eq(send_array(slot, RECORD_FLAG_INPUT, 1), 0);
    result = find(slot, SLOT_RESULT_BIN);
    ck_assert_int_eq(try_open(result, O_RDONLY, &fh), SERVED_WAITS);
    ck_assert_uint_eq(kernel_pending(), 1);
    ck_assert_int_eq(send_array(slot, RECORD_FLAG_RESULT, 2), 0);
    ck_assert_uint_eq(kernel_pending(), 0);
    ck_assert_uint_eq(kernel_handles(), 1);
    ck_assert_int_eq(read_bytes(result, kernel_handle(0)->fh, 4096), 0);
    expect_doubles(2);
    served_end();
}
END_TEST

/* Only a kernel that is broken opens a directory, or a link, as a file. */
START_TEST(test_open_directory)
{
    uint64_t slot, source, fh;

    begin(DATA_PATH_PASSTHROUGH);
    slot = make_slot("a");
    source = make_slot("b");
    ck_assert_int_eq(served_call(FUSE_SYMLINK, source, "source\0../a/result.bin", 23), 0);
    source = answered_node();
    ck_assert_int_eq(ask_name(FUSE_LOOKUP, FUSE_ROOT_ID, ".pyrmap"), 0);
    ck_assert_int_eq(try_open(answered_node(), O_RDONLY, &fh), -EISDIR);
    ck_assert_int_eq(try_open(FUSE_ROOT_ID, O_RDONLY, &fh), -EISDIR);
    ck_assert_int_eq(try_open(slot, O_RDONLY, &fh), -EISDIR);
    ck_assert_int_eq(try_open(source, O_RDONLY, &fh), -EISDIR);
    ck_assert_uint_eq(kernel_handles(), 0);
    served_end();
}
END_TEST

/* A request that says more than it brings is refused, and nothing of it is done. */
START_TEST(test_cut_short)
{
    static const struct fuse_mkdir_in mode = {.mode = 0755};
    const struct kernel_caller caller = {0, 0, getpid()};
    char message[sizeof(mode) + 8];
    uint64_t node, fh;

    begin(DATA_PATH_PASSTHROUGH);
    memcpy(message, &mode, sizeof(mode));
    memcpy(message + sizeof(mode), "slot", 5);
    ck_assert_int_eq(served_call(FUSE_MKDIR, FUSE_ROOT_ID, message, 3), -EIO); /* in the mode */
    ck_assert_int_eq(served_call(FUSE_MKDIR, FUSE_ROOT_ID, message, sizeof(mode) + 4),
                     -EIO); /* in the name */
    ck_assert_int_eq(ask_name(FUSE_LOOKUP, FUSE_ROOT_ID, "slot"), -ENOENT);
    ck_assert_int_eq(ask_name(FUSE_LOOKUP, FUSE_ROOT_ID, "slo"), -ENOENT);
    ck_assert_int_eq(served_call(FUSE_MKDIR, FUSE_ROOT_ID, message, sizeof(mode) + 5), 0);
    node = answered_node();
    ck_assert_int_eq(served_call(FUSE_SYMLINK, node, "source\0../slot/data.bin", 23),
                     -EIO); /* in the second name */
    ck_assert_int_eq(ask_name(FUSE_LOOKUP, node, "source"), -ENOENT);
    node = find(node, SLOT_TASK);
    ck_assert_int_eq(try_open(node, O_WRONLY, &fh), 0);
    {
        const struct fuse_write_in in = {.fh = fh, .size = 5};
        const struct fuse_batch_forget_in batch = {.count = 2};
        char bytes[sizeof(in) + 4] = {0};

        memcpy(bytes, &in, sizeof(in));
        ck_assert_int_eq(served_call(FUSE_WRITE, node, bytes, sizeof(bytes)), -EIO);
        ck_assert_int_eq(served_call(FUSE_WRITE, node, bytes, sizeof(in) - 1), -EIO);
        kernel_send(FUSE_BATCH_FORGET, 0, &caller, &batch, sizeof(batch), 0);
        kernel_send(FUSE_INTERRUPT, 0, &caller, NULL, 0, 0);
        served_settle(SERVED_WITH_JOBS);
        ck_assert_uint_eq(kernel_pending(), 0);
    }
    ck_assert_int_eq(release(node, fh), 0);
    ck_assert_int_eq(try_open(node, O_RDONLY, &fh), 0);
    ck_assert_int_eq(read_bytes(node, fh, 100), 0);
    ck_assert_uint_eq(kernel_answer()->size, 0); /* the task is empty */
    served_end();
}
END_TEST

/* Offsets are numbers without a sign in a request, and with one behind it: those that change their sign are refused. */
START_TEST(test_outside_of_files)
{
    static const enum slot_file files[] = {SLOT_METADATA_BIN, SLOT_METADATA_MEM, SLOT_METADATA_TXT,
                                           SLOT_TASK,         SLOT_ERROR,        SLOT_DATA_BIN};
    static const uint64_t offsets[] = {UINT64_MAX, UINT64_MAX - 4095, 1ULL << 63, INT64_MAX};
    uint64_t slot, fh;

    begin(DATA_PATH_PAGE_CACHE);
    slot = make_slot("job");
    ck_assert_int_eq(send_array(slot, RECORD_FLAG_INPUT, 1), 0);
    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        uint64_t node = find(slot, files[i]);

        ck_assert_int_eq(try_open(node, O_RDONLY, &fh), 0);
        for (unsigned k = 0; k < sizeof(offsets) / sizeof(offsets[0]); k++) {
            const struct fuse_read_in read = {.fh = fh, .offset = offsets[k], .size = 4096};
            const struct fuse_fallocate_in grow = {.fh = fh, .offset = offsets[k], .length = 4096};
            struct {
                struct fuse_write_in in;
                char byte[8];
            } write = {.in = {.fh = fh, .offset = offsets[k], .size = 1}};

            ck_assert_int_eq(served_call(FUSE_READ, node, &read, sizeof(read)), -EIO);
            ck_assert_int_eq(served_call(FUSE_FALLOCATE, node, &grow, sizeof(grow)), -EIO);
            ck_assert_int_eq(served_call(FUSE_WRITE, node, &write, sizeof(write)), -EIO);
        }
        ck_assert_int_eq(release(node, fh), 0);
    }
    for (unsigned k = 0; k < 3; k++) {
        const struct fuse_setattr_in size = {.valid = FATTR_SIZE, .size = offsets[k]};
        const struct fuse_read_in list = {.offset = offsets[k], .size = 4096};

        ck_assert_int_eq(served_call(FUSE_SETATTR, slot, &size, sizeof(size)), -EIO);
        ck_assert_int_eq(served_call(FUSE_READDIR, slot, &list, sizeof(list)), -EIO);
    }
    served_end();
}
END_TEST

/* A file that was opened for reading takes no bytes, whichever file it is. */
START_TEST(test_write_to_a_reader)
{
    uint64_t slot, fh;

    begin(data_paths[_i]);
    slot = make_slot("job");
    ck_assert_int_eq(send_array(slot, RECORD_FLAG_INPUT, 1), 0);
    ck_assert_int_eq(send_array(slot, RECORD_FLAG_RESULT, 2), 0);
    for (enum slot_file file = SLOT_METADATA_BIN; file < SLOT_SOURCE; file++) {
        struct fuse_fallocate_in grow = {.length = 4096};
        uint64_t node = find(slot, file);

        if (file == SLOT_METADATA_MEM && data_paths[_i] == DATA_PATH_LINKS)
            continue; /* a link there */
        ck_assert_int_eq(try_open(node, O_RDONLY, &fh), 0);
        grow.fh = fh;
        ck_assert_int_eq(write_bytes(node, fh, "self\n", 5), -EBADF);
        ck_assert_int_eq(served_call(FUSE_FALLOCATE, node, &grow, sizeof(grow)), -EBADF);
        ck_assert_int_eq(release(node, fh), 0);
    }
    ck_assert_int_eq(ask_name(FUSE_LOOKUP, FUSE_ROOT_ID, ".pyrmap"), 0);
    ck_assert_int_eq(ask_name(FUSE_LOOKUP, answered_node(), "status"), 0);
    slot = answered_node();
    ck_assert_int_eq(try_open(slot, O_RDONLY, &fh), 0);
    ck_assert_int_eq(write_bytes(slot, fh, "self\n", 5), -EBADF);
    ck_assert_int_eq(release(slot, fh), 0);
    served_end();
}
END_TEST

/*
 * After a takeover the kernel may tell of a signal before it sends the request again that the signal is for: an open
 * that would wait ends at once, and one that need not is answered as ever.
 */
START_TEST(test_interrupted_before)
{
    const struct kernel_caller caller = {0, 0, getpid()};
    const struct fuse_open_in open = {.flags = O_RDONLY};
    enum { SIGNALS = 8 }; /* for the next requests, whose numbers go on in steps of two */
    uint64_t slot, result, task, last;
    struct fuse_interrupt_in in;

    begin(data_paths[_i]);
    slot = make_slot("job");
    result = find(slot, SLOT_RESULT_BIN);
    task = find(slot, SLOT_TASK);
    last = kernel_answer()->unique;
    for (uint64_t i = 1; i <= SIGNALS; i++) {
        in.unique = last + 2 * (SIGNALS + i);
        kernel_send(FUSE_INTERRUPT, 0, &caller, &in, sizeof(in), 0);
    }
    served_settle(SERVED_WITH_JOBS);
    ck_assert_int_eq(served_call(FUSE_OPEN, result, &open, sizeof(open)), -EINTR);
    ck_assert_uint_eq(kernel_answer()->unique, last + 2 * (SIGNALS + 1));
    ck_assert_int_eq(served_call(FUSE_OPEN, task, &open, sizeof(open)), 0);
    ck_assert_uint_eq(kernel_pending(), 0);
    served_end(); /* some of them name requests that never come */
}
END_TEST

/* Before Linux 5.17 INIT had 16 bytes, and no second half of the flags. */
START_TEST(test_old_kernel)
{
    const struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = 128 << 10};
    struct served_options options = served_defaults();

    served_begin(&options);
    ck_assert_int_eq(served_call(FUSE_INIT, 0, &init, 16), 0);
    make_slot("job");
    ck_assert_int_eq(exchange_data_path(served_ops()->exchange), DATA_PATH_LINKS);
    served_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("requests");
    TCase *test_case = tcase_create("requests");

    tcase_set_timeout(test_case, 60);
    tcase_add_loop_test(test_case, test_round, 0, DATA_PATHS);
    tcase_add_test(test_case, test_open_directory);
    tcase_add_test(test_case, test_cut_short);
    tcase_add_test(test_case, test_outside_of_files);
    tcase_add_loop_test(test_case, test_write_to_a_reader, 0, DATA_PATHS);
    tcase_add_loop_test(test_case, test_interrupted_before, 0, DATA_PATHS);
    tcase_add_test(test_case, test_old_kernel);
    suite_add_tcase(suite, test_case);
    return suite_run(suite);
}
