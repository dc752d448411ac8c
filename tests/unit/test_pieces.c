/* test_pieces.c - models that cut words into pieces of a vocabulary (Unigram, WordPiece) against the ids of
 * the tokenizers library (tests/golden/make/tiny_pieces.py), and the trie that finds pieces against plain
 * search. */
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/limits.h"
#include "engine/formats/tokenizer_files.h"
#include "engine/tokenizers/piece_trie.h"
#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

#define GOLDEN TESTS_DIR "/golden/tokenizers/"

static struct tokenizer *from_json(const json_t *object)
{
    struct tokenizer_spec spec;
    struct tokenizer *t = NULL;
    struct bytes *b = NULL;
    struct error e = {0};
    struct arena *arena = arena_create(LIMIT_FILE_ARENA);
    json_t *keep = json_array();
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    ck_assert(arena && keep && text);
    ck_assert_int_eq(bytes_open_memory(text, strlen(text), &b, &e), 0);
    ck_assert_msg(tokenizer_json_read(b, arena, keep, &spec, &e) == 0, "%s", e.text);
    ck_assert_msg(tokenizer_create(&spec, &t, &e) == 0, "%s", e.text);
    bytes_close(b);
    json_decref(keep);
    arena_free(arena);
    free(text);
    return t;
}

/* want: ids, or null for an error. */
static void assert_ids(const struct tokenizer *t, const json_t *text, const json_t *want, const char *name)
{
    struct token_list got = {0};
    struct error e = {0};
    int status = tokenizer_encode(t, json_string_value(text), json_string_length(text), 0, NULL, 0, &got, &e);
    ck_assert_msg((status < 0) == json_is_null(want), "%s: %s", name, status < 0 ? e.text : "no error");
    ck_assert_msg(status < 0 || got.n == json_array_size(want), "%s: %zu ids", name, got.n);
    size_t i;
    const json_t *id;
    json_array_foreach(want, i, id)
        ck_assert_msg(got.ids[i] == json_integer_value(id), "%s: id %zu is %d", name, i, got.ids[i]);
    token_list_free(&got);
}

START_TEST(random_vocabularies_give_the_ids_of_the_library)
{
    json_t *golden = load_json(GOLDEN "tiny-pieces.json");
    size_t i, k;
    const json_t *one, *c;
    ck_assert_uint_ge(json_array_size(golden), 80);
    json_array_foreach(golden, i, one)
    {
        struct tokenizer *t = from_json(json_array_get(one, 0));
        json_array_foreach(json_array_get(one, 1), k, c)
        {
            char name[64];
            snprintf(name, sizeof name, "tokenizer %zu, text %zu", i, k);
            assert_ids(t, json_array_get(c, 0), json_array_get(c, 1), name);
        }
        tokenizer_free(t);
    }
    json_decref(golden);
}
END_TEST

enum { PIECES = 200, PIECE_BYTES = 6, TEXT_BYTES = 12 };

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Few letters, so that pieces share beginnings. */
static void random_text(uint32_t *state, char *out, size_t len)
{
    static const char letters[] = "ab\0\xFF";
    for (size_t i = 0; i < len; i++)
        out[i] = letters[next_random(state) % 4];
}

/* The highest id of a piece that is text[0 .. len), or -1. */
static int32_t plain_find(const struct trie_piece *pieces, const char *text, size_t len)
{
    int32_t id = -1;
    for (size_t i = 0; i < PIECES; i++) {
        if (pieces[i].len == len && memcmp(pieces[i].text, text, len) == 0 && pieces[i].id > id)
            id = pieces[i].id;
    }
    return id;
}

START_TEST(the_trie_finds_what_plain_search_finds)
{
    char texts[PIECES][PIECE_BYTES];
    struct trie_piece pieces[PIECES], sorted[PIECES];
    struct piece_trie trie;
    struct error e = {0};
    uint32_t state = 7;
    size_t wrong = 0;
    for (int32_t i = 0; i < PIECES; i++) {
        random_text(&state, texts[i], PIECE_BYTES);
        pieces[i] = (struct trie_piece){texts[i], 1 + next_random(&state) % PIECE_BYTES, i};
    }
    memcpy(sorted, pieces, sizeof sorted);
    ck_assert_int_eq(piece_trie_init(&trie, sorted, PIECES, &e), 0);
    for (size_t round = 0; round < 5000; round++) {
        char text[TEXT_BYTES];
        int32_t id = -1, want_id = -1;
        size_t want = 0;
        random_text(&state, text, TEXT_BYTES);
        for (size_t len = 1; len <= TEXT_BYTES; len++) {
            int32_t found = plain_find(pieces, text, len);
            wrong += found != piece_trie_find(&trie, text, len);
            want = found >= 0 ? len : want;
            want_id = found >= 0 ? found : want_id;
        }
        wrong += piece_trie_longest(&trie, text, TEXT_BYTES, &id) != want || id != want_id;
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq(trie.longest, PIECE_BYTES);
    piece_trie_free(&trie);
}
END_TEST

START_TEST(a_trie_without_pieces_finds_nothing)
{
    struct piece_trie trie;
    struct trie_piece empty = {"", 0, 0};
    struct error e = {0};
    int32_t id;
    ck_assert_int_eq(piece_trie_init(&trie, &empty, 1, &e), 0);
    ck_assert_uint_eq(piece_trie_longest(&trie, "a", 1, &id), 0);
    ck_assert_int_eq(piece_trie_find(&trie, "", 0), -1);
    piece_trie_free(&trie);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pieces");
    TCase *tc = tcase_create("pieces");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, random_vocabularies_give_the_ids_of_the_library);
    tcase_add_test(tc, the_trie_finds_what_plain_search_finds);
    tcase_add_test(tc, a_trie_without_pieces_finds_nothing);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
