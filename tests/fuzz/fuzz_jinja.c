/* fuzz_jinja.c - libFuzzer: any template over a small conversation.
 * Compiling and rendering end with an output or a reason; rendering twice gives the same; the spans of
 * user text are ascending, apart, inside the output; and a template without variables has none. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/jinja.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *user, *trusted, *nobody;

static const char variables[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S \\u00e9\"}, {\"role\": \"user\", \"content\": "
    "\" U<|x|> \"},"
    " {\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"A\\n\"}], \"tool_calls\": "
    "[{\"function\":"
    " {\"name\": \"f\", \"arguments\": {\"a\": 1.5, \"b\": [true, null]}}}]}], \"tools\": null,"
    " \"add_generation_prompt\": true}";

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    user = json_loads(variables, 0, NULL);
    trusted = json_pack("{ssss}", "bos_token", "<s>", "eos_token", "</s>");
    nobody = json_object();
    require(user && trusted && nobody);
    return 0;
}

/* 0 or -1, with the output in out. */
static int render(const struct jinja_template *t, const json_t *variables_of_user, struct buf *out)
{
    static const struct jinja_options options = {
        .now = 1767323045, .utc = true, .max_steps = 20000, .max_output = 1 << 20, .max_memory = 16 << 20};
    struct jinja_span *spans = NULL;
    size_t n = 0, last = 0;
    struct error e = {0};
    int status = jinja_render(t, variables_of_user, trusted, &options, out, &spans, &n, &e);
    require((status == 0) == (e.text[0] == 0));
    for (size_t i = 0; i < n; i++) {
        require(spans[i].start < spans[i].end && spans[i].end <= out->len &&
                (i == 0 || spans[i].start > last));
        last = spans[i].end;
    }
    require(variables_of_user != nobody || n == 0);
    free(spans);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jinja_template *t = NULL;
    struct error e = {0};
    if (jinja_compile((const char *)data, size, &t, &e) < 0) {
        require(e.text[0] && !t);
        return 0;
    }
    struct buf first, second;
    buf_init(&first, SIZE_MAX / 4);
    buf_init(&second, SIZE_MAX / 4);
    int status = render(t, user, &first);
    require(render(t, user, &second) == status && first.len == second.len);
    require(status < 0 || first.len == 0 || memcmp(first.data, second.data, first.len) == 0);
    buf_clear(&first);
    render(t, nobody, &first);
    buf_free(&first);
    buf_free(&second);
    jinja_free(t);
    return 0;
}
