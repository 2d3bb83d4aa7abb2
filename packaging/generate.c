// SPDX-License-Identifier: Apache-2.0
/*
 * generate.c - prints what other files have to say as the C code does; packaging/generate puts it there.
 *
 *   generate conf      the keys as conf/pyrmapfs.conf documents them
 *   generate conf.5    the keys as the manual page pyrmapfs.conf(5) does
 */
#include "conf.h"
#include <stdio.h>
#include <string.h>

static const char *section_before(size_t index)
{
    return index > 0 ? conf_doc(index - 1)->section : "";
}

static void print_conf(void)
{
    const struct conf_doc *doc;

    for (size_t i = 0; (doc = conf_doc(i)) != NULL; i++) {
        if (i > 0)
            puts("");
        if (strcmp(doc->section, section_before(i)) != 0)
            printf("[%s]\n", doc->section);
        for (const char *line = doc->text; *line != '\0'; line = strchr(line, '\n') + 1)
            printf("# %.*s\n", (int)strcspn(line, "\n"), line);
        printf("#%s =%s%s\n", doc->key, doc->fallback[0] != '\0' ? " " : "", doc->fallback);
    }
}

static void print_conf_5(void)
{
    const struct conf_doc *doc;

    for (size_t i = 0; (doc = conf_doc(i)) != NULL; i++) {
        if (strcmp(doc->section, section_before(i)) != 0)
            printf("%s.Ss [%s]\n.Bl -tag -width 4n\n", i > 0 ? ".El\n" : "", doc->section);
        printf(".It Ic %s No = Ar %s", doc->key, doc->values);
        if (doc->fallback[0] != '\0')
            printf(" Pq default: Cm %s", doc->fallback);
        printf("\n%s", doc->text);
    }
    puts(".El");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } parts[] = {
        {"conf", print_conf},
        {"conf.5", print_conf_5},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (argc == 2 && strcmp(argv[1], parts[i].name) == 0) {
            parts[i].print();
            return 0;
        }
    }
    fprintf(stderr, "usage: generate conf|conf.5\n");
    return 2;
}
