# SPDX-License-Identifier: BSD-3-Clause
"""Curves over time, one panel under the other, as SVG.

    Panel("copied, MiB/s", 0, 100, [Curve(points, "#2860a8", "copy")], ticks=(25, 50, 75))
    write("figure.svg", [panel, ...], (begin, end), marks=[(at, "asleep"), ...], note="...")

A point is (x, y), in seconds and in the panel's unit; y None lifts the pen."""
import math
from html import escape

WIDTH, LEFT, RIGHT, HEIGHT, GAP, TOP = 900, 60, 20, 140, 28, 30
BLUE, RED, GREEN, GREY, ORANGE = "#2860a8", "#c03028", "#308040", "#999999", "#d08020"


class Curve:
    def __init__(self, points, color, label=None, width=1.3, bars=0):
        """bars: as bars of that many seconds, from y 0, in the place of a line."""
        self.points, self.color, self.label, self.width, self.bars = points, color, label, width, bars


class Panel:
    def __init__(self, title, low, high, curves, ticks, log=False):
        self.title, self.low, self.high, self.curves, self.ticks, self.log = title, low, high, curves, ticks, log


def write(path, panels, span, marks=(), note=""):
    begin, end = span
    bottom = TOP + len(panels) * (HEIGHT + GAP) - GAP
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 60}" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>']

    def x(at):
        return LEFT + (at - begin) / (end - begin) * (WIDTH - LEFT - RIGHT)

    for k, p in enumerate(panels):
        y0 = TOP + k * (HEIGHT + GAP)

        def y(value, p=p, y0=y0):
            f = math.log(max(value, p.low) / p.low) / math.log(p.high / p.low) if p.log else (value - p.low) / (p.high - p.low)
            return y0 + HEIGHT - min(max(f, 0), 1) * HEIGHT

        out.append(f'<text x="{LEFT}" y="{y0 - 6}" font-weight="bold">{escape(p.title)}</text>'
                   f'<rect x="{LEFT}" y="{y0}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT}" fill="none" stroke="#cccccc"/>')
        for t in p.ticks:
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}" stroke="#eeeeee"/>'
                       f'<text x="{LEFT - 5}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}</text>')
        right = WIDTH - RIGHT
        for c in reversed(p.curves):
            if c.label:
                right -= 6 * len(c.label) + 10
                out.append(f'<text x="{right}" y="{y0 - 6}" fill="{c.color}">{escape(c.label)}</text>')
        for c in p.curves:
            if c.bars:
                w = c.bars / (end - begin) * (WIDTH - LEFT - RIGHT)
                out += [f'<rect x="{x(a):.1f}" y="{y(v):.1f}" width="{max(w - 0.5, 0.5):.1f}" height="{y0 + HEIGHT - y(v):.1f}" fill="{c.color}"/>'
                        for a, v in c.points if v is not None]
                continue
            d, pen = [], False
            for a, v in c.points:
                if v is not None:
                    d.append(f"{'L' if pen else 'M'}{x(a):.1f} {y(v):.1f}")
                pen = v is not None
            out.append(f'<path d="{" ".join(d)}" fill="none" stroke="{c.color}" stroke-width="{c.width}"/>')
    for at, name in marks:
        out.append(f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{bottom}" stroke="#888888" stroke-dasharray="3 3"/>'
                   f'<text x="{x(at) + 4:.1f}" y="{bottom + 16}">{escape(name)}</text>')
    for i in range(int(begin), int(end) + 1, max(1, int((end - begin) / 15))):
        out.append(f'<text x="{x(max(i, begin)):.1f}" y="{bottom + 30}" text-anchor="middle" fill="#777777">{i} s</text>')
    out.append(f'<text x="{LEFT}" y="{bottom + 48}">{escape(note)}</text></svg>')
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")
