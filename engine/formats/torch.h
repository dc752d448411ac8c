/* torch.h - what the files of the PyTorch reader share; nobody else includes it.
 * torch.c opens, torch_names.c lists what a pickle may name, torch_state.c finds the weights in it,
 * torch_view.c reads tensors that are views, torch_legacy.c knows the files before torch 1.6.
 * The formats: torch/serialization.py and torch/_utils.py of PyTorch. */
#ifndef LOQUAT_FORMATS_TORCH_H
#define LOQUAT_FORMATS_TORCH_H

#include <pthread.h>

#include "engine/formats/checkpoint.h"
#include "engine/formats/pickle.h"
#include "engine/formats/zip.h"

/* ---- names ------------------------------------------------------------------------------------- */

/* Tags of PICKLE_ROLE_CALL: functions that make a tensor. */
enum torch_call {
    TORCH_TENSOR,    /* _rebuild_tensor(storage, offset, size, stride) */
    TORCH_TENSOR_V2, /* the same and requires_grad, hooks, metadata */
    TORCH_TENSOR_V3, /* storage, offset, size, stride, requires_grad, hooks, dtype, metadata */
    TORCH_PARAMETER, /* (tensor, …) */
    TORCH_FROM_TYPE, /* (function, class, its arguments, attributes) */
    TORCH_OTHER      /* a tensor that cannot be read: sparse, quantised, … */
};

/* Tags of PICKLE_ROLE_VALUE: a storage class or a dtype is a row of this table; -1 for other names. */
struct torch_type {
    const char *name; /* torch.NAME */
    int dtype;        /* enum dtype, or -1 for what cannot be read */
    size_t bytes;     /* of an element */
};
const struct torch_type *torch_type(const struct pickle_value *v); /* NULL for what is no type */

const struct pickle_name *torch_names(size_t *n);

/* ---- finding the weights ------------------------------------------------------------------------- */

/* Arguments of the function that makes a tensor, whatever is wrapped around it. */
struct torch_rebuild {
    const struct pickle_name *name;
    enum torch_call call;
    const struct pickle_list *args;
    uint64_t offset;
};
bool torch_is_tensor(const struct pickle_value *v, struct torch_rebuild *out);

/* The dict of names and tensors: the root, or what lies in it as "model_state_dict", "state_dict", …; else
 * the only one that there is.  An error when there is none or when there are several. */
int torch_find_state(const struct pickle_value *root, const struct pickle_list **out, struct error *e);

/* ---- the open file ----------------------------------------------------------------------------- */

struct torch_storage {
    const char *key;
    uint32_t key_len;
    const struct torch_type *type;
    uint64_t elements; /* as the pickle says */
    uint64_t first;    /* element of the key's data where it starts (files before torch 0.4) */
    uint64_t at;       /* of the id in the file, for errors */
    uint64_t offset;   /* of the data in the file */
};
/* From a PICKLE_STORAGE; offset stays 0.  Texts are those of the pickle. */
int torch_read_storage(const struct pickle_value *v, struct torch_storage *out, struct error *e);

struct torch_view {
    uint64_t strides[LIMIT_DIMENSIONS]; /* in elements, of the dimension with that index in tensor_info */
    bool contiguous;
};

/* Elements first .. first + n of a tensor that is not contiguous, in row-major order. */
struct torch_panel {
    pthread_mutex_t lock;
    uint8_t *data; /* NULL until it is needed */
    const struct tensor_info *tensor;
    uint64_t first, n;
};

struct torch {
    struct tensor_file file;     /* first: close() gets it */
    struct tensor_source source; /* its functions find the file through this member */
    struct bytes *bytes;         /* owned */
    struct arena *arena;
    struct string_table names; /* -> index in source.tensors */
    struct tensor_info *tensors;
    struct torch_view *views; /* (count) */
    struct torch_panel panel;
};

/* Where the data of storages lie; s->offset is set and s->elements are there. */
struct torch_container {
    struct pickle pickle;
    struct arena *arena; /* of the pickle and the directory: gone when the file is open */
    struct zip zip;
    const char *prefix;           /* of entry names of the zip */
    struct string_table storages; /* legacy: key -> index in `placed` */
    struct torch_storage *placed;
    int (*place)(const struct torch *f, const struct torch_container *c, struct torch_storage *s,
                 struct error *e);
};

/* The container of a file before torch 1.6: everything but the directory of tensors. */
int torch_legacy_read(struct torch *f, struct torch_container *c, struct error *e);

/* n bytes from byte `offset` of a tensor that is not contiguous; bounds are checked by the caller. */
int torch_view_read(struct torch *f, const struct tensor_info *t, uint64_t offset, uint8_t *dst, size_t n,
                    struct error *e);

#endif
