/* test_bytes.c - the door that a file's bytes come in by. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/bytes.h"
#include "engine/base/limits.h"
#include "tests/unit/suite.h"

enum { FILE_BYTES = 1 << 20 };

static char path[64];

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 31 + (i >> 8));
}

static void setup(void)
{
    snprintf(path, sizeof path, "/tmp/loquat-test-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unsigned char *data = malloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        data[i] = byte_at(i);
    ck_assert_int_eq(write(fd, data, FILE_BYTES), FILE_BYTES);
    free(data);
    close(fd);
}

static void teardown(void)
{
    unlink(path);
}

START_TEST(takes_of_every_size_give_the_files_bytes)
{
    struct bytes *b = NULL;
    struct error e = {0};
    ck_assert_int_eq(bytes_open_file(path, &b, &e), 0);
    ck_assert_uint_eq(bytes_size(b), FILE_BYTES);
    for (size_t n = 0; n <= bytes_left(b); n = n * 2 + 1) {
        const unsigned char *p;
        size_t at = (size_t)bytes_offset(b);
        ck_assert_int_eq(bytes_take(b, n, (const void **)&p, "a piece", &e), 0);
        for (size_t i = 0; i < n; i++) {
            if (p[i] != byte_at(at + i))
                ck_abort_msg("byte %zu of a take of %zu is wrong", i, n);
        }
    }
    ck_assert_int_eq(bytes_skip(b, bytes_left(b), "the rest", &e), 0);
    const void *none;
    ck_assert_int_eq(bytes_take(b, 0, &none, "nothing", &e), 0);
    ck_assert_int_eq(bytes_take(b, 1, &none, "one more", &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "one more needs 1 bytes"));
    ck_assert_uint_eq(e.offset, FILE_BYTES);
    bytes_close(b);
}
END_TEST

START_TEST(numbers_are_little_endian)
{
    static const unsigned char data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct bytes *b = NULL;
    struct error e = {0};
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    ck_assert_int_eq(bytes_open_memory(data, sizeof data, &b, &e), 0);
    ck_assert_int_eq(
        bytes_u8(b, &u8, "u8", &e) | bytes_u16(b, &u16, "u16", &e) | bytes_u32(b, &u32, "u32", &e), 0);
    ck_assert_int_eq(bytes_u64(b, &u64, "u64", &e), 0);
    ck_assert_uint_eq(u8, 1);
    ck_assert_uint_eq(u16, 0x0302);
    ck_assert_uint_eq(u32, 0x07060504);
    ck_assert(u64 == 0x0F0E0D0C0B0A0908u);
    ck_assert_int_eq(bytes_u8(b, &u8, "the end", &e), -1);
    bytes_close(b);
}
END_TEST

START_TEST(sizes_that_cannot_be_are_errors)
{
    struct bytes *b = NULL;
    struct error e = {0};
    const void *p;
    ck_assert_int_eq(bytes_open_file(path, &b, &e), 0);
    ck_assert_int_eq(bytes_take(b, UINT64_MAX, &p, "all", &e), -1);
    error_clear(&e);
    ck_assert_int_eq(bytes_skip(b, UINT64_MAX, "all", &e), -1);
    error_clear(&e);
    ck_assert_int_eq(bytes_expect(b, UINT64_MAX / 2, 8, "things", &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "things"));
    error_clear(&e);
    ck_assert_int_eq(bytes_expect(b, FILE_BYTES / 8, 8, "things", &e), 0);
    ck_assert_int_eq(bytes_expect(b, FILE_BYTES / 8 + 1, 8, "things", &e), -1);
    error_clear(&e);
    char four[4];
    ck_assert_int_eq(bytes_read_at(b, FILE_BYTES - 4, four, 4, &e), 0);
    ck_assert_int_eq((unsigned char)four[3], byte_at(FILE_BYTES - 1));
    ck_assert_int_eq(bytes_read_at(b, FILE_BYTES - 3, four, 4, &e), -1);
    error_clear(&e);
    ck_assert_int_eq(bytes_read_at(b, UINT64_MAX - 1, four, 4, &e), -1);
    bytes_close(b);
}
END_TEST

START_TEST(a_file_that_becomes_shorter_is_an_error)
{
    struct bytes *b = NULL;
    struct error e = {0};
    char byte;
    ck_assert_int_eq(bytes_open_file(path, &b, &e), 0);
    ck_assert_int_eq(truncate(path, 100), 0);
    ck_assert_int_eq(bytes_read_at(b, 200, &byte, 1, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_FILE_ACCESS);
    ck_assert_ptr_nonnull(strstr(e.text, "became shorter"));
    bytes_close(b);
}
END_TEST

START_TEST(what_is_no_file_is_refused_without_waiting)
{
    struct bytes *b = NULL;
    struct error e = {0};
    char fifo[80];
    snprintf(fifo, sizeof fifo, "%s-fifo", path);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    ck_assert_int_eq(bytes_open_file(fifo, &b, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "not a regular file"));
    unlink(fifo);
    error_clear(&e);
    ck_assert_int_eq(bytes_open_file("/", &b, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "folder"));
    error_clear(&e);
    ck_assert_int_eq(bytes_open_file("/no/such/file", &b, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_FILE_ACCESS);
    bytes_close(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bytes");
    TCase *tc = tcase_create("bytes");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, takes_of_every_size_give_the_files_bytes);
    tcase_add_test(tc, numbers_are_little_endian);
    tcase_add_test(tc, sizes_that_cannot_be_are_errors);
    tcase_add_test(tc, a_file_that_becomes_shorter_is_an_error);
    tcase_add_test(tc, what_is_no_file_is_refused_without_waiting);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
