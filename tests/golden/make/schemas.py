#!/usr/bin/env python3
"""schemas.py - writes the corpus of JSON schemas, tests/golden/schemas/*.json, for tests/http/test_structured.py.

usage: schemas.py          from anywhere; the files are the same each time

Each file is a list of {"name", "schema", "expect", "reason"?}.  expect: "bounded": every answer is valid, and nearly
all end; "open": answers that end are valid, but a model may go on as long as it likes; "impossible" and
"unsupported": refused, and the message contains `reason`.  To add a schema: a row below, then run this.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "schemas"


def text(n=12, **more):
    return {"type": "string", "maxLength": n, **more}


def obj(properties, required=None, **more):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
        **more,
    }


def array(items, most=3, **more):
    return {"type": "array", "items": items, "maxItems": most, **more}


INT, BOOL, NULL = {"type": "integer"}, {"type": "boolean"}, {"type": "null"}
SMALL = {"type": "integer", "minimum": 0, "maximum": 99}

scalars = {
    "null": NULL,
    "boolean": BOOL,
    "integer": INT,
    "number": {"type": "number"},
    "text": text(),
    "types": {"type": ["integer", "null", "boolean"]},
    "null-or-text": {"type": ["string", "null"], "maxLength": 5},
    "const-text": {"const": 'yes "sir"'},
    "const-object": {"const": {"a": [1, 2.5, None]}},
    "enum-texts": {"enum": ["red", "green", "dark blue", "né"]},
    "enum-mixed": {"enum": [1, "1", None, True, [0], {"k": "v"}]},
    "enum-typed": {"enum": [1, 2, "three"], "type": "integer"},
    "enum-many": {"enum": [f"value-{i}" for i in range(300)]},
    "enum-numbers": {"type": "number", "enum": [0.1, 1e10, -2.5, 3]},
    "enum-filtered": {"enum": ["apple", "avocado", "banana"], "pattern": "^a"},
}
for low, high in [(0, 0), (1, 9), (-5, 5), (10, 99), (0, 255), (-1000, -1), (1990, 2030), (7, 12345), (-273, 5778)]:
    scalars[f"integer-{low}-{high}"] = {"type": "integer", "minimum": low, "maximum": high}
for low, high in [(0, 1), (-1, 1), (0.5, 2.25), (-90, 90), (36.5, 42), (0, 100), (-0.125, -0.001), (1e3, 1e5)]:
    scalars[f"number-{low}-{high}"] = {"type": "number", "minimum": low, "maximum": high}
    scalars[f"number-open-{low}-{high}"] = {"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high}
for m in (2, 3, 7, 10, 25):
    scalars[f"multiple-{m}"] = {"type": "integer", "multipleOf": m, "minimum": -60, "maximum": 500}
scalars["exclusive"] = {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 6}
scalars["number-multiple"] = {"type": "number", "multipleOf": 4, "minimum": 0, "maximum": 1000}

strings = {}
for low, high in [(0, 0), (1, 1), (1, 5), (3, 3), (0, 40), (10, 20)]:
    strings[f"length-{low}-{high}"] = {"type": "string", "minLength": low, "maxLength": high}
for name in (
    "date",
    "time",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uri",
    "uri-reference",
    "uuid",
    "json-pointer",
):
    strings[f"format-{name}"] = {"type": "string", "format": name}
for name, pattern in {
    "plate": "^[A-Z]{2}-\\d{3,4}$",
    "semver": "^(0|[1-9]\\d{0,3})\\.(0|[1-9]\\d{0,3})\\.(0|[1-9]\\d{0,3})$",
    "hex": "^#[0-9a-fA-F]{6}$",
    "phone": "^\\+?\\d{1,3}[ -]\\d{3}[ -]\\d{4}$",
    "word": "^\\w{1,10}$",
    "choice": "^(north|south|east|west)$",
    "slug": "^[a-z]{1,8}(-[a-z]{1,8}){0,3}$",
    "quotes": '^"[a-z\\\\]{1,5}"$',
    "time": "^([01]\\d|2[0-3]):[0-5]\\d$",
    "unicode": "^[\\u00e0-\\u00ff]{1,6}$",
    "classes": "^[^\\s\\d]{2,6}$",
    "optional": "^a?b{0,2}(c|d)?$",
    "money": "^\\$\\d{1,6}\\.\\d{2}$",
    "base64": "^[A-Za-z0-9+/]{8}={0,2}$",
}.items():
    strings[f"pattern-{name}"] = {"type": "string", "pattern": pattern}
strings["pattern-length"] = {"type": "string", "pattern": "^[a-z]+$", "minLength": 3, "maxLength": 8}
strings["pattern-searched"] = {"type": "string", "pattern": "[0-9]{2}", "maxLength": 10}
strings["patterns-both"] = {"type": "string", "maxLength": 12, "allOf": [{"pattern": "^a"}, {"pattern": "z$"}]}
strings["anchors"] = {"type": "string", "pattern": "(^x|y$)", "maxLength": 6}
strings["format-length"] = {"type": "string", "format": "email", "maxLength": 24}

arrays = {
    "empty": array(INT, 0),
    "three": array(SMALL, 3),
    "exactly": array(BOOL, 4, minItems=4),
    "some": array(text(6), 5, minItems=1),
    "nested": array(array(SMALL, 2), 3),
    "objects": array(obj({"x": SMALL, "y": SMALL}), 3),
    "tuple": {"type": "array", "prefixItems": [SMALL, text(4), BOOL], "items": False, "minItems": 3},
    "tuple-short": {"type": "array", "prefixItems": [SMALL, text(4)], "items": False},
    "tuple-rest": {"type": "array", "prefixItems": [text(4)], "items": SMALL, "minItems": 2, "maxItems": 5},
    "nulls": array({"type": ["null", "boolean"]}, 6),
    "unique-one": array(INT, 1, uniqueItems=True),
    "enums": array({"enum": ["a", "b", "c"]}, 8),
    "matrix": array(array({"type": "number", "minimum": 0, "maximum": 1}, 3, minItems=3), 3, minItems=3),
}

person = obj(
    {
        "name": text(20, minLength=1),
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "email": {"type": "string", "format": "email"},
    }
)
objects = {
    "person": person,
    "optional": obj({"a": SMALL, "b": text(5), "c": BOOL}, ["b"]),
    "none-required": obj({"a": SMALL, "b": text(5)}, []),
    "empty": obj({}),
    "nested": obj({"user": person, "tags": array(text(8), 3)}),
    "deep": obj({"a": obj({"b": obj({"c": obj({"d": SMALL})})})}),
    "odd-names": obj({"with space": SMALL, 'quo"te': SMALL, "sl/ash~": SMALL, "ünïcode": SMALL, "": SMALL}),
    "without-closing": {"type": "object", "properties": {"a": SMALL, "b": BOOL}, "required": ["a"]},
    "untyped": {"properties": {"a": SMALL}, "required": ["a"]},
    "required-unlisted": {
        "type": "object",
        "properties": {"a": SMALL},
        "required": ["a", "z"],
        "additionalProperties": text(5),
    },
    "map": {"type": "object", "additionalProperties": SMALL, "maxProperties": 3},
    "map-some": {"type": "object", "additionalProperties": BOOL, "minProperties": 1, "maxProperties": 2},
    "patterns": {
        "type": "object",
        "patternProperties": {"^x-[a-z]{1,5}$": SMALL},
        "additionalProperties": False,
        "maxProperties": 3,
    },
    "gone": {
        "type": "object",
        "properties": {"a": SMALL, "b": False},
        "required": ["a"],
        "additionalProperties": False,
    },
    "wide": obj({f"field_{i}": (SMALL, BOOL, text(6), NULL)[i % 4] for i in range(24)}),
    "wide-optional": obj({f"field_{i}": BOOL for i in range(16)}, []),
    "weather": obj(
        {
            "location": text(30),
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
        }
    ),
    "address": obj(
        {
            "street": text(30),
            "city": text(20),
            "zip": {"type": "string", "pattern": "^\\d{5}(-\\d{4})?$"},
            "country": {"type": "string", "minLength": 2, "maxLength": 2},
        }
    ),
    "event": obj(
        {
            "title": text(30),
            "start": {"type": "string", "format": "date-time"},
            "attendees": array(text(12), 4),
            "online": BOOL,
        },
        ["title", "start"],
    ),
    "order": obj(
        {
            "id": {"type": "string", "format": "uuid"},
            "lines": array(
                obj(
                    {
                        "sku": {"type": "string", "pattern": "^[A-Z]{3}\\d{3}$"},
                        "count": {"type": "integer", "minimum": 1, "maximum": 50},
                        "price": {"type": "number", "minimum": 0, "maximum": 1000},
                    }
                ),
                3,
                minItems=1,
            ),
        }
    ),
    "steps": obj(
        {"steps": array(obj({"explanation": text(40), "output": text(20)}), 3, minItems=1), "final_answer": text(20)}
    ),
    "annotated": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/x",
        "title": "T",
        "description": "D",
        "default": {},
        "examples": [{}],
        "$comment": "c",
        "deprecated": True,
        **obj({"a": {**SMALL, "description": "d", "default": 3}}),
    },
}

kind_a, kind_b = obj({"kind": {"const": "a"}, "n": SMALL}), obj({"kind": {"const": "b"}, "s": text(5)})
combined = {
    "any": {"anyOf": [SMALL, text(4), NULL]},
    "any-objects": {"anyOf": [kind_a, kind_b]},
    "any-dead-branch": {"anyOf": [False, {"const": 1}, {"enum": []}]},
    "any-sibling": {
        "type": "object",
        "properties": {"a": SMALL, "b": SMALL},
        "additionalProperties": False,
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "any-nullable": obj({"x": {"anyOf": [text(6), NULL]}}),
    "one-kinds": {"oneOf": [kind_a, kind_b]},
    "one-types": {"oneOf": [text(4), SMALL, BOOL, array(NULL, 2)]},
    "one-ranges": {
        "oneOf": [{"type": "integer", "minimum": 0, "maximum": 3}, {"type": "integer", "minimum": 8, "maximum": 9}]
    },
    "one-patterns": {
        "oneOf": [{"type": "string", "pattern": "^a[a-z]{0,5}$"}, {"type": "string", "pattern": "^b\\d{0,5}$"}]
    },
    "one-lengths": {"oneOf": [text(3), {"type": "string", "minLength": 5, "maxLength": 8}]},
    "one-forbidden": {"oneOf": [obj({"a": SMALL}), obj({"b": SMALL})]},
    "all-objects": {
        "allOf": [
            {"type": "object", "properties": {"a": SMALL}, "required": ["a"]},
            {"properties": {"b": text(5)}, "required": ["b"]},
        ]
    },
    "all-narrow": {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 30}, {"multipleOf": 3}]},
    "all-same-property": {
        "allOf": [obj({"a": {"type": "integer", "minimum": 2}}), {"properties": {"a": {"maximum": 5}}}]
    },
    "all-types": {
        "allOf": [{"type": ["integer", "string"]}, {"type": ["number", "null"]}, {"maximum": 50, "minimum": 0}]
    },
    "all-enums": {"allOf": [{"enum": [1, 2, 3, 4]}, {"enum": [3, 4, 5]}]},
    "all-any": {
        "allOf": [
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            {"anyOf": [{"minimum": 3, "maximum": 9, "type": "integer"}, {"type": "string", "maxLength": 2}]},
        ]
    },
    "any-in-items": array({"anyOf": [kind_a, kind_b, NULL]}, 3),
    "all-arrays": {"allOf": [array({"type": "integer", "minimum": 0}, 4), {"items": {"maximum": 9}, "minItems": 1}]},
}

referred = {
    "defs": {"$defs": {"p": person}, "type": "array", "items": {"$ref": "#/$defs/p"}, "maxItems": 2},
    "definitions": {"definitions": {"n": SMALL}, "$ref": "#/definitions/n"},
    "pointer": {**obj({"a": SMALL, "b": {"$ref": "#/properties/a"}})},
    "escaped": {"$defs": {"a/b~c d": BOOL}, "$ref": "#/$defs/a~1b~0c%20d"},
    "anchor": {"$defs": {"x": {"$anchor": "spot", **SMALL}}, "$ref": "#spot"},
    "sibling": {"$defs": {"n": INT}, "$ref": "#/$defs/n", "minimum": 5, "maximum": 50},
    "chain": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/c"}, "c": BOOL}, "$ref": "#/$defs/a"},
    "described": {"$defs": {"n": SMALL}, **obj({"x": {"$ref": "#/$defs/n", "description": "d"}})},
    "all-ref": {
        "$defs": {"base": {"type": "object", "properties": {"id": SMALL}, "required": ["id"]}},
        "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"name": text(6)}, "required": ["name"]}],
    },
    "any-ref": {"$defs": {"a": kind_a, "b": kind_b}, "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
    "one-ref": {"$defs": {"a": kind_a, "b": kind_b}, "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
}

open_ones = {
    "anything": {},
    "true": True,
    "object": {"type": "object"},
    "array": {"type": "array"},
    "string": {"type": "string"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
    "more": {"type": "object", "properties": {"a": SMALL}, "required": ["a"], "additionalProperties": True},
    "list": obj({"value": SMALL, "next": {"anyOf": [{"$ref": "#"}, NULL]}}),
    "tree": {
        "$defs": {"node": obj({"v": SMALL, "children": array({"$ref": "#/$defs/node"}, 2)})},
        "$ref": "#/$defs/node",
    },
    "minimum-length": {"type": "string", "minLength": 5},
    "patterned-map": {
        "type": "object",
        "properties": {"id": SMALL},
        "patternProperties": {"^s_": {"type": "string"}},
        "additionalProperties": {"type": "integer"},
    },
    "expression": {
        "$defs": {
            "e": {
                "anyOf": [
                    SMALL,
                    obj({"op": {"enum": ["+", "*"]}, "l": {"$ref": "#/$defs/e"}, "r": {"$ref": "#/$defs/e"}}),
                ]
            }
        },
        "$ref": "#/$defs/e",
    },
}

impossible = {
    "false": (False, "the schema is false"),
    "integer-bounds": ({"type": "integer", "minimum": 5, "maximum": 3}, "no whole number is from 5 to 3"),
    "no-integer-between": ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2}, "no whole number"),
    "number-bounds": ({"type": "number", "minimum": 2, "exclusiveMaximum": 2}, "no number is from 2"),
    "no-multiple": ({"type": "integer", "multipleOf": 7, "minimum": 8, "maximum": 13}, "no multiple of 7"),
    "lengths": ({"type": "string", "minLength": 5, "maxLength": 4}, "minLength 5 is above maxLength 4"),
    "pattern-too-long": ({"type": "string", "pattern": "^\\d{8}$", "maxLength": 7}, "no text fits"),
    "patterns-apart": ({"type": "string", "allOf": [{"pattern": "^a"}, {"pattern": "^b"}]}, "no text fits"),
    "items-bounds": ({"type": "array", "minItems": 2, "maxItems": 1}, "minItems 2 is above maxItems 1"),
    "items-false": ({"type": "array", "items": False, "minItems": 1}, "the schema is false"),
    "tuple-too-short": ({"type": "array", "prefixItems": [{}], "items": False, "minItems": 2}, "the schema is false"),
    "required-false": ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "required but excluded"),
    "required-unlisted": (
        {"type": "object", "required": ["a"], "additionalProperties": False},
        "required but excluded",
    ),
    "too-many-required": (
        {"type": "object", "required": ["a", "b"], "maxProperties": 1},
        "2 properties are required",
    ),
    "members-bounds": (
        {"type": "object", "minProperties": 3, "maxProperties": 2},
        "minProperties is above maxProperties",
    ),
    "too-few-members": (obj({"a": INT}, minProperties=2), "only 1 properties can be there"),
    "enum-empty": ({"enum": []}, "the list of values is empty"),
    "enum-type": ({"enum": ["a"], "type": "integer"}, "none of the values listed"),
    "const-and-enum": ({"const": 1, "enum": [2]}, "none of the values listed"),
    "all-types": ({"allOf": [{"type": "string"}, {"type": "null"}]}, "types exclude each other"),
    "all-bounds": ({"type": "integer", "allOf": [{"minimum": 3}, {"maximum": 2}]}, "no whole number"),
    "any-none": ({"anyOf": [False, {"type": "integer", "minimum": 1, "maximum": 0}]}, "no value can be valid"),
    "deep": (
        obj({"a": obj({"b": {"type": "string", "minLength": 2, "maxLength": 1}})}),
        "#/properties/a/properties/b",
    ),
    "ref-circle": (
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        "leads back to itself",
    ),
    "endless": (obj({"next": {"$ref": "#"}}), "can never end"),
    "endless-list": (
        {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}}, "$ref": "#/$defs/n"},
        "can never end",
    ),
    "ref-nowhere": ({"$ref": "#/$defs/x"}, "leads to no schema"),
    "bad-type": ({"type": "text"}, "#/type"),
    "bad-count": ({"type": "array", "minItems": -1}, "#/minItems"),
    "bad-pattern": ({"type": "string", "pattern": "(a"}, "#/pattern"),
    "bad-required": ({"required": "a"}, "#/required"),
}
unsupported = {
    "not": ({"not": {"type": "null"}}, "#/not"),
    "if": ({"type": "integer", "if": {"minimum": 3}, "then": {"multipleOf": 2}}, "#/if"),
    "contains": ({"type": "array", "contains": {"const": 1}}, "#/contains"),
    "dependent": ({"type": "object", "dependentRequired": {"a": ["b"]}}, "#/dependentRequired"),
    "names": ({"type": "object", "propertyNames": {"pattern": "^a"}}, "#/propertyNames"),
    "unevaluated": ({"type": "object", "unevaluatedProperties": False}, "#/unevaluatedProperties"),
    "unique": ({"type": "array", "uniqueItems": True}, "#/uniqueItems"),
    "fraction-multiple": ({"type": "number", "multipleOf": 0.01}, "#/multipleOf"),
    "lookahead": ({"type": "string", "pattern": "^(?=.*\\d).{8}$"}, "lookaheads"),
    "backreference": ({"type": "string", "pattern": "(a)\\1"}, "back references"),
    "format": ({"type": "string", "format": "color"}, 'the format "color"'),
    "one-overlap": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "#/oneOf"),
    "one-open-objects": ({"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, "#/oneOf"),
    "remote": ({"$ref": "https://example.org/s"}, "only references"),
    "old-tuple": ({"type": "array", "items": [{}]}, "#/items"),
}


def write(name, groups, expect):
    rows = []
    for group, schemas in groups.items():
        for key, value in schemas.items():
            row = {"name": f"{group}/{key}", "schema": value, "expect": expect}
            if isinstance(value, tuple):
                row["schema"], row["reason"] = value
            rows.append(row)
    lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    (FOLDER / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return len(rows)


def main():
    FOLDER.mkdir(exist_ok=True)
    n = write(
        "bounded",
        {
            "scalar": scalars,
            "string": strings,
            "array": arrays,
            "object": objects,
            "combined": combined,
            "ref": referred,
        },
        "bounded",
    )
    n += write("open", {"open": open_ones}, "open")
    n += write("impossible", {"impossible": impossible}, "impossible")
    n += write("unsupported", {"unsupported": unsupported}, "unsupported")
    print(n, "schemas")


if __name__ == "__main__":
    main()
