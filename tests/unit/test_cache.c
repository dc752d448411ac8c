/* test_cache.c - pages under their ceiling, and prefixes found by their tokens. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/page.h"
#include "engine/cache/kv_pages.h"
#include "engine/cache/prefix_tree.h"
#include "tests/unit/suite.h"

enum { PAGE = 4096 };

static struct kv_pool *pool;
static struct kv_cache *cache;
static struct prefix_tree *tree;

static void open_cache(size_t pages)
{
    struct error e = {0};
    ck_assert_int_eq(kv_pool_create(pages * PAGE, &pool, &e), 0);
    ck_assert_int_eq(prefix_tree_create(&tree, &e), 0);
    ck_assert_int_eq(kv_cache_create(pool, PAGE, prefix_tree_forget, tree, &cache, &e), 0);
}

static void close_cache(void)
{
    kv_cache_free(cache);
    prefix_tree_free(tree);
    kv_pool_free(pool);
}

static void fill_tokens(int32_t *tokens, size_t n, int32_t seed)
{
    for (size_t i = 0; i < n; i++)
        tokens[i] = seed + (int32_t)i;
}

/* Computes `n` full pages of these tokens, remembers them, lets go of them. */
static void compute(const int32_t *tokens, size_t n, uint64_t salt)
{
    uint64_t node = 0;
    struct kv_page *pages[16];
    for (size_t i = 0; i < n; i++) {
        pages[i] = kv_page_take(cache);
        ck_assert_ptr_nonnull(pages[i]);
        memset(pages[i]->data, tokens[i * KV_PAGE_TOKENS] & 0xff, PAGE);
        node = prefix_insert(tree, salt, node, tokens + i * KV_PAGE_TOKENS, pages[i]);
        ck_assert_uint_ne(node, 0);
    }
    while (n > 0)
        kv_page_unref(pages[--n]);
}

static size_t found(const int32_t *tokens, size_t n_tokens, uint64_t salt)
{
    struct kv_page *pages[64];
    uint64_t last;
    size_t n = prefix_find(tree, salt, tokens, n_tokens, pages, &last);
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(((unsigned char *)pages[i]->data)[PAGE - 1], tokens[i * KV_PAGE_TOKENS] & 0xff);
        kv_page_unref(pages[i]);
    }
    return n;
}

START_TEST(the_ceiling_is_hard)
{
    open_cache(3);
    struct kv_page *a = kv_page_take(cache), *b = kv_page_take(cache), *c = kv_page_take(cache);
    ck_assert(a && b && c);
    ck_assert_ptr_null(kv_page_take(cache));
    ck_assert_uint_eq(kv_pool_counts(pool).used, 3 * PAGE);
    ck_assert_uint_eq(kv_cache_available(cache), 0);
    kv_page_unref(b);
    ck_assert_uint_eq(kv_cache_available(cache), 1);
    ck_assert_ptr_nonnull(b = kv_page_take(cache));
    kv_page_unref(a);
    kv_page_unref(b);
    kv_page_unref(c);
    ck_assert_uint_eq(kv_pool_counts(pool).used, 0);
    close_cache();
}
END_TEST

START_TEST(few_freed_pages_are_kept_at_hand_and_none_after_a_trim)
{
    struct kv_page *pages[100];
    open_cache(100);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 100; i++)
            ck_assert_ptr_nonnull(pages[i] = kv_page_take(cache));
        ck_assert_ptr_null(kv_page_take(cache));
        ck_assert_uint_eq(kv_pool_counts(pool).spare, 0);
        for (size_t i = 0; i < 100; i++)
            kv_page_unref(pages[i]);
        ck_assert_uint_gt(kv_pool_counts(pool).spare, 0);
        ck_assert_uint_lt(kv_pool_counts(pool).spare, 50 * PAGE);
        ck_assert_uint_eq(kv_cache_available(cache), 100);
        kv_pool_trim(pool);
        ck_assert_uint_eq(kv_pool_counts(pool).spare, 0);
        ck_assert_uint_eq(kv_cache_available(cache), 100);
    }
    close_cache();
}
END_TEST

START_TEST(a_prefix_is_found_up_to_the_first_difference)
{
    int32_t tokens[5 * KV_PAGE_TOKENS];
    open_cache(8);
    fill_tokens(tokens, 5 * KV_PAGE_TOKENS, 1000);
    compute(tokens, 4, 0);
    ck_assert_uint_eq(found(tokens, 5 * KV_PAGE_TOKENS, 0), 4);
    ck_assert_uint_eq(found(tokens, 4 * KV_PAGE_TOKENS - 1, 0), 3);
    tokens[2 * KV_PAGE_TOKENS + 5] = -1;
    ck_assert_uint_eq(found(tokens, 5 * KV_PAGE_TOKENS, 0), 2);
    tokens[0] = -1;
    ck_assert_uint_eq(found(tokens, 5 * KV_PAGE_TOKENS, 0), 0);
    close_cache();
}
END_TEST

