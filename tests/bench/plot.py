"""plot.py - the benchmark's ratios as one SVG: times the best peer, a bar a figure, on a scale of doublings."""
import math
from xml.sax.saxutils import escape

WIDTH, LABEL, LINE, TOP = 980, 580, 24, 46
STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .quiet { fill: #6e7781 } .bar { fill: #2da44e } .less { fill: #bf8700 } .line { stroke: #d0d7de }
  @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .quiet { fill: #8d96a0 } .line { stroke: #30363d } }
</style>"""


def write(path, rows, title):
    """rows: (label, peer, ratio)."""
    most = max(2.0, *(ratio for _, _, ratio in rows)) if rows else 2.0
    least = min(1.0, *(ratio for _, _, ratio in rows)) if rows else 1.0
    low, high = math.floor(math.log2(least)), math.ceil(math.log2(most))

    def x(ratio):
        return LABEL + (math.log2(ratio) - low) / (high - low) * (WIDTH - LABEL - 70)

    height = TOP + LINE * len(rows) + 12
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           f'role="img" aria-label="{escape(title)}">', STYLE, f'<text x="8" y="18">{escape(title)}</text>']
    for power in range(low, high + 1):
        at = x(2.0 ** power)
        out.append(f'<line class="line" x1="{at:.1f}" y1="{TOP - 12}" x2="{at:.1f}" y2="{height - 8}"/>'
                   f'<text class="quiet" x="{at:.1f}" y="{TOP - 16}" text-anchor="middle">{2.0 ** power:g}×</text>')
    for i, (label, peer, ratio) in enumerate(rows):
        y, left, right = TOP + LINE * i, min(x(1), x(ratio)), max(x(1), x(ratio))
        kind = "bar" if ratio >= 1 else "less"
        out.append(f'<text x="8" y="{y + 13}">{escape(label)} <tspan class="quiet">{escape(peer)}</tspan></text>'
                   f'<rect class="{kind}" x="{left:.1f}" y="{y + 2}" width="{max(1, right - left):.1f}" height="14"/>'
                   f'<text x="{right + 6:.1f}" y="{y + 13}">{ratio:.1f}×</text>')
    path.write_text("\n".join([*out, "</svg>"]) + "\n", encoding="utf-8")
