/* sentencepiece.c - SentencePiece's model files (*.model, *.spm): sentencepiece_read() of tokenizer_files.h.
 * The format: sentencepiece_model.proto of github.com/google/sentencepiece (protocol buffers, proto2).
 * Called by the reader of checkpoint folders, on any thread.  BOS and EOS are named but not added.
 * The file is a stranger's: lengths are compared with what is left, unknown fields are skipped, groups
 * (a proto2 relic that nests) are refused, and messages are read to a fixed depth without recursion.
 * What SentencePiece itself refuses - pieces without text or given twice, no unknown piece, an incomplete
 * byte alphabet - is an error here too. */
#include "engine/formats/tokenizer_files.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/base/string_table.h"

/* The bytes of one message. */
struct message {
    const unsigned char *bytes;
    size_t at, len;
    uint64_t offset; /* of bytes[0] in the file */
};

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct field {
    uint64_t number;
    unsigned wire;
    uint64_t value;             /* of varints and fixed widths */
    const unsigned char *bytes; /* of WIRE_BYTES */
    size_t len;
    uint64_t offset; /* of its key in the file */
};

static int read_varint(struct message *m, uint64_t *out, struct error *e)
{
    uint64_t value = 0;
    uint64_t start = m->offset + m->at;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (m->at == m->len)
            return error_at(e, ERROR_BAD_FORMAT, start, "the file ends within a number");
        unsigned char byte = m->bytes[m->at++];
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *out = value;
            return 0;
        }
    }
    return error_at(e, ERROR_BAD_FORMAT, start, "a number has more than ten bytes");
}

static int read_fixed(struct message *m, struct field *f, size_t n, struct error *e)
{
    if (m->len - m->at < n)
        return error_at(e, ERROR_BAD_FORMAT, f->offset, "the file ends within a number");
    for (size_t i = 0; i < n; i++)
        f->value |= (uint64_t)m->bytes[m->at + i] << (8 * i);
    m->at += n;
    return 0;
}

static int read_bytes(struct message *m, struct field *f, struct error *e)
{
    uint64_t len = 0;
    TRY(read_varint(m, &len, e));
    if (len > m->len - m->at)
        return error_at(e, ERROR_BAD_FORMAT, f->offset,
                        "field %" PRIu64 " claims %" PRIu64 " bytes; %zu are left", f->number, len,
                        m->len - m->at);
    f->bytes = m->bytes + m->at;
    f->len = (size_t)len;
    m->at += (size_t)len;
    return 0;
}

static int next_field(struct message *m, struct field *f, struct error *e)
{
    uint64_t key = 0;
    memset(f, 0, sizeof *f);
    f->offset = m->offset + m->at;
    TRY(read_varint(m, &key, e));
    f->number = key >> 3;
    f->wire = (unsigned)(key & 7);
    if (f->number == 0)
        return error_at(e, ERROR_BAD_FORMAT, f->offset, "a field has the number 0");
    switch (f->wire) {
    case WIRE_VARINT:
        return read_varint(m, &f->value, e);
    case WIRE_64:
        return read_fixed(m, f, 8, e);
    case WIRE_32:
        return read_fixed(m, f, 4, e);
    case WIRE_BYTES:
        return read_bytes(m, f, e);
    default:
        return error_at(e, ERROR_BAD_FORMAT, f->offset,
                        "field %" PRIu64 " has the wire type %u; groups are not supported", f->number,
                        f->wire);
    }
}

static struct message message_of(const struct message *outer, const struct field *f)
{
    return (struct message){f->bytes, 0, f->len, outer->offset + (size_t)(f->bytes - outer->bytes)};
}

static int expect_wire(const struct field *f, unsigned wire, const char *name, struct error *e)
{
    if (f->wire != wire)
        return error_at(e, ERROR_BAD_FORMAT, f->offset, "%s has the wire type %u instead of %u", name,
                        f->wire, wire);
    return 0;
}

struct reader {
    struct arena *arena;
    struct token_spec *tokens;
    size_t n_tokens;
    uint64_t model_type;
    bool byte_fallback;
    struct text_view bos, eos, pad; /* names of pieces; borrowed from the file or static */
    struct tokenizer_spec *out;
};

