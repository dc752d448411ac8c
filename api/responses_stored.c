/* responses_stored.c - GET, DELETE and cancel of a kept response, and its input items.
 * Thread: a worker; makes no jobs. */
#include <string.h>

#include "api/endpoints.h"
#include "api/prompt.h"
#include "api/responses_store.h"
#include "api/wire.h"
#include "engine/base/json.h"

static int missing(struct api_call *call, struct error *e)
{
    return error_set(e, ERROR_NOT_FOUND, "there is no response \"%.200s\" here (any more)",
                     call->path_arguments[0]);
}

static int get(struct api_call *call, enum response_part part, struct error *e)
{
    bool found = response_store_get(api_responses(call->api), call->path_arguments[0], call->cache_salt, part,
                                    &call->out);
    if (!found)
        return missing(call, e);
    return call->out.failed ? error_no_memory(e) : 0;
}

int responses_get_begin(struct api_call *call, struct error *e)
{
    return get(call, RESPONSE_OBJECT, e);
}

int responses_input_begin(struct api_call *call, struct error *e)
{
    buf_add_text(&call->out, "{\"object\":\"list\",\"data\":");
    TRY(get(call, RESPONSE_INPUT, e));
    buf_add_text(&call->out, ",\"has_more\":false}");
    return 0;
}

int responses_delete_begin(struct api_call *call, struct error *e)
{
    if (!response_store_remove(api_responses(call->api), call->path_arguments[0], call->cache_salt))
        return missing(call, e);
    buf_add_text(&call->out, "{\"id\":");
    wire_text(&call->out, call->path_arguments[0], strlen(call->path_arguments[0]));
    buf_add_text(&call->out, ",\"object\":\"response\",\"deleted\":true}");
    return 0;
}

/* The object as it will be: the job ends with its next token. */
int responses_cancel_begin(struct api_call *call, struct error *e)
{
    int state = response_store_cancel(api_responses(call->api), call->path_arguments[0], call->cache_salt);
    if (state < 0)
        return missing(call, e);
    if (state == 0)
        return error_set(e, ERROR_INVALID_REQUEST, "response \"%.200s\" has ended already",
                         call->path_arguments[0]);
    TRY(get(call, RESPONSE_OBJECT, e));
    json_t *object;
    TRY(json_parse(call->out.data, call->out.len, &object, e));
    json_object_set_new(object, "status", json_string("cancelled"));
    buf_clear(&call->out);
    json_write(&call->out, object);
    json_decref(object);
    return call->out.failed ? error_no_memory(e) : 0;
}
