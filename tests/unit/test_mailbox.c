/* test_mailbox.c - events cross from another thread whole, in order, and the final one whatever happens. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "server/mailbox.h"
#include "tests/unit/suite.h"

enum { SENDERS = 4, STEPS = 2000 };

static struct {
    uv_loop_t loop;
    struct mailbox *box;
    struct mailbox_slot slots[SENDERS];
    int next[SENDERS];
    int finals;
} t;

static void check_step(const struct engine_event *event, int expected)
{
    char text[32];
    snprintf(text, sizeof text, "step %d", expected);
    ck_assert_uint_eq(event->text_len, strlen(text));
    ck_assert_str_eq(event->text, text);
    ck_assert_uint_eq(event->n_tokens, (size_t)expected % 4);
    for (size_t i = 0; i < event->n_tokens; i++) {
        ck_assert_int_eq(event->tokens[i].id, expected + (int)i);
        ck_assert_uint_eq(event->tokens[i].n_top, i);
        for (unsigned j = 0; j < i; j++)
            ck_assert_int_eq(event->tokens[i].top[j].id, (int)(10 * i + j));
    }
    ck_assert_uint_eq(event->n_rows * event->n_cols, 2 * (size_t)(expected % 3));
    for (size_t i = 0; i < event->n_rows * event->n_cols; i++)
        ck_assert_float_eq(event->values[i], (float)(expected + (int)i));
    if (expected % 3 == 0)
        ck_assert_str_eq(event->stop_string, "END");
    else
        ck_assert_ptr_null(event->stop_string);
}

static void deliver(struct mailbox_slot *slot, const struct engine_event *event)
{
    if (event->kind == ENGINE_EVENT_STEP) {
        check_step(event, t.next[slot->index]++);
        return;
    }
    ck_assert_int_eq(t.next[slot->index], STEPS);
    ck_assert_str_eq(event->error->text, "the end");
    ck_assert_uint_eq(event->usage.completion_tokens, STEPS);
    mailbox_slot_free(slot);
    if (++t.finals == SENDERS)
        uv_stop(&t.loop);
}

/* Everything lives on this stack and is overwritten at once, as the scheduler's memory is. */
static void post_step(struct mailbox_slot *slot, int step)
{
    struct engine_alternative top[4][4];
    struct engine_token tokens[4] = {0};
    float values[4];
    char text[32], stop[] = "END";
    struct engine_event event = {
        .kind = ENGINE_EVENT_STEP, .tokens = tokens, .n_tokens = (size_t)step % 4, .text = text};
    for (unsigned i = 0; i < 4; i++) {
        tokens[i] = (struct engine_token){.id = step + (int)i, .n_top = i, .top = top[i]};
        for (unsigned j = 0; j < 4; j++)
            top[i][j].id = (int)(10 * i + j);
    }
    event.text_len = (size_t)snprintf(text, sizeof text, "step %d", step);
    event.values = values;
    event.n_rows = (size_t)step % 3;
    event.n_cols = 2;
    for (size_t i = 0; i < 4; i++)
        values[i] = (float)(step + (int)i);
    if (step % 3 == 0) {
        event.stop_string = stop;
        event.stop_len = 3;
    }
    mailbox_post(slot, &event);
    memset(top, 0xff, sizeof top);
    memset(tokens, 0xff, sizeof tokens);
    memset(values, 0xff, sizeof values);
    memset(text, 'x', sizeof text);
    memset(stop, 'x', sizeof stop);
}

static void send_all(void *context)
{
    struct mailbox_slot *slot = context;
    struct error e = {0};
    for (int step = 0; step < STEPS; step++)
        post_step(slot, step);
    error_set(&e, ERROR_CANCELLED, "the end");
    struct engine_event final = {
        .kind = ENGINE_EVENT_FINAL, .error = &e, .usage = {.completion_tokens = STEPS}};
    mailbox_post(slot, &final);
    memset(&e, 0xff, sizeof e);
}

static void open_box(void)
{
    struct error e = {0};
    memset(&t, 0, sizeof t);
    uv_loop_init(&t.loop);
    ck_assert_int_eq(mailbox_create(&t.loop, deliver, &t.box, &e), 0);
    for (size_t i = 0; i < SENDERS; i++)
        ck_assert_int_eq(mailbox_slot_init(&t.slots[i], t.box, &t, i, &e), 0);
}

static void close_box(void)
{
    mailbox_free(t.box);
    while (uv_run(&t.loop, UV_RUN_DEFAULT))
        continue;
    ck_assert_int_eq(uv_loop_close(&t.loop), 0);
}

START_TEST(events_arrive_whole_and_in_order)
{
    uv_thread_t threads[SENDERS];
    open_box();
    for (size_t i = 0; i < SENDERS; i++)
        uv_thread_create(&threads[i], send_all, &t.slots[i]);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < SENDERS; i++)
        uv_thread_join(&threads[i]);
    ck_assert_int_eq(t.finals, SENDERS);
    close_box();
}
END_TEST

START_TEST(letters_that_nobody_fetched_are_freed)
{
    open_box();
    send_all(&t.slots[0]);
    close_box();
    ck_assert_int_eq(t.finals, 0);
    for (size_t i = 0; i < SENDERS; i++)
        mailbox_slot_free(&t.slots[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mailbox");
    TCase *tc = tcase_create("mailbox");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, events_arrive_whole_and_in_order);
    tcase_add_test(tc, letters_that_nobody_fetched_are_freed);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
