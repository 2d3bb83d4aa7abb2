// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - options, configuration, and off it goes.
 *
 * The modules, from here downwards; an arrow never points up:
 *
 *   main -> supervisor -> mount, server      the mount point, the processes, the loop's parts
 *   server -> ops -> ops_name, _attr, _file  the kernel's requests: the table, and a file for each kind
 *   ops_* -> parked, seek, stored            requests that are answered later, or not at all
 *   ops_* -> attributes, notify, nodeid      what stat shows; what we tell unasked; nodeid <-> slot and file
 *   ops_* -> request -> transport            decode, one reply; passthrough, which libfuse does not know
 *   request -> slot_files -> report, view    the files of a slot, a table row each; view -> number
 *   request -> daemon_files -> graph         the files of .pyrmap
 *   slot_files -> exchange, publish, array   slots, writes of the record, open arrays
 *   exchange, publish, array -> run          lets everything happen that a step made possible
 *   run -> chain -> step -> wait -> refuse   pipelines; taken steps; parked requests; what was refused
 *   step -> page, quota, handle              the mapped record, shares, open files
 *   step -> handshake                        state x event -> verdict, a pure function
 *   exchange -> slot, process, deadline      the table and its index; whose end matters; waits that end
 *   exchange -> caller                       who makes a request
 *   slot -> arena -> background              segments; the helper thread
 *   record, conf, log, loop, sandbox         used by all
 */
#include "conf.h"
#include "log.h"
#include "mount.h"
#include "supervisor.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { STATUS_USAGE = 2 };

static const char usage[] = "usage: pyrmapfs [-f] [-c FILE] [-o section.key=value]... MOUNTPOINT\n";

static void help(void)
{
    printf(
        "%s"
        "Exchange arrays between R, Python and others through files that are mapped, not copied.\n"
        "\n"
        "  -f             stay in the foreground, log to stderr; \"ready\" on stdout tells that it is "
        "mounted\n"
        "  -c FILE        read this configuration instead of %s\n"
        "  -o KEY=VALUE   override one key of the configuration; may be given again\n"
        "  -h, --help     this text\n"
        "  -V, --version  the version\n"
        "\n"
        "umount, fusermount3 -u, SIGTERM and SIGINT end it. Exit status: 0, 1 on failure, 2 on wrong usage\n"
        "or configuration.\n"
        "\n"
        "Configuration:\n",
        usage, CONF_DEFAULT_FILE);
    conf_print_help(stdout);
}

static int fail(const char *error)
{
    fprintf(stderr, "pyrmapfs: %s\n", error);
    return STATUS_USAGE;
}

static int configure(struct conf *conf, const char *file, char *const overrides[], int count)
{
    char error[CONF_ERROR_MAX] = "";

    conf_init(conf);
    if (!file && access(CONF_DEFAULT_FILE, F_OK) == 0)
        file = CONF_DEFAULT_FILE;
    if (file && conf_read(conf, file, error) < 0)
        return fail(error);
    for (int i = 0; i < count; i++) {
        if (conf_override(conf, overrides[i], error) < 0)
            return fail(error);
    }
    return conf_check(conf, error) < 0 ? fail(error) : 0;
}

static enum log_level log_level_of(const struct conf *conf)
{
    switch (conf->log_level) {
    case CONF_LOG_ERROR:
        return LOG_LEVEL_ERROR;
    case CONF_LOG_WARNING:
        return LOG_LEVEL_WARNING;
    case CONF_LOG_INFO:
        return LOG_LEVEL_INFO;
    case CONF_LOG_DEBUG:
        break;
    }
    return LOG_LEVEL_DEBUG;
}

int main(int argc, char *argv[])
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    static char mountpoint[PATH_MAX];
    static struct conf conf;
    enum supervisor_mode mode = SUPERVISOR_BACKGROUND;
    char **overrides = calloc((size_t)argc, sizeof(*overrides));
    char error[CONF_ERROR_MAX];
    const char *file = NULL;
    int count = 0;
    int status;
    int option;

    if (!overrides)
        return 1;
    while ((option = getopt_long(argc, argv, "fc:o:hV", options, NULL)) != -1) {
        switch (option) {
        case 'f':
            mode = SUPERVISOR_FOREGROUND;
            break;
        case 'c':
            file = optarg;
            break;
        case 'o':
            overrides[count++] = optarg;
            break;
        case 'h':
            help();
            free(overrides);
            return 0;
        case 'V':
            printf("pyrmapfs %s\n", PYRMAPFS_VERSION);
            free(overrides);
            return 0;
        default:
            fputs(usage, stderr);
            free(overrides);
            return STATUS_USAGE;
        }
    }
    status = configure(&conf, file, overrides, count);
    free(overrides);
    if (status != 0)
        return status;
    if (optind != argc - 1) {
        fprintf(stderr, "pyrmapfs: %s\n%s",
                optind < argc ? "only one mount point can be given" : "no mount point given", usage);
        return STATUS_USAGE;
    }
    log_open(mode == SUPERVISOR_FOREGROUND ? LOG_TO_STDERR : LOG_TO_SYSLOG, log_level_of(&conf));
    if (mount_resolve(argv[optind], mountpoint, error) < 0 || mount_prepare(mountpoint, error) < 0) {
        fprintf(stderr, "pyrmapfs: %s\n", error);
        return 1;
    }
    return supervisor_run(&conf, mountpoint, mode);
}
