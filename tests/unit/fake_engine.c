/* fake_engine.c - see fake_engine.h. */
#include "tests/unit/fake_engine.h"

#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "engine/decode/grammar.h"
#include "engine/decode/token_trie.h"

struct engine_vocabulary {
    bool add_bos, add_eos;
};

static struct token_trie *fake_trie; /* of the first grammar; for the life of the process */

struct engine_model {
    struct engine_model_info info;
    struct engine_vocabulary vocabulary;
};

struct engine {
    struct engine_model models[2];
};

static struct engine fake;
static const char *const names[] = {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "a"};
static char byte_texts[256];

static void make_model(struct engine_model *m, const char *name, const char *chat_template, bool add_bos)
{
    m->vocabulary = (struct engine_vocabulary){.add_bos = add_bos};
    m->info = (struct engine_model_info){.name = name,
                                         .path = "",
                                         .format = "fake",
                                         .architecture = "toy",
                                         .description = "",
                                         .dtype = "F32",
                                         .tokenizer = "bytes",
                                         .pre_tokenizer = "",
                                         .chat_template = chat_template,
                                         .bos_text = "<s>",
                                         .eos_text = "</s>",
                                         .bos = FAKE_BOS,
                                         .eos = FAKE_EOS,
                                         .context = FAKE_CONTEXT,
                                         .trained_context = 200,
                                         .vocabulary = FAKE_VOCABULARY,
                                         .layers = 1,
                                         .embedding = 8,
                                         .parameters = 1000,
                                         .weight_bytes = 4000,
                                         .abilities = ENGINE_CAN_GENERATE,
                                         .mask = -1,
                                         .mask_text = "",
                                         .length_penalty = 1,
                                         .source_language = "",
                                         .target_language = "",
                                         .inferred = "",
                                         .created = 1700000000};
}

struct engine *fake_engine(const char *chat_template)
{
    for (int i = 0; i < 256; i++)
        byte_texts[i] = (char)i;
    make_model(&fake.models[0], "toy", chat_template, true);
    make_model(&fake.models[1], "second", NULL, false);
    return &fake;
}

struct engine_model *fake_model(size_t i)
{
    return &fake.models[i];
}

struct engine_model_info *fake_info(size_t i)
{
    return &fake.models[i].info;
}

void fake_transforms(size_t i)
{
    struct engine_model *m = &fake.models[i];
    m->vocabulary = (struct engine_vocabulary){.add_eos = true};
    m->info.abilities = ENGINE_CAN_GENERATE | ENGINE_CAN_TRANSFORM | ENGINE_CAN_EMBED;
    m->info.source_context = 60;
    m->info.context = 40;
    m->info.bos = -1;
    m->info.bos_text = "";
}

/* ---- engine.h ------------------------------------------------------------------------------- */

struct engine_model *engine_find_model(struct engine *engine, const char *name)
{
    if (!name || !*name || strcmp(name, "default") == 0)
        return &engine->models[0];
    for (size_t i = 0; i < 2; i++) {
        if (strcmp(engine->models[i].info.name, name) == 0)
            return &engine->models[i];
    }
    return NULL;
}

size_t engine_models(struct engine *engine, struct engine_model **out, size_t max)
{
    for (size_t i = 0; i < 2 && i < max; i++)
        out[i] = &engine->models[i];
    return 2;
}

const struct engine_model_info *engine_model_info(const struct engine_model *model)
{
    return &model->info;
}

struct engine_vocabulary *engine_model_vocabulary(struct engine_model *model)
{
    return &model->vocabulary;
}

static uint64_t cancelled;

void engine_cancel(struct engine *engine, uint64_t id)
{
    (void)engine;
    cancelled = id;
}

uint64_t fake_cancelled(void)
{
    uint64_t id = cancelled;
    cancelled = 0;
    return id;
}

const char *engine_kernels(const struct engine *engine)
{
    (void)engine;
    return "fake";
}

void engine_sampling_init(struct engine_sampling *s)
{
    *s = (struct engine_sampling){.top_p = 1, .repetition_penalty = 1};
}

size_t engine_vocabulary_size(const struct engine_vocabulary *v)
{
    (void)v;
    return FAKE_VOCABULARY;
}

