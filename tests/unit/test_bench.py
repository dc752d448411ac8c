"""The benchmark's own arithmetic: who is better, what a ratio means, what is drawn."""
import importlib.machinery
import importlib.util
import sys
import tempfile
import unittest
import xml.etree.ElementTree as tree
from pathlib import Path

BENCH = Path(__file__).resolve().parents[1] / "bench"


def load_run():
    loader = importlib.machinery.SourceFileLoader("bench_run", str(BENCH / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_run", loader))
    sys.path.insert(0, str(BENCH))
    try:
        loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCH))
    return module


bench = load_run()


class Ratios(unittest.TestCase):
    def test_more_is_better_for_rates(self):
        self.assertEqual(bench.ratios("prefill", {"loquat": 30.0, "a": 10.0, "b": 15.0}), {"loquat": 2.0})

    def test_less_is_better_for_times_and_memory(self):
        for figure in ("first token p99", "gap p99", "seconds", "resident MB", "idle connection, kB"):
            self.assertEqual(bench.ratios(figure, {"loquat": 2.0, "a": 10.0, "b": 8.0}), {"loquat": 4.0}, figure)

    def test_each_of_ours_is_compared(self):
        self.assertEqual(bench.ratios("f32", {"loquat": 10.0, "loquat bf16": 20.0, "a": 5.0}),
                         {"loquat": 2.0, "loquat bf16": 4.0})

    def test_no_peer_no_ratio(self):
        self.assertEqual(bench.ratios("prefill", {"loquat": 30.0}), {})


class Inputs(unittest.TestCase):
    def test_sentences_differ(self):
        made = bench.rows_tasks.sentences(100)
        self.assertEqual(len(set(made)), 100)
        self.assertEqual(made, bench.rows_tasks.sentences(100))

    def test_median_of_turns_counts_and_the_absent_are_told(self):
        values = iter((1.0, 9.0, 2.0))

        def absent():
            raise bench.rows_llm.Absent("not here")

        group = bench.rows_llm.Group("g")
        group.run({"loquat": lambda: {"x": next(values)}, "peer": absent}, 3)
        self.assertEqual(group.figures, {"x": {"loquat": 2.0}})
        self.assertEqual(group.absent, {"peer": "not here"})


class Plot(unittest.TestCase):
    def test_a_bar_for_each_row(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plot.svg"
            bench.plot.write(path, [("prefill", "llama.cpp", 6.2), ("decode & more", "peer", 0.8)], "title")
            root = tree.parse(path).getroot()
        bars = [e for e in root.iter("{http://www.w3.org/2000/svg}rect")]
        self.assertEqual([e.get("class") for e in bars], ["bar", "less"])


if __name__ == "__main__":
    unittest.main()
