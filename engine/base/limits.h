/* limits.h - every ceiling that a stranger's bytes meet, with its reason.
 * Operators change what an option names; the rest are here so that nobody has to search. */
#ifndef LOQUAT_BASE_LIMITS_H
#define LOQUAT_BASE_LIMITS_H

/* Files. */
#define LIMIT_TAKE           (64u << 20) /* one bytes_take(): larger than any single string of a real file */
#define LIMIT_FILE_ARENA     (1u << 30) /* what the header, vocabulary and template of one checkpoint may use */
#define LIMIT_TENSORS        65536      /* llama 405B has 1,138 */
#define LIMIT_TENSOR_NAME    256        /* ggml allows 64 */
#define LIMIT_DIMENSIONS     4          /* as ggml */
#define LIMIT_KEYS           65536
#define LIMIT_MARIAN_OPTIONS (1 << 20) /* special:model.yml; real ones have 2 KiB */
#define LIMIT_ZIP_ENTRIES    (1 << 20) /* each tensor of a PyTorch file is one */
#define LIMIT_EXPANDED_TENSOR                                                                                \
    (64 << 20) /* bytes of a PyTorch tensor that repeats few elements (stride 0), as position ids do */
#define LIMIT_NGRAM_ORDER         16         /* KenLM is built for 6 */
#define LIMIT_NGRAMS              (1u << 28) /* of all orders: some 8 GB of text */
#define LIMIT_ARPA_LINE           (64 << 10)
#define LIMIT_ARPA_EXPANSION      100 /* times that gzip may make a list of n-grams smaller; 5 is usual */
#define LIMIT_ARPA_FREE_EXPANSION (64 << 20) /* below this many bytes nobody looks */
#define LIMIT_METADATA_VALUES                                                                                \
    (1 << 20) /* kept as JSON, elements of arrays included; real files have under 1,000 */
#define LIMIT_VOCABULARY          4000000 /* the largest published ones have 262,144 */
#define LIMIT_TOKEN_BYTES         65536   /* one vocabulary entry; real ones stay under 1 KiB */
#define LIMIT_SPECIAL_TOKEN_BYTES 512     /* matched at every place of a text; real ones stay under 100 */
#define LIMIT_LAYERS              1024
#define LIMIT_DIMENSION_SIZE      (1u << 24)  /* embedding, feed-forward width */
#define LIMIT_CONTEXT             (16u << 20) /* tokens of one sequence */

/* JSON. */
#define LIMIT_JSON_DEPTH 128 /* requests and configuration nest less than 20 deep */

/* Templates (api/jinja.c). */
#define LIMIT_TEMPLATE_ARGUMENTS 64 /* variables of a request */
#define LIMIT_TEMPLATE_SOURCE    (1u << 20)
#define LIMIT_TEMPLATE_OUTPUT    (16u << 20)
#define LIMIT_TEMPLATE_STEPS     4000000
#define LIMIT_TEMPLATE_DEPTH     100          /* open brackets and blocks; macros inside macros */
#define LIMIT_TEMPLATE_TREE      500          /* height of the tree: a + b + c + … grows by one each */
#define LIMIT_TEMPLATE_STACK     2000         /* evaluations inside evaluations, under 1 MiB of stack */
#define LIMIT_TEMPLATE_NAMES     1024         /* different variables */
#define LIMIT_TEMPLATE_RANGE     100000       /* as Jinja's sandbox */
#define LIMIT_TEMPLATE_MEMORY    (256u << 20) /* everything one rendering makes */
#define LIMIT_TEMPLATE_NS        2000000000u  /* wall time of one rendering */

/* Grammars (engine/decode/grammar*.c).  Those of real schemas have under 10,000 nodes. */
#define LIMIT_GRAMMAR_TEXT    (8u << 20)
#define LIMIT_GRAMMAR_TREE    (96u << 20) /* bytes of a grammar as it is parsed */
#define LIMIT_GRAMMAR_RULES   65536
#define LIMIT_GRAMMAR_NESTING 200 /* brackets in a rule */
#define LIMIT_GRAMMAR_NODES   (1u << 20)
#define LIMIT_GRAMMAR_REPEAT  1000000000u /* as a number; it is counted, not copied */
#define LIMIT_GRAMMAR_TRIGGER 8192        /* bytes of all triggers in one %free */
#define LIMIT_GRAMMAR_DEPTH   2000        /* rules inside rules in what is generated */
#define LIMIT_GRAMMAR_WORK    4000000     /* places looked at for one token: some 0.3 s */
#define LIMIT_GRAMMAR_CACHE   (48u << 20) /* bytes of states and masks; then they are made anew */

/* What grammars are made of (api/regex*.c, api/schema*.c, api/constraint.c). */
#define LIMIT_REGEX           65536
#define LIMIT_REGEX_NESTING   90           /* groups in groups; they become brackets of a grammar */
#define LIMIT_AUTOMATON       20000        /* states */
#define LIMIT_AUTOMATON_MOVES (4u << 20)   /* states times classes of characters */
#define LIMIT_AUTOMATON_WORK  30000000u    /* places looked at to make one: some 0.5 s */
#define LIMIT_SCHEMA_ARENA    (64u << 20)  /* what one schema may use while it is read */
#define LIMIT_SCHEMA_RULES    20000        /* places of a schema, each counted once */
#define LIMIT_SCHEMA_BRANCHES 64           /* of oneOf: each is compared with each */
#define LIMIT_SCHEMA_VALUES   10000        /* of an enum */
#define LIMIT_SCHEMA_PREFIX   150          /* prefixItems: brackets in brackets */
#define LIMIT_SCHEMA_HOPS     100          /* $ref to $ref to $ref … */
#define LIMIT_GRAMMARS        64           /* kept for the next request, of all models */
#define LIMIT_GRAMMARS_BYTES  (128u << 20) /* of those that are kept */

/* Requests. */
#define LIMIT_STOP_STRINGS    16
#define LIMIT_STOP_BYTES      1024
#define LIMIT_STOP_TOKENS     64
#define LIMIT_LOGIT_BIAS      1024
#define LIMIT_CHOICES         128
#define LIMIT_TOP_LOGPROBS    20
#define LIMIT_MASKED          64
#define LIMIT_BEAMS           16
#define LIMIT_PROMPTS         2048 /* prompts, texts or questions in one request */
#define LIMIT_REQUEST_ARENA   (512u << 20)
#define LIMIT_REQUEST_ID      128
#define LIMIT_RESPONSES       4096 /* kept for GET /v1/responses/{id} */
#define LIMIT_RESPONSES_BYTES (64u << 20)
#define LIMIT_TOOLS           512 /* OpenAI allows 128 */
#define LIMIT_TOOL_NAME       128 /* as Anthropic; OpenAI allows 64 */
#define LIMIT_TOOL_CALLS      256 /* of one answer */

/* Speculation. */
#define LIMIT_DRAFT  64    /* tokens at once: so many rows are bound by arithmetic everywhere */
#define LIMIT_LOOKUP 65536 /* last tokens in which a match is looked for: some 20 us a step */

#endif