bool engine_token_is_control(const struct engine_vocabulary *v, int32_t id)
{
    (void)v;
    return id >= FAKE_BOS && id < FAKE_TWIN;
}

const char *engine_token_bytes(const struct engine_vocabulary *v, int32_t id, size_t *len)
{
    (void)v;
    *len = id < 256 ? 1 : strlen(names[id - 256]);
    return id < 256 ? &byte_texts[id] : names[id - 256];
}

const char *engine_token_piece(const struct engine_vocabulary *v, int32_t id, size_t *len)
{
    const char *piece = id == FAKE_IM_END ? ">>fra<<" : id == 'z' ? "##z" : engine_token_bytes(v, id, len);
    *len = id == FAKE_IM_END || id == 'z' ? strlen(piece) : *len;
    return piece;
}

static bool touches_literal(size_t start, size_t end, const struct engine_span *literal, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (start < literal[i].end && literal[i].start < end)
            return true;
    }
    return false;
}

/* The control token that the text begins with, or -1. */
static int control_at(const char *text, size_t len)
{
    for (int c = 0; c < FAKE_TWIN - FAKE_BOS; c++) {
        size_t n = strlen(names[c]);
        if (n <= len && memcmp(text, names[c], n) == 0)
            return c;
    }
    return -1;
}

int engine_tokenize(const struct engine_vocabulary *v, const char *text, size_t len, unsigned flags,
                    const struct engine_span *literal, size_t n_literal, int32_t **ids, size_t *n,
                    struct error *e)
{
    (void)e;
    *ids = malloc((len + 1) * sizeof **ids);
    ck_assert_ptr_nonnull(*ids);
    *n = 0;
    if ((flags & ENGINE_ADD_SPECIAL) && v->add_bos)
        (*ids)[(*n)++] = FAKE_BOS;
    for (size_t i = 0; i < len;) {
        int c = flags & ENGINE_PARSE_SPECIAL ? control_at(text + i, len - i) : -1;
        size_t width = c >= 0 ? strlen(names[c]) : 1;
        if (c >= 0 && touches_literal(i, i + width, literal, n_literal)) {
            c = -1;
            width = 1;
        }
        (*ids)[(*n)++] = c >= 0 ? 256 + c : (unsigned char)text[i];
        i += width;
    }
    if ((flags & ENGINE_ADD_SPECIAL) && v->add_eos)
        (*ids)[(*n)++] = FAKE_EOS;
    return 0;
}

static void add_token(struct engine_encoding *x, int32_t id, uint8_t type, uint8_t sequence, size_t start,
                      size_t end, uint32_t word)
{
    x->ids[x->n] = id;
    x->types[x->n] = type;
    x->sequence[x->n] = sequence;
    x->starts[x->n] = (uint32_t)start;
    x->ends[x->n] = (uint32_t)end;
    x->words[x->n++] = word;
}

static void add_text(struct engine_encoding *x, const char *text, size_t len, uint8_t sequence, bool parse)
{
    uint32_t word = 0;
    char before = ' ';
    for (size_t i = 0, next; i < len; before = text[next - 1], i = next) {
        int c = parse ? control_at(text + i, len - i) : -1;
        next = i + (c >= 0 ? strlen(names[c]) : 1);
        while (c < 0 && next < len && ((unsigned char)text[next] & 0xc0) == 0x80)
            next++;
        word += before == ' ' || ispunct((unsigned char)before) || ispunct((unsigned char)text[i]);
        if (text[i] != ' ')
            add_token(x, c >= 0 ? 256 + c : (unsigned char)text[i], sequence, sequence, i, next, word);
    }
}

