/* jinja_run.c - one rendering: its budgets, its errors, and jinja_render() itself.
 * Thread: the caller's; the template is only read.  Memory: an arena that dies with the run. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/jinja_tree.h"
#include "engine/base/clock.h"
#include "engine/base/limits.h"

enum { CLOCK_EVERY = 1024 }; /* steps between two looks at the clock */

int jinja_fail(struct run *run, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *s = text; *s; s++)
        *s = *s == '\n' || *s == '\r' ? ' ' : *s;
    if (!run->at)
        return error_set(run->e, ERROR_INVALID_REQUEST, "%s", text);
    return error_set(run->e, ERROR_INVALID_REQUEST, "line %u, column %u: %s", run->at->line, run->at->column,
                     text);
}

int jinja_spend(struct run *run, uint64_t steps)
{
    run->steps += steps;
    if (run->steps > run->max_steps)
        return jinja_fail(run, "the template takes more than %llu steps", (unsigned long long)run->max_steps);
    if (run->steps < run->next_clock)
        return 0;
    run->next_clock = run->steps + CLOCK_EVERY;
    if (clock_ns() > run->deadline)
        return jinja_fail(run, "the template takes longer than %llu ms",
                          (unsigned long long)(run->max_time_ns / 1000000));
    return 0;
}

/* 64 bytes are about as much work as one step. */
int jinja_spend_bytes(struct run *run, uint64_t bytes)
{
    return bytes < 64 ? 0 : jinja_spend(run, bytes / 64);
}

void *jinja_alloc(struct run *run, size_t count, size_t size)
{
    void *p = arena_alloc(run->arena, count, size);
    if (!p)
        jinja_fail(run, "the template needs more than %llu bytes of memory",
                   (unsigned long long)run->max_memory);
    return p;
}

int jinja_deeper(struct run *run)
{
    if (++run->depth <= LIMIT_TEMPLATE_STACK)
        return 0;
    return jinja_fail(run, "values or calls are nested too deep");
}

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

static int start(struct run *run, const struct jinja_template *t, const struct jinja_options *o,
                 struct error *e)
{
    static const struct jinja_options defaults;
    o = o ? o : &defaults;
    *run = (struct run){.t = t, .e = e, .now = o->now, .utc = o->utc};
    run->max_steps = or_default(o->max_steps, LIMIT_TEMPLATE_STEPS);
    run->max_output = or_default(o->max_output, LIMIT_TEMPLATE_OUTPUT);
    run->max_memory = or_default(o->max_memory, LIMIT_TEMPLATE_MEMORY);
    run->max_time_ns = or_default(o->max_time_ns, LIMIT_TEMPLATE_NS);
    run->deadline = clock_ns() + run->max_time_ns;
    run->arena = arena_create((size_t)run->max_memory);
    return run->arena ? 0 : error_no_memory(e);
}

static int builtin_global(struct run *run, const struct text *name, struct value *out)
{
    const struct builtin *row = jinja_find_global(name->s, name->len);
    struct function *f = row ? jinja_alloc(run, 1, sizeof *f) : NULL;
    if (!row)
        return 0;
    if (!f)
        return -1;
    f->row = row;
    *out = (struct value){.type = VALUE_FUNCTION, .function = f};
    return 0;
}

/* Only the variables that the template names are converted. */
static int fill_globals(struct run *run, const json_t *user, const json_t *trusted)
{
    run->globals = jinja_alloc(run, run->t->n_symbols + 1, sizeof *run->globals);
    if (!run->globals)
        return -1;
    for (uint32_t i = 0; i < run->t->n_symbols; i++) {
        const struct text *name = run->t->symbols[i];
        const json_t *own = json_object_getn(trusted, name->s, name->len);
        const json_t *given = own ? own : json_object_getn(user, name->s, name->len);
        if (given)
            TRY(jinja_from_json(run, given, !own, &run->globals[i]));
        else
            TRY(builtin_global(run, name, &run->globals[i]));
    }
    return 0;
}

/* Hands the output over. */
static int finish(struct run *run, struct buf *out, struct jinja_span **spans, size_t *n_spans)
{
    const struct builder *b = run->out;
    size_t before = out->len;
    struct jinja_span *list = b->n_spans ? malloc(b->n_spans * sizeof *list) : NULL;
    if (b->n_spans && !list)
        return error_no_memory(run->e);
    buf_add(out, b->data, b->len);
    if (out->failed) {
        free(list);
        return error_set(run->e, ERROR_INVALID_REQUEST, "the prompt is larger than %zu bytes", out->max);
    }
    for (size_t i = 0; i < b->n_spans; i++)
        list[i] = (struct jinja_span){b->spans[i].start + before, b->spans[i].end + before};
    *spans = list;
    *n_spans = b->n_spans;
    return 0;
}

int jinja_render(const struct jinja_template *t, const json_t *user, const json_t *trusted,
                 const struct jinja_options *o, struct buf *out, struct jinja_span **spans, size_t *n_spans,
                 struct error *e)
{
    struct run run;
    struct builder output;
    int result = start(&run, t, o, e);
    *spans = NULL;
    *n_spans = 0;
    if (result < 0)
        return result;
    jinja_build(&output, &run);
    output.max = (size_t)run.max_output;
    run.out = &output;
    result = fill_globals(&run, user, trusted);
    if (result == 0)
        result = jinja_exec_root(&run);
    if (result == 0)
        result = finish(&run, out, spans, n_spans);
    arena_free(run.arena);
    return result;
}
