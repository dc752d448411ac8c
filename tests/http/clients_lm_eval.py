"""clients_lm_eval.py - lm-eval's local-completions on a small local task: its result is that of scoring by hand."""
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from clients_case import LM_EVAL, ClientCase

QUESTIONS = [
    ("The colour of grass is", [" green", " loud", " seven"], 0), ("The opposite of hot is", [" music", " cold"], 1),
    ("Two and two make", [" fish", " four"], 1), ("The sun rises in the", [" east", " fridge"], 0),
    ("At night it is", [" dark", " noon"], 0), ("A dog is an", [" hour", " animal"], 1),
]
TASK = {"task": "answers", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice",
        "doc_to_text": "{{question}}", "target_delimiter": "", "doc_to_target": "{{answer}}",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")]}


@unittest.skipUnless(LM_EVAL, "lm-eval is not installed here")
class LmEval(ClientCase):
    def loglikelihood(self, question, choice):
        """Of the choice's tokens after the question's, with the log probabilities of an echoed prompt."""
        ids = self.tokenize(question + choice)
        a = self.ok("/v1/completions", {"prompt": ids, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1})
        return sum(a["choices"][0]["logprobs"]["token_logprobs"][len(self.tokenize(question)):-1])

    def by_hand(self):
        scores = []
        for question, choices, answer in QUESTIONS:
            sums = [self.loglikelihood(question, c) for c in choices]
            per_letter = [s / len(c) for s, c in zip(sums, choices)]
            scores.append([pick.index(max(pick)) == answer for pick in (sums, per_letter)])
        return [sum(s[k] for s in scores) / len(scores) for k in (0, 1)]

    def test_result_is_that_of_scoring_by_hand(self):
        with tempfile.TemporaryDirectory() as folder:
            rows = Path(folder, "rows.jsonl")
            rows.write_text("".join(json.dumps({"question": q, "choices": c, "answer": a}) + "\n"
                                    for q, c, a in QUESTIONS))
            task = {**TASK, "dataset_kwargs": {"data_files": {"test": str(rows)}}}
            Path(folder, "answers.yaml").write_text(json.dumps(task))  # JSON is YAML
            arguments = (f"model={self.model},base_url={self.url}/v1/completions,tokenizer_backend=remote,"
                         "num_concurrent=4,max_retries=1,max_length=2048")
            done = subprocess.run(
                [LM_EVAL, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments, "--include_path",
                 folder, "--tasks", "answers", "--output_path", folder],
                capture_output=True, text=True, timeout=300,
                env={**os.environ, "HF_HOME": folder, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"})
            self.assertEqual(done.returncode, 0, done.stderr[-4000:])
            results = json.loads(next(Path(folder).rglob("results_*.json")).read_text())["results"]["answers"]
        acc, acc_norm = self.by_hand()
        self.assertAlmostEqual(results["acc,none"], acc, places=6)
        self.assertAlmostEqual(results["acc_norm,none"], acc_norm, places=6)
        self.assertGreater(acc, 0.5)  # more than chance: echoed log probabilities are those of the prompt


if __name__ == "__main__":
    unittest.main()
