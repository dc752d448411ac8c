"""make_pt.py - makes broken and malicious files of torch.save, a few odd but good ones, and what reading each must say.

usage: make_pt.py OUT_DIR                (Python's standard library only; the same bytes on every run)

Writes OUT_DIR/NAME and OUT_DIR/expect: one line a file, `NAME accept` or `NAME refuse WORDS`, where WORDS must
stand in the one-line error.  In accepted files the tensor w is 16 floats, 0 to 15, in whatever shape.
To add a case: one line in cases().
"""
import io
import pathlib
import struct
import sys
import warnings
import zipfile

MARK, TUPLE, STOP = b"(", b"t", b"."
DATA = struct.pack("<16f", *range(16))


def text(s):
    return b"X" + struct.pack("<I", len(s.encode())) + s.encode()


def number(n):
    if -2**31 <= n < 2**31:
        return b"J" + struct.pack("<i", n)
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def name(module, attribute):
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def tuple_of(*items):
    return MARK + b"".join(items) + TUPLE


def call(function, *args):
    return function + tuple_of(*args) + b"R"


def dict_of(pairs):
    return b"}(" + b"".join((text(k) if isinstance(k, str) else k) + v for k, v in pairs) + b"u"


ORDERED = name("collections", "OrderedDict") + b")R"
REBUILD = name("torch._utils", "_rebuild_tensor_v2")


def storage(kind="FloatStorage", key="0", n=16, view=None):
    extra = [] if view is None else [view]
    return tuple_of(text("storage"), name("torch", kind), text(key), text("cpu"), number(n), *extra) + b"Q"


def sizes(values):
    return tuple_of(*(number(v) for v in values))


def tensor(size=(4, 4), stride=(4, 1), offset=0, of=None, more=(), function=REBUILD):
    return call(function, of or storage(), number(offset), sizes(size), sizes(stride), b"\x89", ORDERED, *more)


def pickled(value, proto=2):
    return b"\x80" + bytes([proto]) + value + STOP


def state(**tensors):
    return pickled(dict_of((k.replace("__", "."), v) for k, v in tensors.items()))


def zipped(pkl, entries=(("data/0", DATA),), prefix="archive/", compress=zipfile.ZIP_STORED, comment=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as z:
        for entry, data in [("data.pkl", pkl), *entries, ("version", b"3\n")]:
            z.writestr(zipfile.ZipInfo(prefix + entry), data, compress)
        z.comment = comment
    return out.getvalue()


def one(**more):
    return zipped(state(w=tensor(**more)))


MAGIC = pickled(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")


def legacy(value, keys=("0",), data=struct.pack("<Q", 16) + DATA, version=1001, little=b"\x88"):
    machine = dict_of([("protocol_version", number(1001)), ("little_endian", little)])
    listed = b"](" + b"".join(text(k) for k in keys) + b"e"
    return MAGIC + pickled(number(version)) + pickled(machine) + pickled(value) + pickled(listed) + data


W = dict_of([("w", tensor())])


def zip64(raw):
    """The same file with all numbers in the zip64 records."""
    end = raw.rindex(b"PK\x05\x06")
    n, size, at = struct.unpack_from("<HII", raw, end + 10)
    directory, entry, out = raw[at:at + size], 0, b""
    while entry < len(directory):
        head = bytearray(directory[entry:entry + 46])
        packed, whole, name_len, extra_len = struct.unpack_from("<IIHH", head, 20)
        local, = struct.unpack_from("<I", head, 42)
        struct.pack_into("<IIHH", head, 20, 2**32 - 1, 2**32 - 1, name_len, 28)
        struct.pack_into("<I", head, 42, 2**32 - 1)
        out += bytes(head) + directory[entry + 46:entry + 46 + name_len]
        out += struct.pack("<HHQQQ", 1, 24, whole, packed, local)
        entry += 46 + name_len + extra_len
    record = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, n, n, len(out), at)
    locator = struct.pack("<IIQI", 0x07064b50, 0, at + len(out), 1)
    return raw[:at] + out + record + locator + struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, 0xffff, 0xffff,
                                                           2**32 - 1, 2**32 - 1, 0)