int engine_encode(const struct engine_vocabulary *v, const char *text, size_t len, const char *pair,
                  size_t pair_len, unsigned flags, struct engine_encoding *out, struct error *e)
{
    size_t most = len + (pair ? pair_len : 0) + 3;
    bool special = flags & ENGINE_ADD_SPECIAL, parse = flags & ENGINE_PARSE_SPECIAL;
    (void)e;
    *out = (struct engine_encoding){.ids = calloc(most, sizeof *out->ids),
                                    .types = calloc(most, 1),
                                    .sequence = calloc(most, 1),
                                    .starts = calloc(most, sizeof *out->starts),
                                    .ends = calloc(most, sizeof *out->ends),
                                    .words = calloc(most, sizeof *out->words)};
    if (special && !v->add_eos)
        add_token(out, FAKE_BOS, 0, 255, 0, 0, UINT32_MAX);
    add_text(out, text, len, 0, parse);
    if (special)
        add_token(out, FAKE_EOS, 0, 255, 0, 0, UINT32_MAX);
    if (pair)
        add_text(out, pair, pair_len, 1, parse);
    if (pair && special)
        add_token(out, FAKE_EOS, 1, 255, 0, 0, UINT32_MAX);
    return 0;
}

void engine_encoding_free(struct engine_encoding *x)
{
    free(x->ids);
    free(x->types);
    free(x->sequence);
    free(x->starts);
    free(x->ends);
    free(x->words);
    memset(x, 0, sizeof *x);
}

int engine_detokenize(const struct engine_vocabulary *v, const int32_t *ids, size_t n, bool show_control,
                      struct buf *out, struct error *e)
{
    struct buf raw;
    buf_init(&raw, LIMIT_REQUEST_ARENA);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        if (ids[i] < 0 || ids[i] >= FAKE_VOCABULARY) {
            buf_free(&raw);
            return error_set(e, ERROR_INVALID_REQUEST, "no such token");
        }
        const char *bytes = engine_token_bytes(v, ids[i], &len);
        if (show_control || !engine_token_is_control(v, ids[i]))
            buf_add(&raw, bytes, len);
    }
    if (utf8_append_lossy(out, raw.data ? raw.data : "", raw.len) > 0)
        buf_add_text(out, UTF8_REPLACEMENT);
    buf_free(&raw);
    return 0;
}

/* ---- driving a call ------------------------------------------------------------------------- */

int fake_begin(struct fake_call *f, struct api *api, unsigned method, const char *path, const char *body)
{
    bool other;
    memset(f, 0, sizeof *f);
    f->call.api = api;
    f->call.engine = &fake;
    f->call.endpoint = api_find(path, method, &other);
    ck_assert_ptr_nonnull(f->call.endpoint);
    f->call.arena = arena_create(LIMIT_REQUEST_ARENA);
    f->call.request_id = "r\"1";
    f->call.body = body ? body : "";
    f->call.body_len = strlen(f->call.body);
    f->call.created = 1234;
    f->call.cache_salt = 77;
    buf_init(&f->call.out, LIMIT_REQUEST_ARENA);
    if (api_path_arguments(f->call.endpoint, path, f->call.arena, f->call.path_arguments, &f->error) < 0)
        return -1;
    return api_call_begin(&f->call, &f->error);
}

void fake_end(struct fake_call *f)
{
    api_call_free(&f->call);
    arena_free(f->call.arena);
}

void fake_step(struct fake_call *f, size_t job, unsigned choice, const char *text, const int32_t *ids,
               size_t n, enum engine_finish finish)
{
    struct engine_token tokens[16] = {{0}};
    for (size_t i = 0; i < n; i++)
        tokens[i].id = ids[i];
    struct engine_event event = {.kind = ENGINE_EVENT_STEP,
                                 .choice = choice,
                                 .tokens = tokens,
                                 .n_tokens = n,
                                 .text = text,
                                 .text_len = strlen(text),
                                 .finish = finish};
    api_call_event(&f->call, job, &event);
}

static void send_logprobs(struct fake_call *f, size_t job, struct engine_event *event, const int32_t *ids,
                          size_t n, bool first)
{
    struct engine_alternative top = {.id = '!', .logprob = -0.5f};
    struct engine_token tokens[32] = {{0}};
    for (size_t i = 0; i < n; i++) {
        bool has = i > 0 || !first;
        tokens[i] =
            (struct engine_token){ids[i], has ? -1.0f - (float)i / 8 : 0, has, has, has ? &top : NULL};
    }
    event->tokens = tokens;
    event->n_tokens = n;
    api_call_event(&f->call, job, event);
}

