"""Pay per unit of cost as bars, in an SVG file written by hand: no library is worth a picture."""

from html import escape

from neurons.arena.tally import LUCK, ArenaResult, MinerTally

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 720, 150, 60, 18, 46, 40
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#444}.t{font-size:14px;font-weight:600;fill:#222}"
    ".honest{fill:#2a7f62}.cheat{fill:#c4572f}.line{stroke:#888;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#bbb}.t{fill:#eee}}"
)


def draw(result: ArenaResult) -> str:
    """Honest strategies first, then the others, best first; a dashed line where honest work stands."""
    rows = sorted(result.miners, key=lambda one: (not one.honest, -one.pay_per_cost))
    height = _TOP + _ROW * len(rows) + _BOTTOM
    most = max(1.25, *(one.pay_per_cost for one in rows))
    unit = (_WIDTH - _LEFT - _RIGHT) / most
    bars = "".join(_bar(one, _TOP + _ROW * index, unit) for index, one in enumerate(rows))
    at, end = _LEFT + unit, _TOP + _ROW * len(rows) + 4
    note = (
        f"{len(result.rounds)} rounds; cost: training in honest rounds + {result.identity_cost} a hotkey and round; "
        f"honest hotkeys spread by {LUCK * result.spread:.2f}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Pay per unit of cost by strategy"><style>{_STYLE}</style>'
        f'<text class="t" x="12" y="24">Pay per unit of cost, honest work = 1</text>'
        f'{bars}<line class="line" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 6}" y2="{end}"/>'
        f'<text x="12" y="{height - 14}">{escape(note)}</text></svg>\n'
    )


def _bar(one: MinerTally, top: int, unit: float) -> str:
    width = max(1.0, unit * one.pay_per_cost)
    kind = "honest" if one.honest else "cheat"
    return (
        f'<text x="{_LEFT - 8}" y="{top + 12}" text-anchor="end">{escape(one.strategy)}</text>'
        f'<rect class="{kind}" x="{_LEFT}" y="{top + 2}" width="{width:.1f}" height="{_ROW - 6}" rx="2"/>'
        f'<text x="{_LEFT + width + 5:.1f}" y="{top + 12}">{one.pay_per_cost:.2f}</text>'
    )
