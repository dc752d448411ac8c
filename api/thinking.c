/* thinking.c - see thinking.h. */
#include "api/thinking.h"

#include "api/prompt.h"

/* Templates that can be told call their variable so. */
#define VARIABLE "enable_thinking"

int thinking_choose(struct api_call *call, struct engine_model *model, bool wanted, const char *field,
                    json_t **arguments, struct error *e)
{
    const char *name = engine_model_info(model)->name;
    const struct template_traits *traits = prompt_traits(call->api, model);
    bool thinks = traits && traits->reasoning, told = prompt_uses(call->api, model, VARIABLE);
    *arguments = NULL;
    if (wanted && !thinks)
        return error_param(e, ERROR_UNSUPPORTED, field, "%s: the model %.100s does not think", field, name);
    if (!wanted && thinks && !told)
        return error_param(e, ERROR_UNSUPPORTED, field, "%s: the model %.100s can't be told not to think",
                           field, name);
    if (!told)
        return 0;
    *arguments = json_pack("{s:b}", VARIABLE, wanted);
    return *arguments ? 0 : error_no_memory(e);
}