def edited(raw, at, data):
    return raw[:at] + data + raw[at + len(data):]


def in_directory(raw, at, data):
    """Changes the first header of the central directory."""
    return edited(raw, raw.index(b"PK\x01\x02") + at, data)


PROTOCOL_4 = (b"\x95" + struct.pack("<Q", 1) + b"}\x94\x8c\x01w\x94\x8c\x0ctorch._utils\x94"
              b"\x8c\x12_rebuild_tensor_v2\x94\x93\x94"
              + tuple_of(storage(), number(0), sizes((4, 4)), sizes((4, 1)), b"\x89",
                         b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R") + b"\x94R\x94s")
NAMESPACE = name("argparse", "Namespace") + b")\x81}" + text("lr") + number(1) + b"sb"
OPTIMIZER = dict_of([("state", b"}" + number(0) + dict_of([("exp_avg", tensor((2,), (1,)))]) + b"s"),
                     ("param_groups", b"]")])


def good_cases():
    yield "good.pt", one()
    yield "good-legacy.pt", legacy(W)
    part = storage(n=20, view=tuple_of(text("1"), number(4), number(16)))
    yield "good-legacy-view.pt", legacy(dict_of([("w", tensor(of=part))]),
                                        data=struct.pack("<Q20f", 20, *range(-4, 16)))
    yield "good-python2.pt", legacy(call(name("collections", "OrderedDict"), b"](](U\x01w" + tensor() + b"ee"))
    yield "good-protocol4.pt", zipped(pickled(PROTOCOL_4, 4))
    yield "good-zip64.pt", zip64(one())
    yield "good-comment.pt", zipped(state(w=tensor()), comment=b"PK\x05\x06 is not here")
    yield "good-no-prefix.pt", zipped(state(w=tensor()), prefix="")
    yield "good-path.pt", zipped(state(w=tensor()), prefix="../../archive/")
    yield "good-parameter.pt", zipped(state(w=call(
        name("torch._utils", "_rebuild_parameter"), tensor(), b"\x88", ORDERED)))
    yield "good-from-type.pt", zipped(state(w=call(name("torch._tensor", "_rebuild_from_type_v2"), REBUILD, name(
        "torch", "Tensor"), tuple_of(storage(), number(0), sizes((16,)), sizes((1,)), b"\x89", ORDERED), b"}")))
    yield "good-v3.pt", zipped(state(w=call(
        name("torch._utils", "_rebuild_tensor_v3"),
        tuple_of(text("storage"), name("torch.storage", "UntypedStorage"), text("0"), text("cpu"), number(64)) + b"Q",
        number(0), sizes((16,)), sizes((1,)), b"\x89", ORDERED, name("torch", "float32"))))
    yield "good-old-rebuild.pt", legacy(dict_of([("w", call(name("torch._utils", "_rebuild_tensor"), storage(), number(
        0), sizes((16,)), sizes((1,))))]))
    yield "good-checkpoint.pt", zipped(pickled(dict_of([
        ("epoch", number(3)), ("args", NAMESPACE), ("optimizer_state_dict", OPTIMIZER), ("loss", b"G" + bytes(8)),
        ("rng_state", tensor((16,), (1,))), ("model_state_dict", W)])))
    yield "good-nested.pt", zipped(pickled(dict_of([
        ("state_dict", dict_of([("model", W)])), ("best", tensor((), ()))])))
    yield "good-own-key.pt", zipped(pickled(dict_of([("my_model", W), ("step", tensor((1,), (1,)))])))
    yield "good-data-parallel.pt", zipped(state(module__w=tensor(), module__b=tensor((2,), (1,))))
    yield "good-compiled.pt", zipped(state(module___orig_mod__w=tensor(), module___orig_mod__b=tensor((2,), (1,))))
    yield "good-empty-tensor.pt", zipped(state(w=tensor(), nothing=tensor((0, 5), (5, 1))))
    yield "good-extra-state.pt", zipped(state(w=tensor(), b=tensor((2,), (1,)),
                                              _extra_state=dict_of([("scale", tensor((1,), (1,)))])))


def view_cases():
    yield "size-negative", one(size=(-4, 4)), "negative or absurd size"
    yield "size-long", one(size=(2**70, 4)), "negative or absurd size"
    yield "stride-negative", one(stride=(-4, 1)), "negative or absurd stride"
    yield "offset-negative", one(offset=-1), "storage offset"
    yield "offset-behind", one(offset=1), "reaches beyond its storage 0 of 16 elements"
    yield "offset-long", one(offset=2**63), "storage offset"
    yield "stride-behind", one(stride=(5, 1)), "reaches beyond"
    yield "stride-wraps", one(size=(3, 4), stride=(2**63 - 1, 1)), "reaches beyond"
    yield "size-wraps", one(size=(2**33, 2**33), stride=(0, 0)), "too many elements"
    yield "expanded", one(size=(2**20, 2**20), stride=(0, 0)), "repeats its elements"
    yield "dimensions-five", one(size=(1,) * 5, stride=(1,) * 5), "has 5 dimensions; at most 4"
    yield "strides-short", one(size=(4, 4), stride=(1,)), "wrong arguments"
    yield "no-storage", one(of=number(3)), "wrong arguments"
    yield "conjugated", one(more=(dict_of([("conj", b"\x88")]),)), "conjugated or negated"
    yield "complex", one(of=storage("ComplexFloatStorage", n=8), size=(8,), stride=(1,)), "type complex64"
    yield "quantised", zipped(state(w=call(name("torch._utils", "_rebuild_qtensor"), storage()))), "_rebuild_qtensor"
    yield "storage-short", zipped(state(w=tensor()), [("data/0", DATA[:8])]), "8 bytes in the file but 16 elements"
    yield "storage-long", zipped(state(w=tensor()), [("data/0", DATA * 2)]), "128 bytes in the file but 16 elements"
    yield "storage-missing", zipped(state(w=tensor()), []), "storage 0 are not in the file"
    yield "storage-huge", one(of=storage(n=2**62), size=(2**60,), stride=(1,)), "bytes in the file"
    yield "storage-negative", one(of=storage(n=-16)), "in a way that is not known"
    yield "storage-kind", one(of=tuple_of(text("module"), name("torch", "FloatStorage"), text("0"), text("cpu"),
                                          number(16)) + b"Q"), "is no storage"
    yield "storage-text", one(of=text("0") + b"Q"), "is no storage"
    yield "name-control", zipped(pickled(dict_of([("w\n", tensor())]))), "name of a tensor"
    yield "name-empty", zipped(pickled(dict_of([("", tensor())]))), "name of a tensor"
    yield "name-long", zipped(pickled(dict_of([("w" * 300, tensor())]))), "name of a tensor"
    yield "name-twice", zipped(pickled(dict_of([("w", tensor()), ("w", tensor())]))), "w appears twice"
    yield ("two-groups", zipped(pickled(dict_of([("encoder", W), ("decoder", dict_of([("w", tensor())]))]))),
           "several groups")
    yield "no-tensors", zipped(pickled(b"](K\x01K\x02e")), "holds no tensors"
    yield "optimizer-only", zipped(pickled(dict_of([("optimizer", OPTIMIZER)]))), "holds no tensors"


def pickle_cases():
    bad = lambda ops, proto=2: zipped(pickled(ops, proto))
    yield "eval", bad(dict_of([("w", tensor()), ("x", call(name("builtins", "eval"), text("1")))])), "builtins.eval"
    yield "getattr", bad(name("builtins", "getattr")), "builtins.getattr"
    yield "system-stack-global", bad(b"\x8c\x02os\x8c\x06system\x93"), "os.system"
    yield "torch-load", bad(name("torch.serialization", "load")), "torch.serialization.load"
    yield "load-from-bytes", bad(name("torch.storage", "_load_from_bytes")), "torch.storage._load_from_bytes"
    yield "class-of-user", bad(name("__main__", "Net") + b")\x81"), "__main__.Net"
    yield "name-in-name", bad(b"\x8c\x0ctorch\x00x.evil\x8c\x04Size\x93"), "not printable text"
    yield "name-endless", bad(b"c" + b"a" * 5000), "longer than 200 bytes"
    yield "call-of-dtype", bad(call(name("torch", "float32"))), "cannot be called"
    yield "call-of-text", bad(call(text("os.system"))), "cannot be called"
    yield "inst", bad(b"(ios\nsystem\n"), "uses INST"
    yield "obj", bad(b"(" + name("collections", "OrderedDict") + b"o"), "uses OBJ"
    yield "dup", bad(b"N2"), "uses DUP"
    yield "persid", bad(b"Pstorage\n"), "uses PERSID"
    yield "ext1", bad(b"\x82\x01"), "uses EXT1"
    yield "opcode", bad(b"\xff"), "0xff is not a pickle opcode"
    yield "protocol-6", bad(b"N", 6), "protocol 6"
    yield "marks", bad(b"(" * 3000), "from a stack of 0"
    yield "lists-deep", bad(b"]" * 3000 + b"a" * 2999), "holds no tensors"
    yield "dicts-deep", bad((b"}" + text("a")) * 300 + b"N" + b"s" * 300), "holds no tensors"
    yield "laughs", bad(b"]q\0" + b"".join(b"](h%ch%ce" % (i, i) + b"q%c" % (i + 1) for i in range(60))), "no tensors"
    yield "dict-in-itself", bad(b"}q\0" + text("model") + b"h\0s"), "holds no tensors"
    yield "memo-missing", bad(b"h\x63"), "memo entry 99 was never filled"
    yield "memo-far", bad(b"Nr" + b"\xff\xff\xff\x7f"), "memo entry 2147483647 is out of order"
    yield "memo-of-nothing", bad(b"q\0"), "from a stack of 0"
    yield "setitem-short", bad(b"}s"), "from a stack of 1"
    yield "setitem-list", bad(b"]NNs"), "adds items of a dict"
    yield "setitems-odd", bad(b"}(Nu"), "a key without a value"
    yield "append-dict", bad(b"}Na"), "adds items of a list"
    yield "appends-no-mark", bad(b"]Ne"), "mark that is not there"
    yield "build-number", bad(b"K\x01}b"), "adds attributes"
    yield "pairs", bad(call(name("collections", "OrderedDict"), b"](K\x01e")), "what are not pairs"
    again = b"](" + b"](NNe" * 100 + b"eq\0" + (name("collections", "OrderedDict") + b"(h\0tR0") * 100
    yield "pairs-again", bad(again), "again and again"
    yield "text-long", bad(b"X\xff\xff\xff\x7fw"), "2147483647 bytes"
    yield "text-longest", bad(b"\x8d" + b"\xff" * 8), "18446744073709551615 bytes"
    yield "frame-long", bad(b"\x95" + b"\xff" * 8), "18446744073709551615 bytes"
    yield "integer-long", bad(b"\x8b\xff\xff\xff\x7f"), "bytes"
    yield "no-stop", zipped(b"\x80\x02}"), "ends without STOP"
    yield "stop-empty", zipped(b"\x80\x02."), "from a stack of 0"
    yield "pickle-empty", zipped(b""), "ends without STOP"


def container_cases():
    good = one()
    yield "empty", b"", "empty"
    yield "text", b"PK\3\4 but no zip at all", "zip"
    yield "cut-directory", good[:-40], "no central directory"
    yield "cut-data", good[:300], "no central directory"
    yield "deflated", zipped(state(w=tensor()), [("data/0", bytes(64))], compress=zipfile.ZIP_DEFLATED), "is compressed"
    yield "encrypted", in_directory(good, 8, b"\x01"), "is encrypted"
    yield "sizes-differ", in_directory(good, 20, b"\x01\0\0\0"), "is compressed"
    yield "entry-behind", in_directory(good, 42, b"\xff\xff\xff\x7f"), "outside the file"
    yield "entry-elsewhere", in_directory(good, 42, b"\x08\0\0\0"), "not where the directory says"
    yield "entry-huge", in_directory(good, 20, b"\xff\xff\xff\x7f" * 2), "does not fit into the file"
    yield "entry-64", in_directory(good, 20, b"\xff" * 8), "lacks its 64-bit sizes"
    yield "entry-name-long", in_directory(good, 28, b"\xff\xff"), "directory is broken"
    yield "directory-magic", in_directory(good, 0, b"QK"), "directory is broken"
    yield "entries-claimed", edited(good, len(good) - 14, b"\xff\x7f\xff\x7f"), "does not fit into the file"
    yield "directory-behind", edited(good, len(good) - 6, b"\xff\xff\xff\x7f"), "does not fit into the file"
    yield "locator-wild", good[:-22] + struct.pack("<IIQI", 0x07064b50, 0, 2**63, 1) + good[-22:], "are needed"
    yield "locator-wrong", good[:-22] + struct.pack("<IIQI", 0x07064b50, 0, 0, 1) + good[-22:], "zip64 record"
    yield "entry-twice", zipped(state(w=tensor()), [("data/0", DATA), ("data/0", DATA)]), "appears twice"
    yield ("pickle-twice", zipped(state(w=tensor()), [("data/0", DATA), ("more/data.pkl", b"N.")]),
           "more than one data.pkl")
    yield "no-pickle", zip_of([("archive/weights.txt", b"")]), "has no data.pkl"
    yield "torchscript", zipped(state(w=tensor()), [("data/0", DATA), ("constants.pkl", b"N.")]), "TorchScript"
    yield "big-endian", zipped(state(w=tensor()), [("data/0", DATA), ("byteorder", b"big")]), "not little-endian"
    yield "legacy-version", legacy(W, version=1002), "version"
    yield "legacy-big-endian", legacy(W, little=b"\x89"), "not little-endian"
    yield "legacy-magic", pickled(number(5)), "not one of torch.save"
    yield "legacy-system", legacy(call(name("posix", "system"), text("true"))), "posix.system"
    yield "legacy-count", legacy(W, data=struct.pack("<Q", 17) + DATA + bytes(4)), "17 elements in the file but 16"
    yield "legacy-count-huge", legacy(dict_of([("w", tensor(of=storage(n=2**62)))]),
                                      data=struct.pack("<Q", 2**62)), "too many elements"
    yield "legacy-short", legacy(W, data=struct.pack("<Q", 16) + DATA[:-1]), "a storage needs 64 bytes"
    yield "legacy-unknown-key", legacy(W, keys=("7",)), "its pickle does not know"
    yield "legacy-key-twice", legacy(W, keys=("0", "0"), data=(struct.pack("<Q", 16) + DATA) * 2), "twice"
    yield "legacy-key-missing", legacy(W, keys=()), "are not in the file"
    yield ("legacy-keys", MAGIC + legacy(W)[len(MAGIC):].replace(pickled(b"](" + text("0") + b"e"), pickled(b"N")),
           "no list")
    yield ("legacy-two-types", legacy(dict_of([("w", tensor()), ("v", tensor(of=storage("DoubleStorage")))])),
           "disagrees")
    yield "legacy-view-behind", legacy(dict_of([("w", tensor(of=storage(
        view=tuple_of(text("1"), number(1), number(16)))))])), "reaches beyond"


def zip_of(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for entry, data in entries:
            z.writestr(zipfile.ZipInfo(entry), data)
    return out.getvalue()


def cases():
    for name_, data in good_cases():
        yield name_, data, None
    for group in (view_cases, pickle_cases, container_cases):
        for name_, data, words in group():
            yield name_ + ".pt", data, words


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    warnings.simplefilter("ignore")  # zipfile notices names that come twice
    for name_, data, words in cases():
        (out / name_).write_bytes(data)
        lines.append(f"{name_} " + ("accept" if words is None else f"refuse {words}"))
    (out / "expect").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
