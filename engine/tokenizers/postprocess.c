/* postprocess.c - see postprocess.h.
 * To add a post-processor: one read function and one row in rows[]. */
#include "engine/tokenizers/postprocess.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizers/part.h"

struct reader {
    struct postprocessor *post;
    const struct tokenizer_spec *spec;
    bool has_template;
};

static int add_piece(struct template_list *l, struct template_piece piece, struct error *e)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct template_piece *pieces = realloc(l->pieces, cap * sizeof *pieces);
        if (!pieces)
            return error_no_memory(e);
        l->pieces = pieces;
        l->cap = cap;
    }
    l->pieces[l->n++] = piece;
    return 0;
}

static int add_text(struct template_list *l, uint8_t sequence, uint8_t type, struct error *e)
{
    return add_piece(l, (struct template_piece){-1, sequence, type}, e);
}

static int add_special(struct reader *r, struct template_list *l, int64_t id, uint8_t type, struct error *e)
{
    if (id < 0 || (uint64_t)id >= r->spec->n_tokens)
        return error_set(e, ERROR_BAD_FORMAT,
                         "the tokenizer's post_processor adds the token %" PRId64
                         ", which is not in the vocabulary of %zu tokens",
                         id, r->spec->n_tokens);
    return add_piece(l, (struct template_piece){(int32_t)id, UINT8_MAX, type}, e);
}

static int begin_template(struct reader *r, const char *type, struct error *e)
{
    if (r->has_template)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the tokenizer's post_processor %s behind another that adds tokens is not supported",
                         type);
    r->has_template = true;
    return 0;
}

static int read_part(struct reader *r, const json_t *json, struct error *e);

static int read_sequence(struct reader *r, const json_t *json, struct error *e)
{
    const json_t *list, *part;
    size_t i;
    TRY(part_array(json, "processors", &list, e));
    json_array_foreach(list, i, part) TRY(read_part(r, part, e));
    return 0;
}

static int read_type(const json_t *piece, uint8_t *out, struct error *e)
{
    size_t type = 0;
    TRY(part_size(piece, "type_id", &type, e));
    if (type > UINT8_MAX)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's post_processor has the token type %zu", type);
    *out = (uint8_t)type;
    return 0;
}

/* One named special token may stand for several ids. */
static int add_named(struct reader *r, struct template_list *l, const json_t *specials, const char *name,
                     uint8_t type, struct error *e)
{
    const json_t *ids = json_object_get(json_object_get(specials, name), "ids"), *id;
    size_t i;
    if (!json_is_array(ids))
        return error_set(
            e, ERROR_BAD_FORMAT,
            "the tokenizer's post_processor names the special token \"%.64s\" but does not define it", name);
    json_array_foreach(ids, i, id)
    {
        if (!json_is_integer(id))
            return error_set(e, ERROR_BAD_FORMAT, "the special token \"%.64s\" has an id that is no integer",
                             name);
        TRY(add_special(r, l, json_integer_value(id), type, e));
    }
    return 0;
}

static int read_pieces(struct reader *r, const json_t *json, const char *key, struct template_list *l,
                       struct error *e)
{
    const json_t *list, *piece;
    size_t i;
    TRY(part_array(json, key, &list, e));
    json_array_foreach(list, i, piece)
    {
        const json_t *text = json_object_get(piece, "Sequence"),
                     *special = json_object_get(piece, "SpecialToken");
        const char *name = json_string_value(json_object_get(text ? text : special, "id"));
        uint8_t type = 0;
        if (!name)
            return error_set(
                e, ERROR_BAD_FORMAT,
                "piece %zu of the tokenizer's template \"%s\" is neither a Sequence nor a SpecialToken", i,
                key);
        TRY(read_type(text ? text : special, &type, e));
        if (special) {
            TRY(add_named(r, l, json_object_get(json, "special_tokens"), name, type, e));
            continue;
        }
        bool second = strcmp(name, "B") == 0;
        if ((!second && strcmp(name, "A") != 0) || (second && strcmp(key, "single") == 0))
            return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's template \"%s\" has a sequence \"%.20s\"",
                             key, name);
        TRY(add_text(l, second, type, e));
    }
    return 0;
}

static int read_template(struct reader *r, const json_t *json, struct error *e)
{
    TRY(begin_template(r, "TemplateProcessing", e));
    TRY(read_pieces(r, json, "single", &r->post->single, e));
    return read_pieces(r, json, "pair", &r->post->pair, e);
}

/* ["[SEP]", 102] */
static int read_token(const json_t *json, const char *key, int64_t *out, struct error *e)
{
    const json_t *id = json_array_get(json_object_get(json, key), 1);
    if (!json_is_integer(id))
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's post_processor has no \"%s\": [text, id]",
                         key);
    *out = json_integer_value(id);
    return 0;
}

