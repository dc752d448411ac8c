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

static const char *problem_name(const struct engine_model_info *info)
{
    return info->problem == ENGINE_PROBLEM_REGRESSION ? "a value"
           : info->problem == ENGINE_PROBLEM_MULTI    ? "any of these"
                                                      : "one of these";
}

static const char *pooling_name(enum engine_pooling pooling)
{
    static const char *const names[] = {
        [ENGINE_POOLING_DEFAULT] = "",  [ENGINE_POOLING_MEAN] = "mean", [ENGINE_POOLING_CLS] = "cls",
        [ENGINE_POOLING_LAST] = "last", [ENGINE_POOLING_MAX] = "max",   [ENGINE_POOLING_POOLER] = "pooler"};
    return names[pooling];
}

static void list_abilities(unsigned abilities, char *out, size_t size)
{
    static const char *const names[ENGINE_ABILITIES] = {"generate", "embed",      "classify",    "entities",
                                                        "answers",  "fill masks", "text to text"};
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < ENGINE_ABILITIES && used < size; i++) {
        if (abilities & 1u << i)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", names[i]);
    }
}

/* What the checkpoint can be asked for, and what its answers mean. */
static void print_abilities(const struct engine_model_info *info)
{
    enum { SHOWN = 16 };
    char can[256];
    list_abilities(info->abilities, can, sizeof can);
    printf("abilities       %s\n", or_none(can));
    if (info->n_labels)
        printf("labels          %zu, %s:", info->n_labels, problem_name(info));
    for (size_t i = 0; i < info->n_labels && i < SHOWN; i++)
        printf("%s %s", i ? "," : "", info->labels[i]);
    if (info->n_labels)
        printf("%s\n", info->n_labels > SHOWN ? ", ..." : "");
    if (info->abilities & ENGINE_CAN_EMBED)
        printf("pooling         %s%s\n", pooling_name(info->pooling), info->normalize ? ", length 1" : "");
    if (info->source_context)
        printf("source          %zu tokens at most\n", info->source_context);
}

static void print_text(const struct engine_report *report, const struct need *need, const struct options *o)
{
    const struct engine_model_info *info = &report->info;
    const double mib = 1 << 20;
    printf("format          %s\nnames           %s\narchitecture    %s\nname            %s\n",
           or_none(info->format), or_none(report->dialect), or_none(info->architecture),
           or_none(info->description));
    printf("parameters      %" PRIu64 "\ntensors         %zu (%s)\nfile            %.1f MiB\n",
           info->parameters, report->tensors, or_none(report->dtypes), (double)info->file_bytes / mib);
    printf("layers          %zu\nembedding       %zu\nvocabulary      %zu\n", info->layers, info->embedding,
           info->vocabulary);
    printf("tokenizer       %s, pre-tokenizer %s\nchat template   %s\n", or_none(info->tokenizer),
           or_none(info->pre_tokenizer), info->chat_template ? "yes" : "no");
    if (report->servable)
        print_abilities(info);
    if (info->inferred && *info->inferred)
        printf("inferred        %s\n", info->inferred);
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

static json_t *labels_of(const struct engine_model_info *info)
{
    json_t *labels = json_array();
    for (size_t i = 0; labels && i < info->n_labels; i++)
        json_array_append_new(labels, json_string(info->labels[i]));
    return labels;
}

static json_t *what_it_is(const struct engine_report *report)
{
    const struct engine_model_info *info = &report->info;
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:b}", "format",
                     or_none(info->format), "names", or_none(report->dialect), "architecture",
                     or_none(info->architecture), "name", info->description ? info->description : "",
                     "parameters", (json_int_t)info->parameters, "tensors", (json_int_t)report->tensors,
                     "dtypes", or_none(report->dtypes), "file_bytes", (json_int_t)info->file_bytes, "layers",
                     (json_int_t)info->layers, "embedding", (json_int_t)info->embedding, "vocabulary",
                     (json_int_t)info->vocabulary, "tokenizer", or_none(info->tokenizer), "pre_tokenizer",
                     or_none(info->pre_tokenizer), "chat_template", info->chat_template != NULL);
}

static json_t *what_it_can(const struct engine_report *report)
{
    const struct engine_model_info *info = &report->info;
    char can[256] = "";
    if (report->servable)
        list_abilities(info->abilities, can, sizeof can);
    return json_pack("{s:s, s:o, s:s, s:b, s:I, s:s}", "abilities", can, "labels", labels_of(info), "pooling",
                     info->abilities & ENGINE_CAN_EMBED ? pooling_name(info->pooling) : "", "normalize",
                     info->normalize, "source_context", (json_int_t)info->source_context, "inferred",
                     info->inferred ? info->inferred : "");
}

static json_t *what_it_needs(const struct engine_report *report, const struct need *need,
                             const struct options *o)
{
    const struct engine_model_info *info = &report->info;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s}", "trained_context",
                     (json_int_t)info->trained_context, "context", (json_int_t)need->context, "sequences",
                     (json_int_t)o->sequences, "weight_bytes", (json_int_t)info->weight_bytes, "kv_bytes",
                     (json_int_t)need->kv, "memory_needed_bytes", (json_int_t)need->total,
                     "memory_available_bytes", (json_int_t)need->available, "fits", need->fits, "servable",
                     report->servable, "reason", report->servable ? "" : report->why.text);
}

static void print_json(const struct engine_report *report, const struct need *need, const struct options *o)
{
    json_t *result = what_it_is(report), *can = what_it_can(report), *needs = what_it_needs(report, need, o);
    if (result && can && needs && json_object_update(result, can) == 0 &&
        json_object_update(result, needs) == 0) {
        json_dumpf(result, stdout, 0);
        printf("\n");
    }
    json_decref(needs);
    json_decref(can);
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
        error_set(e, ERROR_UNSUPPORTED, "%.300s cannot be served: %s", o->path, report.why.text);
    else if (!need.fits)
        error_set(e, ERROR_OUT_OF_MEMORY, "%.300s does not fit into this machine's free memory", o->path);
    bool good = report.servable && need.fits;
    engine_report_free(&report);
    return good ? 0 : 1;
}