/* Members of ModelProto, TrainerSpec, NormalizerSpec and SentencePiece that are read. */
enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_SPACE_IS_SUFFIX = 24,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_BOS_PIECE = 46,
    TRAINER_EOS_PIECE = 47,
    TRAINER_PAD_PIECE = 48
};
enum {
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_DUMMY_PREFIX = 3,
    NORMALIZER_REMOVE_EXTRA = 4,
    NORMALIZER_ESCAPE = 5
};
/* A character model is a Unigram model whose pieces are characters: there is one way through a text. */
enum { TYPE_UNIGRAM = 1, TYPE_BPE = 2, TYPE_CHARACTER = 4 };

static int set_text(struct reader *r, const struct field *f, struct token_spec *token, struct error *e)
{
    TRY(expect_wire(f, WIRE_BYTES, "the text of a piece", e));
    if (f->len > LIMIT_TOKEN_BYTES)
        return error_at(e, ERROR_BAD_FORMAT, f->offset, "piece %zu has %zu bytes; at most %d are accepted",
                        r->n_tokens, f->len, LIMIT_TOKEN_BYTES);
    token->text = arena_copy(r->arena, (const char *)f->bytes, f->len);
    token->len = (uint32_t)f->len;
    return token->text ? 0 : error_no_memory(e);
}

static int set_score(const struct reader *r, const struct field *f, struct token_spec *token, struct error *e)
{
    TRY(expect_wire(f, WIRE_32, "the score of a piece", e));
    uint32_t bits = (uint32_t)f->value;
    float score;
    memcpy(&score, &bits, sizeof score);
    if (!isfinite(score))
        return error_at(e, ERROR_BAD_FORMAT, f->offset, "the score of piece %zu is not a number",
                        r->n_tokens);
    token->score = score;
    return 0;
}

static int set_type(const struct reader *r, const struct field *f, struct token_spec *token, struct error *e)
{
    TRY(expect_wire(f, WIRE_VARINT, "the type of a piece", e));
    if (f->value < TOKEN_NORMAL || f->value > TOKEN_BYTE)
        return error_at(e, ERROR_BAD_FORMAT, f->offset, "piece %zu has the unknown type %" PRIu64,
                        r->n_tokens, f->value);
    token->type = (enum token_type)f->value;
    return 0;
}

static int read_piece(struct reader *r, struct message m, struct error *e)
{
    struct token_spec *token = &r->tokens[r->n_tokens];
    struct field f;
    token->type = TOKEN_NORMAL;
    while (m.at < m.len) {
        TRY(next_field(&m, &f, e));
        if (f.number == PIECE_TEXT)
            TRY(set_text(r, &f, token, e));
        else if (f.number == PIECE_SCORE)
            TRY(set_score(r, &f, token, e));
        else if (f.number == PIECE_TYPE)
            TRY(set_type(r, &f, token, e));
    }
    if (token->len == 0)
        return error_at(e, ERROR_BAD_FORMAT, m.offset, "piece %zu has no text", r->n_tokens);
    r->n_tokens++;
    return 0;
}

static int set_number(const struct field *f, uint64_t *out, const char *name, struct error *e)
{
    TRY(expect_wire(f, WIRE_VARINT, name, e));
    *out = f->value;
    return 0;
}

static int set_bool(const struct field *f, bool *out, const char *name, struct error *e)
{
    uint64_t value;
    TRY(set_number(f, &value, name, e));
    *out = value != 0;
    return 0;
}

static int set_view(const struct field *f, struct text_view *out, const char *name, struct error *e)
{
    TRY(expect_wire(f, WIRE_BYTES, name, e));
    *out = (struct text_view){(const char *)f->bytes, (uint32_t)f->len};
    return 0;
}