/* [CLS] A [SEP] B [SEP], or <s> A </s></s> B </s>. */
static int add_wrapped(struct reader *r, int64_t cls, int64_t sep, bool twice, uint8_t second_type,
                       struct error *e)
{
    struct template_list *single = &r->post->single, *pair = &r->post->pair;
    struct template_list *both[] = {single, pair};
    for (size_t i = 0; i < 2; i++) {
        TRY(add_special(r, both[i], cls, 0, e));
        TRY(add_text(both[i], 0, 0, e));
        TRY(add_special(r, both[i], sep, 0, e));
    }
    if (twice)
        TRY(add_special(r, pair, sep, 0, e));
    TRY(add_text(pair, 1, second_type, e));
    return add_special(r, pair, sep, second_type, e);
}

static int read_bert(struct reader *r, const json_t *json, struct error *e)
{
    int64_t cls = -1, sep = -1;
    TRY(begin_template(r, "BertProcessing", e));
    TRY(read_token(json, "cls", &cls, e));
    TRY(read_token(json, "sep", &sep, e));
    return add_wrapped(r, cls, sep, false, 1, e);
}

static int add_trim(struct reader *r, bool wanted, bool keeps_prefix, struct error *e)
{
    if (!wanted)
        return 0;
    if (r->post->n_trims == MAX_TRIMS)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's post_processor trims more than %d times",
                         MAX_TRIMS);
    r->post->trim_keeps_prefix[r->post->n_trims++] = keeps_prefix;
    return 0;
}

static int read_trim(struct reader *r, const json_t *json, struct error *e)
{
    bool trim = true, prefix = true;
    TRY(part_bool(json, "trim_offsets", &trim, e));
    TRY(part_bool(json, "add_prefix_space", &prefix, e));
    return add_trim(r, trim, prefix, e);
}

static int read_roberta(struct reader *r, const json_t *json, struct error *e)
{
    int64_t cls = -1, sep = -1;
    TRY(begin_template(r, "RobertaProcessing", e));
    TRY(read_trim(r, json, e));
    TRY(read_token(json, "cls", &cls, e));
    TRY(read_token(json, "sep", &sep, e));
    return add_wrapped(r, cls, sep, true, 0, e);
}

static const struct {
    const char *type;
    int (*read)(struct reader *r, const json_t *json, struct error *e);
} rows[] = {{"Sequence", read_sequence},
            {"TemplateProcessing", read_template},
            {"BertProcessing", read_bert},
            {"RobertaProcessing", read_roberta},
            {"ByteLevel", read_trim}};

static int read_part(struct reader *r, const json_t *json, struct error *e)
{
    const char *type;
    TRY(part_type(json, "post_processor", &type, e));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].type, type) == 0)
            return rows[i].read(r, json, e);
    }
    return part_unknown("post_processor", type, e);
}

/* A second text begins with BOS again unless EOS parts the two; then both are of one type, as T5 has it. */
static int add_plain(struct reader *r, bool bos, bool eos, struct error *e)
{
    struct template_list *both[] = {&r->post->single, &r->post->pair};
    for (size_t i = 0; i < 2; i++) {
        if (bos)
            TRY(add_special(r, both[i], r->spec->bos, 0, e));
        TRY(add_text(both[i], 0, 0, e));
        if (eos)
            TRY(add_special(r, both[i], r->spec->eos, 0, e));
    }
    uint8_t type = eos && !bos ? 0 : 1;
    if (bos && !eos)
        TRY(add_special(r, &r->post->pair, r->spec->bos, type, e));
    TRY(add_text(&r->post->pair, 1, type, e));
    return eos ? add_special(r, &r->post->pair, r->spec->eos, type, e) : 0;
}

static int fill(struct reader *r, const json_t *json, struct error *e)
{
    if (json)
        TRY(read_part(r, json, e));
    if (r->has_template)
        return 0;
    return add_plain(r, !json && r->spec->add_bos, !json && r->spec->add_eos, e);
}

int postprocessor_create(const json_t *json, const struct tokenizer_spec *spec, struct postprocessor **out,
                         struct error *e)
{
    struct reader r = {.post = calloc(1, sizeof *r.post), .spec = spec};
    if (!r.post)
        return error_no_memory(e);
    if (fill(&r, json, e) < 0) {
        postprocessor_free(r.post);
        return -1;
    }
    *out = r.post;
    return 0;
}

void postprocessor_free(struct postprocessor *p)
{
    if (!p)
        return;
    free(p->single.pieces);
    free(p->pair.pieces);
    free(p);
}
