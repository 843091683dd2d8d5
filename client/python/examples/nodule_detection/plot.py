"""The comparison as a picture: a dot a training run, the mean and its interval (SVG, no library needed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 340, 56, 44, 48
COLOURS = ("#4c72b0", "#dd8452")


def draw(title: str, metrics: Mapping[str, Mapping[str, tuple[Sequence[float], float, float, float]]]) -> str:
    """Draws metrics[metric][arm] = (values, mean, low, high), all within 0..1."""
    def y(value: float) -> float:
        return TOP + (1.0 - value) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif"'
        ' font-size="13"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for tick in range(6):
        value = tick / 5
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 16}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 10}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>'
        )
    column = (WIDTH - LEFT - 16) / sum(len(arms) for arms in metrics.values())
    x = LEFT + column / 2
    for metric, arms in metrics.items():
        middle = x + column * (len(arms) - 1) / 2
        parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(metric)}</text>')
        for colour, (arm, (values, mean, low, high)) in zip(COLOURS, arms.items(), strict=False):
            dots = "".join(
                f'<circle cx="{x - 16 + 3 * (index % 3):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}"'
                ' fill-opacity="0.5"/>'
                for index, value in enumerate(values)
            )
            parts.append(
                dots + f'<line x1="{x + 8:.1f}" x2="{x + 8:.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"'
                f' stroke="{colour}" stroke-width="3"/>'
                f'<circle cx="{x + 8:.1f}" cy="{y(mean):.1f}" r="6" fill="{colour}"/>'
                f'<text x="{x + 20:.1f}" y="{y(mean) + 4:.1f}">{mean:.2f}</text>'
                f'<text x="{x:.1f}" y="{HEIGHT - 28}" text-anchor="middle" fill="{colour}">{escape(arm)}</text>'
            )
            x += column
    return "\n".join([*parts, "</svg>"]) + "\n"