static int read_trainer(struct reader *r, struct message m, struct error *e)
{
    struct field f;
    while (m.at < m.len) {
        TRY(next_field(&m, &f, e));
        switch (f.number) {
        case TRAINER_MODEL_TYPE:
            TRY(set_number(&f, &r->model_type, "trainer_spec.model_type", e));
            break;
        case TRAINER_SPACE_IS_SUFFIX:
            TRY(set_bool(&f, &r->out->space_is_suffix, "trainer_spec.treat_whitespace_as_suffix", e));
            break;
        case TRAINER_BYTE_FALLBACK:
            TRY(set_bool(&f, &r->byte_fallback, "trainer_spec.byte_fallback", e));
            break;
        case TRAINER_BOS_PIECE:
            TRY(set_view(&f, &r->bos, "trainer_spec.bos_piece", e));
            break;
        case TRAINER_EOS_PIECE:
            TRY(set_view(&f, &r->eos, "trainer_spec.eos_piece", e));
            break;
        case TRAINER_PAD_PIECE:
            TRY(set_view(&f, &r->pad, "trainer_spec.pad_piece", e));
            break;
        default:
            break;
        }
    }
    return 0;
}

static int read_charsmap(struct reader *r, const struct field *f, struct error *e)
{
    struct text_view map;
    TRY(set_view(f, &map, "normalizer_spec.precompiled_charsmap", e));
    r->out->charsmap = map.len ? arena_copy(r->arena, map.text, map.len) : NULL;
    r->out->charsmap_len = map.len;
    return r->out->charsmap || map.len == 0 ? 0 : error_no_memory(e);
}

static int read_normalizer(struct reader *r, struct message m, struct error *e)
{
    struct field f;
    bool escape = true;
    while (m.at < m.len) {
        TRY(next_field(&m, &f, e));
        if (f.number == NORMALIZER_CHARSMAP)
            TRY(read_charsmap(r, &f, e));
        else if (f.number == NORMALIZER_DUMMY_PREFIX)
            TRY(set_bool(&f, &r->out->add_space_prefix, "normalizer_spec.add_dummy_prefix", e));
        else if (f.number == NORMALIZER_REMOVE_EXTRA)
            TRY(set_bool(&f, &r->out->remove_extra_whitespaces, "normalizer_spec.remove_extra_whitespaces",
                         e));
        else if (f.number == NORMALIZER_ESCAPE)
            TRY(set_bool(&f, &escape, "normalizer_spec.escape_whitespaces", e));
    }
    r->out->keep_spaces = !escape;
    return 0;
}

static int check_denormalizer(struct message m, struct error *e)
{
    struct field f;
    while (m.at < m.len) {
        TRY(next_field(&m, &f, e));
        if (f.number == NORMALIZER_CHARSMAP && f.len > 0)
            log_warning("the tokenizer's denormalizer is not applied");
    }
    return 0;
}

static int count_pieces(struct message m, size_t *n, struct error *e)
{
    struct field f;
    *n = 0;
    while (m.at < m.len) {
        TRY(next_field(&m, &f, e));
        *n += f.number == MODEL_PIECE;
    }
    if (*n == 0 || *n > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "the file has %zu pieces; it must be from 1 to %d", *n,
                         LIMIT_VOCABULARY);
    return 0;
}

static int read_model(struct reader *r, struct message m, struct error *e)
{
    struct field f;
    while (m.at < m.len) {
        TRY(next_field(&m, &f, e));
        if (f.number != MODEL_PIECE && f.number != MODEL_TRAINER && f.number != MODEL_NORMALIZER &&
            f.number != MODEL_DENORMALIZER)
            continue;
        TRY(expect_wire(&f, WIRE_BYTES, "a part of the model", e));
        struct message part = message_of(&m, &f);
        if (f.number == MODEL_PIECE)
            TRY(read_piece(r, part, e));
        else if (f.number == MODEL_TRAINER)
            TRY(read_trainer(r, part, e));
        else if (f.number == MODEL_NORMALIZER)
            TRY(read_normalizer(r, part, e));
        else
            TRY(check_denormalizer(part, e));
    }
    return 0;
}

