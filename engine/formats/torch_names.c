/* torch_names.c - every name that the pickle of a checkpoint may hold.  Called by torch.c; any thread.
 * Weights are made of a few functions of torch._utils over storages.  The opaque rest is what training
 * scripts leave beside them (arguments, paths, numpy scalars, random states): it is passed over, whatever it
 * holds. To accept one more class of bookkeeping: one OPAQUE row.  A class or function that is not here is
 * refused. */
#include "engine/formats/torch.h"

enum { NO_DTYPE = -1 };

/* CLASS of the storage, dtype, its number in base/dtype.h, bytes of an element. */
#define TORCH_TYPES(X)                                                                                       \
    X(Float, float32, DTYPE_F32, 4)                                                                          \
    X(Double, float64, DTYPE_F64, 8)                                                                         \
    X(Half, float16, DTYPE_F16, 2)                                                                           \
    X(BFloat16, bfloat16, DTYPE_BF16, 2)                                                                     \
    X(Long, int64, DTYPE_I64, 8)                                                                             \
    X(Int, int32, DTYPE_I32, 4)                                                                              \
    X(Short, int16, DTYPE_I16, 2)                                                                            \
    X(Char, int8, DTYPE_I8, 1)                                                                               \
    X(Byte, uint8, DTYPE_U8, 1)                                                                              \
    X(Bool, bool, DTYPE_BOOL, 1)                                                                             \
    X(ComplexFloat, complex64, NO_DTYPE, 8)                                                                  \
    X(ComplexDouble, complex128, NO_DTYPE, 16)                                                               \
    X(QInt8, qint8, NO_DTYPE, 1)                                                                             \
    X(QUInt8, quint8, NO_DTYPE, 1)                                                                           \
    X(QInt32, qint32, NO_DTYPE, 4)                                                                           \
    X(QUInt4x2, quint4x2, NO_DTYPE, 1)                                                                       \
    X(QUInt2x4, quint2x4, NO_DTYPE, 1)                                                                       \
    X(Untyped, untyped, NO_DTYPE, 1)

enum type_index {
#define INDEX(storage, dtype, row, bytes) TYPE_##dtype,
    TORCH_TYPES(INDEX)
#undef INDEX
    /* dtypes without a storage class of their own */
    TYPE_uint16,
    TYPE_uint32,
    TYPE_uint64,
    TYPE_float8_e4m3fn,
    TYPE_float8_e5m2,
    TYPE_float8_e4m3fnuz,
    TYPE_float8_e5m2fnuz,
    TYPE_float8_e8m0fnu,
    TYPE_complex32,
    TYPES
};

static const struct torch_type types[TYPES] = {
#define ROW(storage, dtype_, row, size) [TYPE_##dtype_] = {.name = #dtype_, .dtype = row, .bytes = size},
    TORCH_TYPES(ROW)
#undef ROW
#define NEWER(name_, size) [TYPE_##name_] = {.name = #name_, .dtype = NO_DTYPE, .bytes = size}
        NEWER(uint16, 2),
    NEWER(uint32, 4),
    NEWER(uint64, 8),
    NEWER(float8_e4m3fn, 1),
    NEWER(float8_e5m2, 1),
    NEWER(float8_e4m3fnuz, 1),
    NEWER(float8_e5m2fnuz, 1),
    NEWER(float8_e8m0fnu, 1),
    NEWER(complex32, 4),
#undef NEWER
};

#define CALL(module, name, tag)                                                                              \
    {                                                                                                        \
        module, name, PICKLE_ROLE_CALL, tag                                                                  \
    }
#define VALUE(module, name, tag)                                                                             \
    {                                                                                                        \
        module, name, PICKLE_ROLE_VALUE, tag                                                                 \
    }
#define OPAQUE(module, name)                                                                                 \
    {                                                                                                        \
        module, name, PICKLE_ROLE_OPAQUE, -1                                                                 \
    }
#define DICT(module, name)                                                                                   \
    {                                                                                                        \
        module, name, PICKLE_ROLE_DICT, -1                                                                   \
    }
#define BUILTIN(name)            OPAQUE("builtins", name), OPAQUE("__builtin__", name)
#define NUMPY(name)              OPAQUE("numpy", name)
#define NUMPY_CORE(module, name) OPAQUE("numpy.core." module, name), OPAQUE("numpy._core." module, name)
#define PATHS(name)              OPAQUE("pathlib", name), OPAQUE("pathlib._local", name)