void fake_step_logprobs(struct fake_call *f, size_t job, unsigned choice, const char *text,
                        const int32_t *ids, size_t n, enum engine_finish finish)
{
    struct engine_event event = {.kind = ENGINE_EVENT_STEP,
                                 .choice = choice,
                                 .text = text,
                                 .text_len = strlen(text),
                                 .finish = finish};
    send_logprobs(f, job, &event, ids, n, false);
}

void fake_prompt_logprobs(struct fake_call *f, size_t job, const int32_t *ids, size_t n, bool first)
{
    struct engine_event event = {.kind = ENGINE_EVENT_PROMPT};
    send_logprobs(f, job, &event, ids, n, first);
}

void fake_final(struct fake_call *f, size_t job, size_t prompt, size_t cached, size_t completion)
{
    struct engine_event event = {.kind = ENGINE_EVENT_FINAL, .usage = {prompt, cached, completion, 0, 0, 0}};
    api_call_event(&f->call, job, &event);
}

void fake_fail(struct fake_call *f, size_t job, enum error_kind kind, const char *text)
{
    struct error e = {0};
    error_set(&e, kind, "%s", text);
    struct engine_event event = {.kind = ENGINE_EVENT_FINAL, .error = &e};
    api_call_event(&f->call, job, &event);
}

void fake_result(struct fake_call *f, size_t job, const float *values, size_t rows, size_t cols)
{
    struct engine_event event = {
        .kind = ENGINE_EVENT_RESULT, .values = values, .n_rows = rows, .n_cols = cols, .text = ""};
    api_call_event(&f->call, job, &event);
    fake_final(f, job, f->call.jobs[job].n_prompt, 0, 0);
}

void fake_filled(struct fake_call *f, size_t job, size_t n, const struct engine_alternative *top,
                 unsigned n_top)
{
    struct engine_token tokens[16];
    ck_assert_uint_le(n, 16);
    for (size_t i = 0; i < n; i++)
        tokens[i] = (struct engine_token){top[0].id, top[0].logprob, true, n_top, top};
    struct engine_event event = {.kind = ENGINE_EVENT_RESULT, .tokens = tokens, .n_tokens = n, .text = ""};
    api_call_event(&f->call, job, &event);
    fake_final(f, job, f->call.jobs[job].n_prompt, 0, 0);
}

void fake_hypothesis(struct fake_call *f, size_t job, unsigned choice, const char *text,
                     enum engine_finish finish, double score)
{
    struct engine_token tokens[64];
    size_t n = strlen(text);
    ck_assert_uint_lt(n, 64);
    for (size_t i = 0; i <= n; i++)
        tokens[i] = (struct engine_token){i < n ? (unsigned char)text[i] : FAKE_EOS, -0.5f, true, 0, NULL};
    struct engine_event event = {.kind = ENGINE_EVENT_STEP,
                                 .choice = choice,
                                 .tokens = tokens,
                                 .n_tokens = n + 1,
                                 .text = text,
                                 .text_len = n,
                                 .finish = finish,
                                 .score = score};
    api_call_event(&f->call, job, &event);
}

int fake_advance(struct fake_call *f)
{
    for (size_t i = 0; i < f->call.n_jobs; i++) {
        free(f->call.jobs[i].prompt);
        f->call.jobs[i].prompt = NULL;
    }
    f->call.n_jobs = 0;
    return api_call_advance(&f->call, &f->error);
}

void fake_begin_ok(struct fake_call *f, struct api *api, const char *path, const char *body)
{
    ck_assert_msg(fake_begin(f, api, API_POST, path, body) == 0, "%.200s: %s", body, f->error.text);
}

json_t *fake_done(struct fake_call *f)
{
    ck_assert_msg(fake_advance(f) == 0, "%s", f->error.text);
    ck_assert_uint_eq(f->call.n_jobs, 0);
    return fake_answer(f);
}

void fake_refused(struct api *api, const char *path, const char *body, enum error_kind kind,
                  const char *param, const char *message)
{
    struct fake_call f;
    ck_assert_msg(fake_begin(&f, api, API_POST, path, body) < 0, "%.200s is not refused", body);
    ck_assert_msg(f.error.kind == kind && strcmp(f.error.param, param) == 0 && strstr(f.error.text, message),
                  "%.200s: %s (%d, %s)", body, f.error.text, (int)f.error.kind, f.error.param);
    fake_end(&f);
}

