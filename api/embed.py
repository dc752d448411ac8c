#!/usr/bin/env python3
"""embed.py - a file as a constant of C.

usage: embed.py FILE NAME HEADER OUT      called by meson
"""
import sys
from pathlib import Path

source, name, header, out = sys.argv[1:]
data = Path(source).read_bytes()
rows = ["    " + " ".join(f"{b}," for b in data[i:i + 24]) for i in range(0, len(data), 24)]
Path(out).write_text(f'#include "{header}"\n\nconst unsigned char {name}[] = {{\n' + "\n".join(rows) +
                     f"\n}};\nconst size_t {name}_len = sizeof {name};\n")