/* "<0x0A>" -> 10, or -1. */
static int byte_value(const struct token_spec *token)
{
    static const char digits[] = "0123456789ABCDEF";
    if (token->len != 6 || memcmp(token->text, "<0x", 3) != 0 || token->text[5] != '>')
        return -1;
    const char *high = memchr(digits, token->text[3], 16), *low = memchr(digits, token->text[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static int check_bytes(const struct reader *r, struct error *e)
{
    size_t found = 0;
    for (size_t i = 0; i < r->n_tokens; i++) {
        const struct token_spec *t = &r->tokens[i];
        if (t->type != TOKEN_BYTE)
            continue;
        if (!r->byte_fallback)
            return error_set(e, ERROR_BAD_FORMAT,
                             "piece %zu is a byte, but the model does not fall back to bytes", i);
        if (byte_value(t) < 0)
            return error_set(e, ERROR_BAD_FORMAT, "the byte piece %zu is not of the form <0x00>", i);
        found++;
    }
    if (r->byte_fallback && found != 256)
        return error_set(e, ERROR_BAD_FORMAT, "the model falls back to bytes but has %zu of the 256", found);
    return 0;
}

static int32_t find_control(const struct reader *r, const struct string_table *ids, struct text_view name)
{
    int32_t id = string_table_find(ids, name.text, name.len);
    return id >= 0 && r->tokens[id].type == TOKEN_CONTROL ? id : -1;
}

static int find_special(struct reader *r, struct string_table *ids, struct error *e)
{
    struct tokenizer_spec *out = r->out;
    for (size_t i = 0; i < r->n_tokens; i++) {
        const struct token_spec *t = &r->tokens[i];
        if (string_table_add(ids, t->text, t->len, (int32_t)i) >= 0)
            return error_set(e, ERROR_BAD_FORMAT, "piece %zu (\"%.*s\") is there twice", i,
                             t->len < 64 ? (int)t->len : 64, t->text);
        if (t->type != TOKEN_UNKNOWN)
            continue;
        if (out->unk >= 0)
            return error_set(e, ERROR_BAD_FORMAT, "the pieces %" PRId32 " and %zu are both the unknown one",
                             out->unk, i);
        out->unk = (int32_t)i;
    }
    if (out->unk < 0)
        return error_set(e, ERROR_BAD_FORMAT, "no piece is the unknown one");
    out->bos = find_control(r, ids, r->bos);
    out->eos = find_control(r, ids, r->eos);
    out->pad = find_control(r, ids, r->pad);
    return 0;
}

static int finish(struct reader *r, struct error *e)
{
    struct string_table ids;
    TRY(check_bytes(r, e));
    TRY(string_table_init(&ids, r->n_tokens, e));
    int status = find_special(r, &ids, e);
    string_table_free(&ids);
    TRY(status);
    if (r->model_type != TYPE_UNIGRAM && r->model_type != TYPE_BPE && r->model_type != TYPE_CHARACTER)
        return error_set(e, ERROR_UNSUPPORTED,
                         "SentencePiece's model type %" PRIu64
                         " is not supported; Unigram (1), BPE (2) and characters (4) are",
                         r->model_type);
    r->out->model = r->model_type == TYPE_BPE ? "llama" : "t5";
    r->out->n_tokens = r->n_tokens;
    r->out->tokens = r->tokens;
    return 0;
}

int sentencepiece_read(struct bytes *b, struct arena *a, struct tokenizer_spec *out, struct error *e)
{
    *out = (struct tokenizer_spec){.bos = -1,
                                   .eos = -1,
                                   .eot = -1,
                                   .unk = -1,
                                   .sep = -1,
                                   .pad = -1,
                                   .cls = -1,
                                   .mask = -1,
                                   .add_bos_given = true,
                                   .add_space_prefix = true,
                                   .remove_extra_whitespaces = true,
                                   .sentencepiece = true};
    struct reader r = {.arena = a,
                       .model_type = TYPE_UNIGRAM,
                       .bos = {"<s>", 3},
                       .eos = {"</s>", 4},
                       .pad = {"<pad>", 5},
                       .out = out};
    uint64_t offset = bytes_offset(b), left = bytes_left(b);
    const void *all;
    if (left == 0)
        return error_at(e, ERROR_BAD_FORMAT, offset, "the SentencePiece model is empty");
    TRY(bytes_take(b, left, &all, "the SentencePiece model", e));
    struct message m = {all, 0, (size_t)left, offset};
    size_t n;
    TRY(count_pieces(m, &n, e));
    r.tokens = arena_alloc(a, n, sizeof *r.tokens);
    if (!r.tokens)
        return error_no_memory(e);
    TRY(read_model(&r, m, e));
    return finish(&r, e);
}
