"""ngram.py MODEL.arpa TEXT - KenLM scoring every word of a text, one line after another, in one thread."""
import sys
from pathlib import Path

from common import answer, best_of, needed

with needed():
    import kenlm


def main(model, text):
    scorer = kenlm.Model(model)
    lines = Path(text).read_text(encoding="utf-8").splitlines()
    words = sum(len(line.split()) for line in lines)
    seconds = best_of(1, lambda: [list(scorer.full_scores(line)) for line in lines])
    answer(**{"words per second": words / seconds})


main(*sys.argv[1:])
