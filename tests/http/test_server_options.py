"""test_server_options.py - command lines, the environment, the file, and starts that must fail clearly."""
import json
import os
import socket
import tempfile
import unittest

from harness import ROOT, SMALL, Server, run

FAMILIES = ROOT / "tests/golden/families/models"
COMMANDS = ["serve", "generate", "tokenize", "bench", "inspect", "perplexity"]


class Options(unittest.TestCase):
    def refused(self, words, message, **environment):
        status, output, errors = run(*words, **environment)
        self.assertEqual(status, 2, errors)
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertIn(message, errors)
        self.assertEqual(output, b"")

    def test_every_command_has_help_and_names_its_options(self):
        for command in COMMANDS:
            status, output, errors = run(command, "--help")
            self.assertEqual((status, errors), (0, ""))
            self.assertIn(b"usage: loquat " + command.encode(), output)
            self.assertIn(b"--config FILE", output)

    def test_version_and_usage(self):
        self.assertRegex(run("--version")[1], rb"^loquat \d+\.\d+\.\d+\n$")
        self.assertEqual(run("--help")[0], 0)
        self.assertEqual(run()[0], 2)
        self.assertIn("'dance'", run("dance")[2])

    def test_bad_words_are_refused_by_name(self):
        serve = ["serve", "--model", SMALL]
        self.refused(serve + ["--prot", "1"], "unknown option '--prot'")
        self.refused(serve + ["-p", "1"], "unknown option '-p'")
        self.refused(serve + ["more"], "unexpected argument 'more'")
        self.refused(serve + ["--port"], "--port: the value is missing")
        self.refused(serve + ["--port", "66000"], "--port: 66000 is out of range")
        self.refused(serve + ["--port", "80x"], "--port: '80x' is not a whole number")
        self.refused(serve + ["--port", "-1"], "--port")
        self.refused(serve + ["--port", "1.5"], "--port")
        self.refused(serve + ["--max-body", "3T"], "--max-body: '3T' is not a number of bytes")
        self.refused(serve + ["--drain", "3m"], "--drain: '3m' is not a time")
        self.refused(serve + ["--log-level", "loud"], "--log-level")
        self.refused(serve + ["--host", "example.org"], "--host: 'example.org' is not a numeric address")
        self.refused(["serve"], "--model")
        self.refused(["serve", "--model", "a=" + SMALL, "--model", "a=" + SMALL], "two checkpoints are named 'a'")
        self.refused(["generate", "--model", SMALL], "--prompt")
        self.refused(["generate", "--model", SMALL, "--prompt", "x", "--temperature", "nan"], "--temperature")
        self.refused(["bench", "--model", SMALL, "--port", "1"], "unknown option '--port'")

    def test_environment_and_file_are_read_and_refused_with_their_place(self):
        self.refused(["serve", "--model", SMALL], "LOQUAT_PORT: 'abc' is not a whole number", LOQUAT_PORT="abc")
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("# comment\n\nport = 70000\n")
            file.flush()
            self.refused(["serve", "--model", SMALL, "--config", file.name],
                         f"{file.name}:3: port: 70000 is out of range")
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("colour = red\n")
            file.flush()
            self.refused(["serve", "--config", file.name], f"{file.name}:1: unknown option 'colour'")
        self.refused(["serve", "--config", "/nowhere/at/all"], "/nowhere/at/all")

    def test_command_line_beats_environment_beats_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(f"model = {SMALL}\nprompt = file\nmax-tokens = 1\nkernels = nonsense\n")
            file.flush()
            words = ["generate", "--config", file.name]
            self.assertIn("nonsense", run(*words)[2])
            self.assertIn("nothing-such", run(*words, LOQUAT_KERNELS="nothing-such")[2])
            status, _, errors = run(*words, "--kernels", "scalar", LOQUAT_KERNELS="nothing-such")
            self.assertEqual(status, 0, errors)

    def test_arithmetic_is_fast_or_exact_and_nothing_else(self):
        words = ["generate", "--model", SMALL, "--prompt", "a", "--max-tokens", "4"]
        answers = {run(*words, "--kernels", "scalar")[1], run(*words, "--arithmetic", "exact")[1]}
        self.assertEqual(len(answers), 1, answers)
        status, _, errors = run(*words, "--arithmetic", "sloppy")
        self.assertEqual(status, 2, errors)
        self.assertIn("unknown arithmetic sloppy: there are fast, exact", errors)
        self.assertIn("kernels openblas can't compute in exact arithmetic",
                      run(*words, "--arithmetic", "exact", "--kernels", "openblas")[2])

    def test_bench_works_through_the_lines_of_a_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("one line\n\nand another\n")
            file.flush()
            for name, written in (("bert-embeddings", 0), ("marian-json", None), (None, 6)):
                model = str(FAMILIES / name) if name else SMALL
                status, out, errors = run("bench", "--model", model, "--texts", file.name, "--rounds", "1",
                                          "--generate-tokens", "3", "--json")
                self.assertEqual(status, 0, errors)
                result = json.loads(out)
                self.assertEqual(result["texts"], 2)
                self.assertGreater(result["tokens_read"], 4)
                self.assertGreater(result["texts_per_second"], 0)
                if written is None:
                    self.assertGreater(result["tokens_written"], 0)
                else:
                    self.assertEqual(result["tokens_written"], written)
        self.assertIn("holds no text", run("bench", "--model", SMALL, "--texts", os.devnull)[2])
        self.assertIn("cannot read /nowhere", run("bench", "--model", SMALL, "--texts", "/nowhere")[2])


class Starts(unittest.TestCase):
    def test_a_port_in_use_is_one_line_and_status_1(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            status, _, errors = run("serve", "--model", SMALL, "--port", port)
        self.assertEqual(status, 1)
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertIn(f"cannot listen on 127.0.0.1 port {port}: the port is in use", errors)

    def test_a_model_that_cannot_be_loaded_ends_the_process(self):
        with tempfile.TemporaryDirectory() as folder:
            bad = os.path.join(folder, "bad.gguf")
            with open(bad, "wb") as file:
                file.write(b"GGUF" + b"\xff" * 100)
            for path in (bad, os.path.join(folder, "missing.gguf"), folder):
                status, _, errors = run("serve", "--model", path, "--port", "0")
                self.assertEqual(status, 1)
                self.assertIn(path, errors)

    def test_listening_elsewhere_is_warned_about(self):
        with Server("--host", "0.0.0.0", model=SMALL) as server:
            self.assertIn("without a key", server.errors())

    def test_names_of_models(self):
        with Server("--model", "second=" + SMALL, model=SMALL) as server:
            self.assertIn("model tiny-llama,", server.ready)
            self.assertEqual(server.complete(model="second")[0], 200)
            self.assertEqual(server.complete(model="default")[0], 200)
            self.assertEqual(server.complete(model="third")[0], 404)
            self.assertEqual(server.get("/v1/models/second")[0], 200)


if __name__ == "__main__":
    unittest.main()