static const struct pickle_name names[] = {
    CALL("torch._utils", "_rebuild_tensor", TORCH_TENSOR),
    CALL("torch._utils", "_rebuild_tensor_v2", TORCH_TENSOR_V2),
    CALL("torch._utils", "_rebuild_tensor_v3", TORCH_TENSOR_V3),
    CALL("torch._utils", "_rebuild_parameter", TORCH_PARAMETER),
    CALL("torch._utils", "_rebuild_parameter_with_state", TORCH_PARAMETER),
    CALL("torch.nn.parameter", "Parameter", TORCH_PARAMETER),
    CALL("torch._tensor", "_rebuild_from_type_v2", TORCH_FROM_TYPE),
    CALL("torch._utils", "_rebuild_sparse_tensor", TORCH_OTHER),
    CALL("torch._utils", "_rebuild_sparse_csr_tensor", TORCH_OTHER),
    CALL("torch._utils", "_rebuild_nested_tensor", TORCH_OTHER),
    CALL("torch._utils", "_rebuild_qtensor", TORCH_OTHER),
    CALL("torch._utils", "_rebuild_meta_tensor_no_storage", TORCH_OTHER),
    CALL("torch._utils", "_rebuild_device_tensor_from_numpy", TORCH_OTHER),
    CALL("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", TORCH_OTHER),
    CALL("torch._utils", "_rebuild_wrapper_subclass", TORCH_OTHER),

#define STORAGE(storage, dtype, row, bytes)                                                                  \
    VALUE("torch", #storage "Storage", TYPE_##dtype),                                                        \
        VALUE("torch.storage", #storage "Storage", TYPE_##dtype),                                            \
        VALUE("torch.cuda", #storage "Storage", TYPE_##dtype), VALUE("torch", #dtype, TYPE_##dtype),
    TORCH_TYPES(STORAGE)
#undef STORAGE
        VALUE("torch", "uint16", TYPE_uint16),
    VALUE("torch", "uint32", TYPE_uint32),
    VALUE("torch", "uint64", TYPE_uint64),
    VALUE("torch", "float8_e4m3fn", TYPE_float8_e4m3fn),
    VALUE("torch", "float8_e5m2", TYPE_float8_e5m2),
    VALUE("torch", "float8_e4m3fnuz", TYPE_float8_e4m3fnuz),
    VALUE("torch", "float8_e5m2fnuz", TYPE_float8_e5m2fnuz),
    VALUE("torch", "float8_e8m0fnu", TYPE_float8_e8m0fnu),
    VALUE("torch", "complex32", TYPE_complex32),
    VALUE("torch", "Tensor", -1),
    VALUE("torch.nn.parameter", "Buffer", -1),
    VALUE("torch", "per_tensor_affine", -1),
    VALUE("torch", "per_channel_affine", -1),
    OPAQUE("torch", "Size"),
    OPAQUE("torch", "device"),
    OPAQUE("torch.serialization", "_get_layout"),

    DICT("collections", "OrderedDict"),
    DICT("collections", "defaultdict"),
    OPAQUE("collections", "Counter"),
    OPAQUE("collections", "deque"),
    BUILTIN("set"),
    BUILTIN("frozenset"),
    BUILTIN("list"),
    BUILTIN("dict"),
    BUILTIN("tuple"),
    BUILTIN("int"),
    BUILTIN("float"),
    BUILTIN("str"),
    BUILTIN("bool"),
    BUILTIN("bytes"),
    BUILTIN("bytearray"),
    BUILTIN("complex"),
    BUILTIN("range"),
    OPAQUE("__builtin__", "xrange"),
    OPAQUE("__builtin__", "long"),
    OPAQUE("__builtin__", "unicode"),
    BUILTIN("slice"),
    BUILTIN("object"),
    OPAQUE("_codecs", "encode"),
    OPAQUE("copy_reg", "_reconstructor"),
    OPAQUE("copyreg", "_reconstructor"),
    OPAQUE("argparse", "Namespace"),
    OPAQUE("types", "SimpleNamespace"),
    OPAQUE("datetime", "datetime"),
    OPAQUE("datetime", "date"),
    OPAQUE("datetime", "time"),
    OPAQUE("datetime", "timedelta"),
    OPAQUE("datetime", "timezone"),
    OPAQUE("decimal", "Decimal"),
    OPAQUE("fractions", "Fraction"),
    OPAQUE("uuid", "UUID"),
    PATHS("PosixPath"),
    PATHS("WindowsPath"),
    PATHS("PurePosixPath"),
    PATHS("PureWindowsPath"),
    PATHS("Path"),
    NUMPY("ndarray"),
    NUMPY("dtype"),
    NUMPY("float16"),
    NUMPY("float32"),
    NUMPY("float64"),
    NUMPY("int8"),
    NUMPY("int16"),
    NUMPY("int32"),
    NUMPY("int64"),
    NUMPY("uint8"),
    NUMPY("uint16"),
    NUMPY("uint32"),
    NUMPY("uint64"),
    NUMPY("bool_"),
    NUMPY_CORE("multiarray", "scalar"),
    NUMPY_CORE("multiarray", "_reconstruct"),
    NUMPY_CORE("numeric", "_frombuffer"),
    OPAQUE("pytorch_lightning.utilities.parsing", "AttributeDict"),
    OPAQUE("lightning.pytorch.utilities.parsing", "AttributeDict"),
    OPAQUE("lightning_fabric.utilities.data", "AttributeDict"),
    OPAQUE("lightning.fabric.utilities.data", "AttributeDict"),
};

const struct pickle_name *torch_names(size_t *n)
{
    *n = sizeof names / sizeof names[0];
    return names;
}

const struct torch_type *torch_type(const struct pickle_value *v)
{
    if (v->kind != PICKLE_NAME || v->name->role != PICKLE_ROLE_VALUE || v->name->tag < 0)
        return NULL;
    return &types[v->name->tag];
}
