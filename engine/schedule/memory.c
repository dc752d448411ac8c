/* memory.c - see job.h: what sequences and sources hold of the key-value memory.
 * Pages of self-attention grow with the text and are shared where texts agree; a state is one page that never
 * is; a source is shared by all sequences of its job.  Thread: the scheduler's. */
#include <string.h>

#include "engine/cache/prefix_tree.h"
#include "engine/schedule/job.h"

static size_t pages_for(size_t tokens)
{
    return (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

static const struct model_shape *shape_of(const struct sequence *s)
{
    return &s->job->served->model->shape;
}

bool model_takes_memory(const struct model *m)
{
    return m->shape.kv_layers > 0 || m->shape.cross_layers > 0 || m->shape.state_bytes > 0;
}

bool model_shares_prefixes(const struct model *m)
{
    return m->shape.kv_layers > 0 && m->shape.cross_layers == 0 && m->shape.state_bytes == 0;
}

void sequence_release(struct sequence *s)
{
    while (s->n_pages > 0)
        kv_page_unref(s->pages[--s->n_pages]);
    if (s->recurrent)
        kv_page_unref(s->recurrent);
    s->recurrent = NULL;
    s->n_computed = 0;
    s->n_known_pages = 0;
    s->prefix_node = 0;
    s->prefix_chain_ended = false;
}

bool sequence_holds_memory(const struct sequence *s)
{
    return s->n_pages > 0 || s->recurrent || s->job->source.n_pages > 0;
}

size_t sequence_needs(const struct sequence *s)
{
    const struct model_shape *shape = shape_of(s);
    size_t need = shape->kv_layers > 0 ? pages_for(s->n_tokens) - s->n_pages : 0;
    if (shape->state_bytes > 0 && !s->recurrent)
        need++;
    if (s->job->has_source)
        need += pages_for(s->job->spec.n_prompt) - s->job->source.n_pages;
    return need;
}

/* The page that the next token goes into may still be shared with other sequences: copy it. */
static bool own_last_page(struct sequence *s)
{
    size_t i = s->n_computed / KV_PAGE_TOKENS;
    if (s->n_computed % KV_PAGE_TOKENS == 0 || i >= s->n_pages || s->pages[i]->refs == 1)
        return true;
    struct kv_page *copy = kv_page_take(s->job->served->cache);
    if (!copy)
        return false;
    memcpy(copy->data, s->pages[i]->data, model_page_bytes(shape_of(s), s->job->served->model->kv_dtype));
    kv_page_unref(s->pages[i]);
    s->pages[i] = copy;
    return true;
}

static bool take_state(struct sequence *s)
{
    if (shape_of(s)->state_bytes > 0 && !s->recurrent)
        s->recurrent = kv_page_take(s->job->served->cache);
    return shape_of(s)->state_bytes == 0 || s->recurrent;
}

bool sequence_take(struct sequence *s, size_t n)
{
    if (!take_state(s) || !own_last_page(s))
        return false;
    size_t need = shape_of(s)->kv_layers > 0 ? pages_for(s->n_computed + n) : 0;
    for (; s->n_pages < need; s->n_pages++) {
        struct kv_page *page = kv_page_take(s->job->served->cache);
        if (!page)
            return false;
        s->pages[s->n_pages] = page;
    }
    return true;
}

void sequence_trim(struct sequence *s)
{
    while (s->n_pages > pages_for(s->n_tokens))
        kv_page_unref(s->pages[--s->n_pages]);
}

size_t sequence_prompt_left(const struct sequence *s)
{
    const struct job *j = s->job;
    return j->has_source || s->n_computed >= j->n_prefix ? 0 : j->n_prefix - s->n_computed;
}

/* Of its first n tokens those that may be shared through the prefix tree. */
static size_t sharable(const struct sequence *s, size_t n, bool prompt_only)
{
    return prompt_only && s->job->n_prefix < n ? s->job->n_prefix : n;
}

void sequence_find_prefix(struct sequence *s, bool prompt_only)
{
    size_t n = prefix_find(s->job->served->prefixes, s->job->spec.cache_salt, s->tokens,
                           sharable(s, s->n_tokens - 1, prompt_only), s->pages, &s->prefix_node);
    s->n_pages = s->n_known_pages = n;
    s->n_computed = n * KV_PAGE_TOKENS;
}

bool sequence_awaits(const struct sequence *q, const struct sequence *reader, bool prompt_only)
{
    size_t next = (reader->n_known_pages + 1) * KV_PAGE_TOKENS;
    return q->job->served == reader->job->served && q->job->spec.cache_salt == reader->job->spec.cache_salt &&
           !reader->prefix_chain_ended && next <= reader->job->n_prefix &&
           next <= sharable(q, q->n_tokens - 1, prompt_only) &&
           memcmp(q->tokens, reader->tokens, next * sizeof *q->tokens) == 0;
}

void sequence_keep_prefix(struct sequence *s, bool prompt_only)
{
    size_t n = sharable(s, s->n_computed, prompt_only);
    while (!s->prefix_chain_ended && (s->n_known_pages + 1) * KV_PAGE_TOKENS <= n) {
        size_t i = s->n_known_pages;
        s->prefix_node = prefix_insert(s->job->served->prefixes, s->job->spec.cache_salt, s->prefix_node,
                                       s->tokens + i * KV_PAGE_TOKENS, s->pages[i]);
        s->prefix_chain_ended = s->prefix_node == 0;
        s->n_known_pages++;
    }
}

void sequence_share(struct sequence *s, const struct sequence *from, size_t n)
{
    size_t state = shape_of(s)->state_bytes;
    sequence_release(s);
    s->state = SEQUENCE_RUNNING;
    if (state > 0 && (n != from->n_computed || !take_state(s)))
        return;
    if (state > 0)
        memcpy(s->recurrent->data, from->recurrent->data, state);
    for (; shape_of(s)->kv_layers > 0 && s->n_pages < pages_for(n); s->n_pages++) {
        kv_page_ref(from->pages[s->n_pages]);
        s->pages[s->n_pages] = from->pages[s->n_pages];
    }
    s->n_computed = n;
    if (from->n_known_pages * KV_PAGE_TOKENS <= n) {
        s->n_known_pages = from->n_known_pages;
        s->prefix_node = from->prefix_node;
        s->prefix_chain_ended = from->prefix_chain_ended;
    } else { /* the node of a page in the middle of the chain is not known here */
        s->prefix_chain_ended = true;
    }
}

bool source_take(struct job *j)
{
    struct source *source = &j->source;
    for (; source->n_pages < pages_for(j->spec.n_prompt); source->n_pages++) {
        struct kv_page *page = kv_page_take(j->served->cache);
        if (!page)
            return false;
        source->pages[source->n_pages] = page;
        source->data[source->n_pages] = page->data;
    }
    return true;
}

void source_release(struct job *j)
{
    while (j->source.n_pages > 0)
        kv_page_unref(j->source.pages[--j->source.n_pages]);
    j->source.encoded = false;
}

void source_release_idle(struct job *j)
{
    for (unsigned i = 0; i < j->n_sequences; i++) {
        if (j->sequences[i].state == SEQUENCE_RUNNING)
            return;
    }
    source_release(j);
}
