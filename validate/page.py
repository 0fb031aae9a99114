"""One self-contained page for a run: verdict first, every number an element that says which of the JSON's it is.

No network, no script: the pictures are inside, the content security policy allows nothing else. Readable on a phone,
where wide tables scroll by themselves, and in print.
"""

import base64
import html
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from validate.document import significant, times
from validate.run_sections import inside, more, provenance
from validate.sections import opening
from validate.words import UNKNOWN, WORDS, flat, milliseconds, percent

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
PARTS = ("tokens", "draft", "verify", "overhead")
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 0 auto;
  padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
figure { margin: 1rem 0; } img { width: 100%; max-width: 42rem; height: auto; display: block; }
.wide { overflow-x: auto; background: linear-gradient(90deg, #fff 2rem, #fff0) 0 0 / 4rem 100% no-repeat local,
  linear-gradient(270deg, #fff 2rem, #fff0) 100% 0 / 4rem 100% no-repeat local,
  linear-gradient(90deg, #bbb, #fff0) 0 0 / .6rem 100% no-repeat scroll,
  linear-gradient(270deg, #bbb, #fff0) 100% 0 / .6rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #ddd; white-space: nowrap;
  vertical-align: top; } td.text { white-space: normal; } td.text:first-child { color: #555; min-width: 4.5rem; }
.out { color: #b00000; font-weight: 600; } small { color: #555; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2, figure { break-inside: avoid; }
  .wide { overflow: visible; } th, td { white-space: normal; font-size: 8pt; } }
"""


class _Values:
    """The numbers of a document as elements that carry their exact value and their place in it."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def at(self, path: str) -> Any:
        """What the document holds at a path like cells/0/predicted/value (RFC 6901, without the first slash)."""
        found: Any = self.document
        for key in (part.replace("~1", "/").replace("~0", "~") for part in path.split("/")):
            found = found[int(key)] if isinstance(found, Sequence) and not isinstance(found, str) else found[key]
        return found

    def number(self, path: str, words: Callable[[Any], str]) -> str:
        """One number, as words say it; a dash where it is unknown."""
        value = self.at(path)
        if value is None:
            return UNKNOWN
        place = html.escape(path, quote=True)
        return f'<data value="{json.dumps(value)}" data-path="{place}">{html.escape(words(value))}</data>'

    def interval(self, path: str, unit: str = "") -> str:
        """A value with its interval."""
        if self.at(path) is None:
            return UNKNOWN

        def rounded(value: float) -> str:
            return f"{value:.2f}{unit}"

        value = self.number(f"{path}/value", rounded)
        if self.at(f"{path}/low") is None:
            return value
        ends = (self.number(f"{path}/{end}", lambda v: f"{v:.2f}") for end in ("low", "high"))
        return f"{value} ({' to '.join(ends)})"


def page(document: Mapping[str, Any], pictures: Mapping[str, bytes], files: Sequence[str]) -> bytes:
    """The page of a run's document, with its pictures as SVG by name and the files it rests on."""
    values = _Values(document)
    answer, *rest = opening(document)
    body = [f"<h1>{html.escape(answer)}</h1>", *(f"<p>{html.escape(line[0].upper() + line[1:])}</p>" for line in rest)]
    body += [_picture(pictures, "speedup", answer)]
    for build in (_predicted, _domains, _survival, _by_k, _costs, _time, _laws, _provenance):
        body += build(values, pictures)
    listed = "".join(f"<li>{html.escape(name)}</li>" for name in files)
    body.append(f"<h2>Files</h2><ul>{listed}</ul>")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{html.escape(answer)}</title><style>{STYLE}</style>"
    )
    lines = "\n".join(filter(None, body))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{lines}\n</body></html>\n'.encode()


def _predicted(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    def row(path: str) -> list[str]:
        cell = values.at(path)
        cause = max(cell["gap"], key=lambda name: abs(cell["gap"][name]))
        held = '<span class="out">no</span>' if cell["inside"] is False else inside(cell)
        return [
            html.escape(cell["domain"]),
            html.escape(cell["draft"]),
            values.number(f"{path}/k", str),
            values.interval(f"{path}/predicted", "x"),
            values.interval(f"{path}/measured", "x"),
            values.number(f"{path}/error", percent),
            held,
            f"{cause} {values.number(f'{path}/gap/{cause}', percent)}",
        ]

    count = {name: len(values.at(name)) for name in ("cells", "totals")}
    rows = [row(f"{name}/{i}") for name in ("cells", "totals") for i in range(count[name])]
    columns = ("text", "draft", "k", "predicted", "measured", "error", "inside", "mostly by")
    unsigned = {name: values.number(f"accuracy/{name}", _unsigned) for name in ("median_error", "worst_error")}
    noise = {name: values.number(f"accuracy/control/{name}", _unsigned) for name in ("median", "worst")}
    facts = (
        f"<p>Written down at {html.escape(values.at('predicted_at'))}, before anything was drafted. "
        f"Median |error| {unsigned['median_error']}, worst {unsigned['worst_error']} over "
        f"{values.number('accuracy/cells', str)} cells; {values.number('accuracy/inside', str)} of "
        f"{values.number('accuracy/judged', str)} stated 95 % intervals hold. Plain decoding against itself, by kind "
        f"of text: median {noise['median']}, worst {noise['worst']}.</p>"
    )
    title = "<h2>Predicted before the run, and measured</h2>"
    return [title, facts, _picture(pictures, "predicted", "predicted against measured"), _table(columns, rows)]


def _domains(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    def row(name: str) -> list[str]:
        verdict, path = values.at("verdicts")[name], f"domains/{_key(name)}"
        return [
            html.escape(name),
            WORDS[verdict["verdict"]],
            html.escape(verdict["draft"]),
            values.number(f"{path}/k", str),
            values.interval(f"{path}/speedup", "x"),
            values.interval(f"{path}/alpha"),
            values.interval(f"{path}/block_efficiency"),
            values.number(f"{path}/hit_share", _unsigned),
            values.number(f"{path}/prompts", str) + more(verdict),
        ]

    columns = ("text", "verdict", "draft", "k", "measured", "alpha", "tokens / round", "rounds drafted", "prompts")
    rows = [row(name) for name in values.at("domains")]
    return ["<h2>Acceptance by kind of text</h2>", _picture(pictures, "alpha", "alpha by text"), _table(columns, rows)]


def _survival(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    domains = values.at("domains")
    deepest = max(len(found["survival"]) for found in domains.values())
    rows = [
        [
            html.escape(name),
            *(values.number(f"domains/{_key(name)}/survival/{i}", significant) for i in range(len(found["survival"]))),
            *[UNKNOWN] * (deepest - len(found["survival"])),
        ]
        for name, found in domains.items()
    ]
    columns = ("text", *(f"first {i}" if i else "round" for i in range(deepest)))
    title = "<h2>Survival by position in the round</h2>"
    return [title, _picture(pictures, "survival", "survival by position"), _table(columns, rows)]


def _by_k(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    rows = [
        [
            html.escape(point["draft"]),
            values.number(f"curve/{i}/k", str),
            values.number(f"curve/{i}/block_efficiency", significant),
            values.interval(f"curve/{i}/predicted", "x"),
        ]
        for i, point in enumerate(values.at("curve"))
    ]
    columns = ("draft", "k", "tokens / round", "speedup predicted")
    picture = _picture(pictures, "k", "speedup against k")
    return ["<h2>Speedup against k</h2>", picture, _table(columns, rows), _not_run(values)]


def _not_run(values: _Values) -> str:
    """The draft and k that should be faster than all that ran, and how to run it."""
    best, ran = values.at("best"), values.at("provenance")
    if best["command"] is None:
        return ""
    faster, slower = (
        f"{html.escape(draft)} with k = {values.number(k, str)}"
        for draft, k in ((best["draft"], "best/k"), (ran["draft"], "provenance/k"))
    )
    predicted = f"{faster} was predicted {values.interval('best/predicted', 'x')} over all texts"
    other = f"{slower} {values.number('total/predicted/value', times)}"
    return f"<p>{predicted}, and {other}. It was not run; to run it: <code>{html.escape(best['command'])}</code></p>"


def _costs(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    drafts = values.at("costs/drafts")
    models = {"target": "costs/target", **{name: f"costs/drafts/{_key(name)}" for name in drafts}}
    rows = [
        [
            html.escape(model),
            *(values.number(f"{path}/{i}/{name}", str) for name in ("n", "batch", "context")),
            *(values.number(f"{path}/{i}/{name}", milliseconds) for name in ("seconds", "low", "high")),
        ]
        for model, path in models.items()
        for i in range(len(values.at(path)))
    ]
    columns = ("model", "n", "batch", "context", "median [ms]", "quartile [ms]", "quartile [ms]")
    drift = values.number("costs/drift", times)
    overhead = values.number("costs/overhead", milliseconds)
    after = f"<p>The same cell again took {drift} its time; accepting a full draft {overhead} ms more than a token.</p>"
    title = "<h2>What a forward over n tokens costs</h2>"
    return [title, _picture(pictures, "costs", "verification cost"), _table(columns, rows), after]


def _time(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    rows = [
        [name, *(values.number(f"breakdown/{side}/{part}", lambda v: f"{v:z.3f}") for part in PARTS)]
        for side, name in (("predicted", "at table prices"), ("measured", "by the clock"))
    ]
    columns = ("a mean round", "tokens", *(f"{part} [plain steps]" for part in PARTS[1:]))
    control = values.number("control/aa_ratio", lambda v: percent(v - 1))
    after = f"<p>Plain decoding against plain decoding in the same run: {control}.</p>"
    title = "<h2>Where the time went</h2>"
    return [title, _picture(pictures, "time", "where a round's time goes"), _table(columns, rows), after]


def _laws(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    rows = [
        [
            html.escape(cell),
            html.escape(law["law"]),
            values.number(f"laws/{_key(cell)}/ranking/{i}/held_out", significant),
            values.interval(f"laws/{_key(cell)}/ranking/{i}/difference"),
            "rejected" if law["rejected"] else "chosen" if law["law"] == found["chosen"] else "",
        ]
        for cell, found in values.at("laws").items()
        for i, law in enumerate(found["ranking"])
    ]
    columns = ("draft, k", "law", "held out [nats]", "difference to the best", "")
    return ["<h2>Which law acceptance follows</h2>", _table(columns, rows)] if rows else []


def _provenance(values: _Values, pictures: Mapping[str, bytes]) -> list[str]:
    rows = [[html.escape(name), html.escape(flat(value))] for name, value in provenance(values.document).items()]
    return ["<h2>What ran</h2>", _table(("", ""), rows, text=True)]


def _key(name: str) -> str:
    """A name as part of a path."""
    return name.replace("~", "~0").replace("/", "~1")


def _unsigned(value: float) -> str:
    return percent(value, "")


def _picture(pictures: Mapping[str, bytes], name: str, what: str) -> str:
    if name not in pictures:
        return ""
    data = base64.b64encode(pictures[name]).decode()
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{html.escape(what, quote=True)}"></figure>'


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    """Cells are HTML already; the heads are not."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns) if any(columns) else ""
    cell = '<td class="text">' if text else "<td>"
    body = "".join(f"<tr>{''.join(f'{cell}{item}</td>' for item in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
