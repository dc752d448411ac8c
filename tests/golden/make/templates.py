"""What Jinja2 itself makes of the templates in tests/golden/templates.

usage: templates.py [SMOLLM2.gguf]      needs: pip install jinja2 gguf   (made with jinja2 3.1.6)
writes snippets.json   from snippets.txt (templates between lines of =====): [{template, expected | fails}]
       NAME.json       from NAME.jinja: [{messages, ..., expected | raises}]
       smollm2.jinja   when the checkpoint is given: its tokenizer.chat_template
The environment is the one in which transformers renders chat templates.  tests/unit/test_jinja.c reads the results.
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "templates"
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)


class Generation(jinja2.ext.Extension):
    """{% generation %} only marks text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


VARIABLES = {
    "messages": [system("Be brief."), user(" Hi <b> "), assistant("Hello é"), user("Bye")],
    "tools": None, "add_generation_prompt": True,
    "d": {"a": 1, "b": "two", "c": [1, 2]}, "deep": {"a": {"b": [1, {"c": "x"}]}}, "lst": ["p", "qr", "s"],
    "tree": [{"n": 1, "c": [{"n": 2}, {"n": 3, "c": [{"n": 4}]}]}, {"n": 5}],
    "people": [{"name": "Bob", "age": 42, "city": "Rome", "nick": "b", "addr": {"zip": 1}},
               {"name": "Ann", "age": 30, "city": "Oslo", "nick": "", "addr": {"zip": 2}},
               {"name": "Cid", "age": 35, "city": "Rome", "addr": {"zip": 3}}],
}

CONVERSATIONS = [
    ([user("Hello, who are you?")], True),
    ([user("Hello, who are you?")], False),
    ([system("You are terse."), user("Name a prime.")], True),
    ([system("Be brief."), user("Hi"), assistant("Hello!"), user("2+2?"), assistant("4"), user("times 3?")], True),
    ([user("Hi"), assistant("Goodbye.")], False),
    ([user("  Grüße aus 東京 🚀\n\n\t\"zwei\" <|im_end|> <|eot_id|> {{ 1 + 1 }} {% raw %}\n")], True),
    ([user("")], True),
    ([user("first"), user("second")], True),
]


def outcome(make):
    try:
        return {"expected": make()}
    except Exception as error:
        return {"fails": f"{type(error).__name__}: {error}"}


def write(name, cases):
    text = "[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n"
    (FOLDER / name).write_text(text, encoding="utf-8")


def snippets():
    texts = (FOLDER / "snippets.txt").read_text(encoding="utf-8")[:-1].split("\n=====\n")
    cases = [{"template": t, **outcome(lambda: environment().from_string(t).render(**VARIABLES))} for t in texts]
    write("snippets.json", [{"variables": VARIABLES}] + cases)
    return cases


def style(path):
    source = path.read_text(encoding="utf-8")
    cases = []
    for messages, prompt in CONVERSATIONS:
        case = {"messages": messages, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>"}
        cases.append({**case, **outcome(lambda: environment().from_string(source).render(tools=None, **case))})
    write(path.stem + ".json", cases)


def main():
    if len(sys.argv) > 1:
        import gguf

        field = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"]
        (FOLDER / "smollm2.jinja").write_bytes(bytes(field.parts[field.data[0]]))
    cases = snippets()
    for path in sorted(FOLDER.glob("*.jinja")):
        style(path)
    print(len(cases), "snippets,", sum("fails" in c for c in cases), "of them fail")


if __name__ == "__main__":
    main()
