/* mailbox.c - see mailbox.h. */
#include "server/mailbox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct letter {
    struct letter *next;
    struct mailbox_slot *slot;
    struct engine_event event; /* pointers lead into this letter's own memory */
    struct error error;
    _Alignas(16) char bytes[];
};

struct mailbox {
    uv_async_t wake;
    uv_mutex_t lock;
    struct letter *first, **last; /* under the lock */
    mailbox_fn *deliver;
};

/* ---- copying: scheduler thread ----------------------------------------------------------------- */

static size_t event_size(const struct engine_event *event)
{
    size_t size =
        event->n_tokens * sizeof *event->tokens + event->n_rows * event->n_cols * sizeof *event->values;
    for (size_t i = 0; i < event->n_tokens; i++)
        size += event->tokens[i].n_top * sizeof *event->tokens[i].top;
    return size + event->text_len + event->stop_len + 2;
}

static void *copy_bytes(char **at, const void *bytes, size_t len)
{
    char *to = *at;
    if (len)
        memcpy(to, bytes, len);
    *at += len;
    return to;
}

static const char *copy_text(char **at, const char *text, size_t len)
{
    const char *to = copy_bytes(at, text, len);
    *(*at)++ = 0;
    return to;
}

/* Tokens, then their alternatives and the values, then the texts: falling alignment, so nothing needs
 * padding. */
static struct letter *copy_event(const struct engine_event *event)
{
    struct letter *letter = malloc(sizeof *letter + event_size(event));
    if (!letter)
        return NULL;
    char *at = letter->bytes;
    letter->event = *event;
    struct engine_token *tokens = copy_bytes(&at, event->tokens, event->n_tokens * sizeof *tokens);
    letter->event.tokens = tokens;
    for (size_t i = 0; i < event->n_tokens; i++)
        tokens[i].top = copy_bytes(&at, tokens[i].top, tokens[i].n_top * sizeof *tokens[i].top);
    letter->event.values =
        copy_bytes(&at, event->values, event->n_rows * event->n_cols * sizeof *event->values);
    letter->event.text = copy_text(&at, event->text, event->text_len);
    if (event->stop_string)
        letter->event.stop_string = copy_text(&at, event->stop_string, event->stop_len);
    return letter;
}

static struct letter *fill_final(struct mailbox_slot *slot, const struct engine_event *event)
{
    struct letter *letter = slot->final;
    slot->final = NULL;
    letter->event =
        (struct engine_event){.kind = ENGINE_EVENT_FINAL, .job = event->job, .finish = event->finish};
    letter->event.time_ns = event->time_ns;
    letter->event.usage = event->usage;
    if (event->error) {
        letter->error = *event->error;
        letter->event.error = &letter->error;
    }
    return letter;
}

void mailbox_post(void *user, const struct engine_event *event)
{
    struct mailbox_slot *slot = user;
    struct mailbox *m = slot->mailbox;
    struct letter *letter = event->kind == ENGINE_EVENT_FINAL ? fill_final(slot, event) : copy_event(event);
    if (!letter) {
        atomic_store(&slot->lost, true);
        return;
    }
    letter->slot = slot;
    letter->next = NULL;
    uv_mutex_lock(&m->lock);
    bool was_empty = !m->first;
    *m->last = letter;
    m->last = &letter->next;
    uv_mutex_unlock(&m->lock);
    if (was_empty)
        uv_async_send(&m->wake);
}

/* ---- delivery: loop thread --------------------------------------------------------------------- */

static struct letter *take_all(struct mailbox *m)
{
    uv_mutex_lock(&m->lock);
    struct letter *first = m->first;
    m->first = NULL;
    m->last = &m->first;
    uv_mutex_unlock(&m->lock);
    return first;
}

static void on_wake(uv_async_t *handle)
{
    struct mailbox *m = handle->data;
    struct letter *letter = take_all(m);
    while (letter) {
        struct letter *next = letter->next;
        m->deliver(letter->slot, &letter->event);
        free(letter);
        letter = next;
    }
}

int mailbox_create(uv_loop_t *loop, mailbox_fn *deliver, struct mailbox **out, struct error *e)
{
    struct mailbox *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    m->deliver = deliver;
    m->last = &m->first;
    m->wake.data = m;
    int status = uv_mutex_init(&m->lock);
    if (status)
        goto fail_box;
    status = uv_async_init(loop, &m->wake, on_wake);
    if (status)
        goto fail_lock;
    *out = m;
    return 0;
fail_lock:
    uv_mutex_destroy(&m->lock);
fail_box:
    free(m);
    return error_set(e, ERROR_INTERNAL, "cannot make the mailbox: %s", uv_strerror(status));
}

static void free_box(uv_handle_t *handle)
{
    free(handle->data);
}

void mailbox_free(struct mailbox *m)
{
    if (!m)
        return;
    struct letter *letter = take_all(m);
    while (letter) {
        struct letter *next = letter->next;
        free(letter);
        letter = next;
    }
    uv_mutex_destroy(&m->lock);
    uv_close((uv_handle_t *)&m->wake, free_box);
}

int mailbox_slot_init(struct mailbox_slot *slot, struct mailbox *m, void *owner, size_t index,
                      struct error *e)
{
    *slot = (struct mailbox_slot){.mailbox = m, .owner = owner, .index = index};
    slot->final = calloc(1, sizeof *slot->final);
    return slot->final ? 0 : error_no_memory(e);
}

void mailbox_slot_free(struct mailbox_slot *slot)
{
    free(slot->final);
    slot->final = NULL;
}
