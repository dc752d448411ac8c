/* cmd_inspect.c - `loquat inspect`: what a checkpoint holds, the memory it needs for a context and a number
 * of sequences, and whether this machine can serve it.  Loads no weights. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/machine.h"
#include "server/command.h"

struct need {
    uint64_t context, kv, total, available;
    bool fits;
};

/* Saturates: a hostile file may claim any size. */
static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t out;
    return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}

static struct need work_out(const struct engine_report *report, const struct options *o)
{
    const struct engine_model_info *info = &report->info;
    struct need need = {.context = o->context ? o->context : info->trained_context};
    need.kv = product(product(info->kv_bytes_per_token, need.context), o->sequences);
    if (__builtin_add_overflow(need.kv, info->weight_bytes, &need.total))
        need.total = UINT64_MAX;
    need.available = machine_memory_available();
    need.fits = need.total <= need.available;
    return need;
}

static const char *or_none(const char *text)
{
    return text && *text ? text : "none";
}

static void print_text(const struct engine_report *report, const struct need *need, const struct options *o)
{
    const struct engine_model_info *info = &report->info;
    const double mib = 1 << 20;
    printf("format          %s\narchitecture    %s\nname            %s\n", or_none(info->format),
           or_none(info->architecture), or_none(info->description));
    printf("parameters      %" PRIu64 "\ntensors         %zu (%s)\nfile            %.1f MiB\n",
           info->parameters, report->tensors, or_none(report->dtypes), (double)info->file_bytes / mib);
    printf("layers          %zu\nembedding       %zu\nvocabulary      %zu\n", info->layers, info->embedding,
           info->vocabulary);
    printf("tokenizer       %s, pre-tokenizer %s\nchat template   %s\n", or_none(info->tokenizer),
           or_none(info->pre_tokenizer), info->chat_template ? "yes" : "no");
    printf("context         %zu tokens as trained\n", info->trained_context);
    if (info->weight_bytes)
        printf("memory needed   %.1f MiB: weights %.1f, keys and values %.1f for %" PRIu64 " x %" PRIu64
               " tokens\n",
               (double)need->total / mib, (double)info->weight_bytes / mib, (double)need->kv / mib,
               o->sequences, need->context);
    printf("memory free     %.1f MiB: %s\n", (double)need->available / mib,
           need->fits ? "it fits" : "it does not fit");
    printf("servable        %s%s\n",
           report->servable ? "yes" : "no: ", report->servable ? "" : report->why.text);
}

static void print_json(const struct engine_report *report, const struct need *need, const struct options *o)
{
    const struct engine_model_info *info = &report->info;
    json_t *result =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:I}", "format", or_none(info->format),
                  "architecture", or_none(info->architecture), "name",
                  info->description ? info->description : "", "parameters", (json_int_t)info->parameters,
                  "tensors", (json_int_t)report->tensors, "dtypes", or_none(report->dtypes), "file_bytes",
                  (json_int_t)info->file_bytes, "layers", (json_int_t)info->layers, "embedding",
                  (json_int_t)info->embedding, "vocabulary", (json_int_t)info->vocabulary);
    json_t *more = json_pack(
        "{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s}", "tokenizer",
        or_none(info->tokenizer), "pre_tokenizer", or_none(info->pre_tokenizer), "chat_template",
        info->chat_template != NULL, "trained_context", (json_int_t)info->trained_context, "context",
        (json_int_t)need->context, "sequences", (json_int_t)o->sequences, "weight_bytes",
        (json_int_t)info->weight_bytes, "kv_bytes", (json_int_t)need->kv, "memory_needed_bytes",
        (json_int_t)need->total, "memory_available_bytes", (json_int_t)need->available, "fits", need->fits,
        "servable", report->servable, "reason", report->servable ? "" : report->why.text);
    if (result && more && json_object_update(result, more) == 0) {
        json_dumpf(result, stdout, 0);
        printf("\n");
    }
    json_decref(more);
    json_decref(result);
}

int cmd_inspect(const struct options *o, struct error *e)
{
    struct engine_report report;
    if (!o->path) {
        error_set(e, ERROR_BAD_OPTION, "give the checkpoint's path");
        return 2;
    }
    if (engine_inspect(o->path, &report, e) < 0)
        return 1;
    struct need need = work_out(&report, o);
    if (o->json)
        print_json(&report, &need, o);
    else
        print_text(&report, &need, o);
    if (!report.servable)
        error_set(e, ERROR_UNSUPPORTED, "cannot be served: %s", report.why.text);
    else if (!need.fits)
        error_set(e, ERROR_OUT_OF_MEMORY, "does not fit into this machine's free memory");
    bool good = report.servable && need.fits;
    engine_report_free(&report);
    return good ? 0 : 1;
}