const char *fake_prompt(const struct fake_call *f, size_t job)
{
    static char text[8192];
    const struct engine_job *j = &f->call.jobs[job];
    size_t at_byte = 0;
    for (size_t i = 0; i < j->n_prompt; i++) {
        size_t len;
        const char *bytes = engine_token_bytes(NULL, j->prompt[i], &len);
        ck_assert_uint_lt(at_byte + len, sizeof text);
        memcpy(text + at_byte, bytes, len);
        at_byte += len;
    }
    text[at_byte] = 0;
    return text;
}

json_t *fake_answer(struct fake_call *f)
{
    json_t *value = NULL;
    struct error e = {0};
    ck_assert_msg(json_parse(f->call.out.data, f->call.out.len, &value, &e) == 0, "%s in %s", e.text,
                  f->call.out.data);
    return value;
}

/* Start of the i-th "data: " payload, and its length; NULL past the last. */
static const char *payload(const struct fake_call *f, size_t i, size_t *len)
{
    const char *at_byte = f->call.out.data;
    while (at_byte && *at_byte) {
        const char *end = strstr(at_byte, "\n\n");
        ck_assert_msg(strncmp(at_byte, "data: ", 6) == 0 && end, "no event: %s", at_byte);
        *len = (size_t)(end - at_byte) - 6;
        if (i-- == 0)
            return at_byte + 6;
        at_byte = end + 2;
    }
    return NULL;
}

json_t *fake_stream_event(const struct fake_call *f, size_t i)
{
    size_t len;
    json_t *value = NULL;
    struct error e = {0};
    const char *text = payload(f, i, &len);
    if (!text || strncmp(text, "[DONE]", len) == 0)
        return NULL;
    ck_assert_msg(json_parse(text, len, &value, &e) == 0, "%s in %s", e.text, text);
    return value;
}

size_t fake_stream_events(const struct fake_call *f)
{
    size_t n = 0, len;
    while (payload(f, n, &len))
        n++;
    return n;
}

const json_t *at(const json_t *value, const char *path)
{
    char name[64];
    while (*path && value) {
        size_t len = strcspn(path, "/");
        ck_assert_uint_lt(len, sizeof name);
        memcpy(name, path, len);
        name[len] = 0;
        value = json_is_array(value) ? json_array_get(value, (size_t)strtoul(name, NULL, 10))
                                     : json_object_get(value, name);
        path += len + (path[len] == '/');
    }
    return value;
}

const char *text_at(const json_t *value, const char *path)
{
    const char *text = json_string_value(at(value, path));
    return text ? text : "";
}

double number_at(const json_t *value, const char *path)
{
    const json_t *number = at(value, path);
    ck_assert_msg(json_is_number(number), "no number at %s", path);
    return json_number_value(number);
}

/* ---- grammars: real ones, over the toy vocabulary --------------------------------------------- */

static const char *trie_bytes(const void *context, int32_t id, size_t *len)
{
    return engine_token_bytes(context, id, len);
}

static bool trie_is_control(const void *context, int32_t id)
{
    return engine_token_is_control(context, id);
}

static bool trie_is_end(const void *context, int32_t id)
{
    (void)context;
    return id == FAKE_EOS || id == FAKE_IM_END;
}

int engine_grammar_create(struct engine_vocabulary *v, const char *text, size_t len,
                          struct engine_grammar **out, struct error *e)
{
    const struct token_source source = {v, FAKE_VOCABULARY, trie_bytes, trie_is_control, trie_is_end};
    if (!fake_trie && token_trie_create(&source, &fake_trie, e) < 0)
        return -1;
    return grammar_create(text, len, fake_trie, out, e);
}

struct engine_grammar *engine_grammar_share(struct engine_grammar *g)
{
    return grammar_share(g);
}

void engine_grammar_release(struct engine_grammar *g)
{
    grammar_release(g);
}

size_t engine_grammar_bytes(struct engine_grammar *g)
{
    return grammar_bytes(g);
}
