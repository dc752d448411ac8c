/* test_utf8.c - the decoder over every code point and every short run of bytes. */
#include <check.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "tests/unit/suite.h"

/* Checks in loops of millions are plain: an assertion of the framework costs a system call. */
static bool comes_back(uint32_t cp)
{
    char bytes[4];
    uint32_t got;
    size_t n = utf8_encode(cp, bytes);
    bool good = utf8_decode(bytes, n, &got) == (int)n && got == cp;
    for (size_t cut = 1; cut < n; cut++)
        good = good && utf8_decode(bytes, cut, &got) == 0;
    return good;
}

START_TEST(every_scalar_value_comes_back)
{
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        if ((cp < 0xD800 || cp > 0xDFFF) && !comes_back(cp))
            ck_abort_msg("U+%04X does not come back", cp);
    }
}
END_TEST

/* The rule in other words: a form is right when encoding its value gives the same bytes. */
static bool is_judged_well(const char bytes[3])
{
    char again[4];
    uint32_t cp = 0;
    int n = utf8_decode(bytes, 3, &cp);
    if (n <= 0)
        return n >= -2;
    return utf8_encode(cp, again) == (size_t)n && memcmp(bytes, again, (size_t)n) == 0 &&
           (cp < 0xD800 || cp > 0xDFFF);
}

START_TEST(three_bytes_are_judged_by_their_value)
{
    for (unsigned i = 0; i < 1u << 24; i++) {
        const char bytes[3] = {(char)(i >> 16), (char)(i >> 8), (char)i};
        if (!is_judged_well(bytes))
            ck_abort_msg("bytes %06X are judged badly", i);
    }
}
END_TEST

START_TEST(validity_and_repair_agree)
{
    static const char text[] = "ok\xE4\xBD\xA0\xFFz\xF0\x9F";
    struct buf b;
    buf_init(&b, 100);
    ck_assert_uint_eq(utf8_valid_prefix(text, 8), 5);
    ck_assert(utf8_valid(text, 5) && !utf8_valid(text, 6) && utf8_valid("", 0));
    ck_assert_uint_eq(utf8_append_lossy(&b, text, sizeof text - 1), 2);
    ck_assert_str_eq(b.data, "ok\xE4\xBD\xA0" UTF8_REPLACEMENT "z");
    ck_assert(utf8_valid(b.data, b.len));
    buf_free(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tc = tcase_create("utf8");
    tcase_add_test(tc, every_scalar_value_comes_back);
    tcase_add_test(tc, three_bytes_are_judged_by_their_value);
    tcase_add_test(tc, validity_and_repair_agree);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
