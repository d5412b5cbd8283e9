/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replay a corpus through a fuzz target, for compilers without libFuzzer
 *
 * Each argument is an input file or a folder of them. The output is TAP, one
 * test for each argument; an input that fails aborts the program, and its
 * name is then the last thing written.
 */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

/* Returns: true when the input could be read and went through the target */
static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t size = 0;
    size_t room = 0;

    if (!f) {
        printf("# %s: %s\n", path, strerror(errno));
        return 0;
    }
    do {
        if (size == room) {
            room = room ? room * 2 : 4096;
            data = realloc(data, room);
            if (!data) {
                printf("# %s: out of memory\n", path);
                exit(1);
            }
        }
        size += fread(data + size, 1, room - size, f);
    } while (!feof(f) && !ferror(f));
    if (ferror(f)) {
        printf("# %s: %s\n", path, strerror(errno));
        fclose(f);
        free(data);
        return 0;
    }
    fclose(f);

    printf("# %s\n", path);
    fflush(stdout);
    /* An exact allocation lets AddressSanitizer see a read past the end. */
    room = size;
    if (room) {
        uint8_t *exact = malloc(room);

        if (!exact) {
            printf("# %s: out of memory\n", path);
            exit(1);
        }
        memcpy(exact, data, room);
        free(data);
        data = exact;
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 1;
}

/* Returns: the number of inputs replayed, or -1 when one could not be read */
static int replay_path(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int n = 0;

    if (!dir) {
        return replay_file(path) ? 1 : -1;
    }
    while ((e = readdir(dir))) {
        char name[4096];
        struct stat st;

        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (stat(name, &st) < 0 || !S_ISREG(st.st_mode)) {
            continue;
        }
        if (!replay_file(name)) {
            n = -1;
            break;
        }
        n++;
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int failed = 0;
    int i;

    printf("1..%d\n", argc - 1);
    for (i = 1; i < argc; i++) {
        int n = replay_path(argv[i]);

        /* A corpus that is empty proves nothing. */
        if (n <= 0) {
            failed = 1;
        }
        printf("%sok %d - %s: %d inputs\n", n > 0 ? "" : "not ", i, argv[i],
               n);
    }
    return failed;
}