START_TEST(the_same_page_after_another_beginning_is_another_page)
{
    int32_t tokens[2 * KV_PAGE_TOKENS];
    open_cache(8);
    fill_tokens(tokens, KV_PAGE_TOKENS, 1);
    fill_tokens(tokens + KV_PAGE_TOKENS, KV_PAGE_TOKENS, 500);
    compute(tokens, 2, 0);
    ck_assert_uint_eq(found(tokens + KV_PAGE_TOKENS, KV_PAGE_TOKENS, 0), 0);
    close_cache();
}
END_TEST

START_TEST(salts_keep_users_apart)
{
    int32_t tokens[2 * KV_PAGE_TOKENS];
    open_cache(8);
    fill_tokens(tokens, 2 * KV_PAGE_TOKENS, 1);
    compute(tokens, 2, 11);
    ck_assert_uint_eq(found(tokens, 2 * KV_PAGE_TOKENS, 11), 2);
    ck_assert_uint_eq(found(tokens, 2 * KV_PAGE_TOKENS, 12), 0);
    close_cache();
}
END_TEST

START_TEST(the_least_recently_used_leaves_first_and_the_beginning_last)
{
    int32_t old[2 * KV_PAGE_TOKENS], fresh[2 * KV_PAGE_TOKENS];
    open_cache(4);
    fill_tokens(old, 2 * KV_PAGE_TOKENS, 1);
    fill_tokens(fresh, 2 * KV_PAGE_TOKENS, 7000);
    compute(old, 2, 0);
    compute(fresh, 2, 0);
    struct kv_page *taken = kv_page_take(cache); /* no room left: the end of `old` gives way */
    ck_assert_ptr_nonnull(taken);
    ck_assert_uint_eq(found(old, 2 * KV_PAGE_TOKENS, 0), 1);
    ck_assert_uint_eq(found(fresh, 2 * KV_PAGE_TOKENS, 0), 2);
    ck_assert_uint_le(kv_pool_counts(pool).used + kv_pool_counts(pool).cached, 4 * PAGE);
    kv_page_unref(taken);
    close_cache();
}
END_TEST

START_TEST(a_page_in_use_is_never_forgotten)
{
    int32_t tokens[2 * KV_PAGE_TOKENS];
    struct kv_page *held[2], *others[2];
    uint64_t last;
    open_cache(4);
    fill_tokens(tokens, 2 * KV_PAGE_TOKENS, 1);
    compute(tokens, 2, 0);
    ck_assert_uint_eq(prefix_find(tree, 0, tokens, 2 * KV_PAGE_TOKENS, held, &last), 2);
    others[0] = kv_page_take(cache);
    others[1] = kv_page_take(cache);
    ck_assert(others[0] && others[1]);
    ck_assert_ptr_null(kv_page_take(cache));
    ck_assert_uint_eq(found(tokens, 2 * KV_PAGE_TOKENS, 0), 2);
    for (int i = 0; i < 2; i++) {
        kv_page_unref(held[i]);
        kv_page_unref(others[i]);
    }
    close_cache();
}
END_TEST

START_TEST(two_models_share_one_ceiling)
{
    struct error e = {0};
    struct kv_cache *large;
    struct prefix_tree *large_tree;
    int32_t tokens[4 * KV_PAGE_TOKENS];
    open_cache(4);
    ck_assert_int_eq(prefix_tree_create(&large_tree, &e), 0);
    ck_assert_int_eq(kv_cache_create(pool, 3 * PAGE, prefix_tree_forget, large_tree, &large, &e), 0);
    fill_tokens(tokens, 4 * KV_PAGE_TOKENS, 1);
    compute(tokens, 4, 0);
    ck_assert_uint_eq(kv_cache_available(large), 1);
    struct kv_page *page = kv_page_take(large); /* the other model's memories go */
    ck_assert_ptr_nonnull(page);
    ck_assert_uint_le(found(tokens, 4 * KV_PAGE_TOKENS, 0), 1);
    ck_assert_ptr_null(kv_page_take(large));
    kv_page_unref(page);
    kv_cache_free(large);
    prefix_tree_free(large_tree);
    close_cache();
}
END_TEST

START_TEST(thousands_of_prefixes_stay_findable)
{
    int32_t tokens[KV_PAGE_TOKENS];
    open_cache(3000);
    for (int32_t i = 0; i < 2500; i++) {
        fill_tokens(tokens, KV_PAGE_TOKENS, i * 100);
        compute(tokens, 1, 0);
    }
    for (int32_t i = 0; i < 2500; i++) {
        fill_tokens(tokens, KV_PAGE_TOKENS, i * 100);
        ck_assert_uint_eq(found(tokens, KV_PAGE_TOKENS, 0), 1);
    }
    close_cache();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cache");
    TCase *c = tcase_create("pages and prefixes");
    tcase_add_test(c, the_ceiling_is_hard);
    tcase_add_test(c, few_freed_pages_are_kept_at_hand_and_none_after_a_trim);
    tcase_add_test(c, a_prefix_is_found_up_to_the_first_difference);
    tcase_add_test(c, the_same_page_after_another_beginning_is_another_page);
    tcase_add_test(c, salts_keep_users_apart);
    tcase_add_test(c, the_least_recently_used_leaves_first_and_the_beginning_last);
    tcase_add_test(c, a_page_in_use_is_never_forgotten);
    tcase_add_test(c, two_models_share_one_ceiling);
    tcase_add_test(c, thousands_of_prefixes_stay_findable);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
