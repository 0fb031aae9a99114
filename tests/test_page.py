"""The page of a run: every number is the JSON's, nothing is fetched or overflows; and opened in a real browser."""

import html.parser
import json
import re
import shutil

import pytest

from tests import runs, synthetic
from validate.page import page
from validate.sections import headline

WIDTHS = {"phone": 360, "tablet": 800, "desk": 1280}


def study(name="D", **how):
    """Two drafts over text that repeats itself, text that does not, and a kind with an awkward name."""
    alphas = {"json": 0.9, "prose": 0.05, "a/b ~ <kind> with a rather long name": 0.6}
    fast = synthetic.trace(alphas, seed=1, **how)
    slow = synthetic.trace(alphas, seed=2, head=runs.header(draft=name), draft=0.1, **how)
    return runs.study(fast, slow, prices=runs.costs(draft=0.1, name=name))


@pytest.fixture(scope="module")
def document():
    return json.loads(json.dumps(study(), allow_nan=False))


@pytest.fixture(scope="module")
def made(document):
    charts = pytest.importorskip("validate.run_charts")
    return page(document, charts.pictures(document), ["trace.jsonl", "costs.jsonl"])


class Numbers(html.parser.HTMLParser):
    """Every data element: its value, its path, its text; and every tag and attribute that could fetch something."""

    def __init__(self, text):
        super().__init__()
        self.found, self.tags, self.links = [], [], []
        self._open = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs.items() if name in ("src", "href", "srcset", "action")]
        if tag == "data":
            self._open = (attrs["value"], attrs["data-path"])

    def handle_data(self, data):
        if self._open:
            self.found.append((*self._open, data))

    def handle_endtag(self, tag):
        if tag == "data":
            self._open = None


def resolve(document, path):
    for key in path.split("/"):
        key = key.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def unit(path):
    """What the number at a path is multiplied by when it is shown, and what is taken off before."""
    if re.fullmatch(r"costs/overhead|costs/(target|drafts/[^/]+)/\d+/(seconds|low|high)", path):
        return 1000, 0
    if re.search(r"/(error|median_error|worst_error|hit_share)$|/gap/\w+$|^accuracy/control/", path):
        return 100, 0
    return (100, 1) if path == "control/aa_ratio" else (1, 0)


def agrees(document, value, path, text):
    """The attribute is the JSON's number exactly, and the text is that number, rounded, in the unit of its path."""
    exact, (scale, shift) = resolve(document, path), unit(path)
    if json.loads(value) != exact or text.endswith("%") != (scale == 100):
        return False
    shown = float(re.sub(r"[^0-9.eE+-]", "", text))
    places = len(text.partition(".")[2].rstrip("x%")) if "." in text else 0
    return abs(shown - scale * (exact - shift)) <= 0.5000001 * 10**-places


def test_every_number_equals_that_of_the_json(document, made):
    numbers = Numbers(made.decode()).found
    assert len(numbers) > 150
    assert [n for n in numbers if not agrees(document, *n)] == []


def test_a_number_that_is_not_the_jsons_is_found(document, made):
    """The negative control: one digit changed, in the text or in the attribute."""
    numbers = Numbers(made.decode()).found
    value, path, text = next(n for n in numbers if n[1].endswith("measured/value"))
    assert agrees(document, value, path, text)
    assert not agrees(document, value, path, text.replace(".", ".9"))
    assert not agrees(document, value, path, f"{100 * float(value):.1f}%")
    assert not agrees(document, str(float(value) + 1e-9), path, text)


def test_all_that_a_planner_asks_for_is_a_number_on_the_page(document, made):
    paths = {path for _, path, _ in Numbers(made.decode()).found}
    for i in range(len(document["cells"])):
        assert {f"cells/{i}/predicted/low", f"cells/{i}/measured/value", f"cells/{i}/error"} <= paths
    for name in ("json", "prose", "a~1b ~0 <kind> with a rather long name"):
        assert {f"domains/{name}/alpha/low", f"domains/{name}/survival/4", f"domains/{name}/speedup/value"} <= paths
    assert {f"curve/{i}/predicted/value" for i in range(len(document["curve"]))} <= paths
    assert {"costs/target/0/seconds", "breakdown/measured/verify", "control/aa_ratio", "accuracy/inside"} <= paths


def test_the_page_opens_with_the_verdict_and_fetches_nothing(document, made):
    text = made.decode()
    assert text.index(f"<h1>{headline(document)}") < text.index("<h2>")
    found = Numbers(text)
    assert "script" not in found.tags
    assert all(link.startswith("data:") for link in found.links)
    assert "http://" not in re.sub(r"data:image[^\"]*", "", text)
    assert "default-src 'none'" in text


def test_a_better_k_that_was_not_run_is_on_the_page_with_its_numbers_and_a_command_to_copy():
    better = json.loads(json.dumps(runs.untried(synthetic.trace({"json": 0.9}), 2, 9.0, 8.0), allow_nan=False))
    text = page(better, {}, []).decode()
    assert f"<code>{better['best']['command']}</code>" in text
    assert [n[1] for n in Numbers(text).found if n[1].startswith("best/")] == [
        "best/k",
        *(f"best/predicted/{end}" for end in ("value", "low", "high")),
    ]
    assert "<code>" not in page(runs.study(synthetic.trace({"json": 0.9})), {}, []).decode()


def test_a_next_step_ends_where_its_command_does(document, made):
    assert f"{html.escape(document['next'])}</p>" in made.decode()


def test_names_of_kinds_are_escaped(made):
    assert "<kind>" not in made.decode()
    assert "&lt;kind&gt;" in made.decode()


@pytest.mark.parametrize("how", [{"prompts": 1}, {"hit": 0.0}])
def test_what_is_unknown_is_a_dash_and_the_pictures_still_draw(how):
    charts = pytest.importorskip("validate.run_charts")
    thin = json.loads(json.dumps(study(**how), allow_nan=False))
    pictures = charts.pictures(thin)
    text = page(thin, pictures, []).decode()
    assert "None" not in text
    assert "nan" not in re.sub(r"data:image[^\"]*", "", text).lower().replace("nano", "")


def test_without_pictures_the_numbers_are_all_there(document, made):
    bare = page(document, {}, [])
    assert Numbers(bare.decode()).found == Numbers(made.decode()).found


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs a Chromium: apt install chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, made, tmp_path):
    """Opens the page at a width; what it asked the network for, and what it complained of."""
    (tmp_path / "report.html").write_bytes(made)

    def at(width):
        sheet = browser.new_page(viewport={"width": width, "height": 800})
        asked, said = [], []
        sheet.on("request", lambda request: asked.append(request.url))
        sheet.on("console", lambda message: said.append(message.text))
        sheet.on("pageerror", lambda error: said.append(str(error)))
        sheet.goto(f"file://{tmp_path}/report.html")
        return sheet, [url for url in asked if not url.startswith(("file:", "data:"))], said

    return at


@pytest.mark.parametrize("device", WIDTHS)
def test_in_a_browser_nothing_overflows_nothing_is_fetched_and_every_picture_is_drawn(opened, device):
    sheet, asked, said = opened(WIDTHS[device])
    assert (asked, said) == ([], [])
    assert sheet.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    beyond = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.wide') &&
        e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.tagName)"""
    assert sheet.evaluate(beyond) == []
    drawn = sheet.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert len(drawn) == 7
    assert all(drawn)


def test_an_overflow_would_be_seen(opened):
    """The negative control: a line that cannot break."""
    sheet, _, _ = opened(WIDTHS["phone"])
    sheet.evaluate("document.body.insertAdjacentHTML('afterbegin', '<div style=\"width:900px\">x</div>')")
    assert not sheet.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_in_a_browser_every_number_is_the_jsons_and_can_be_read(opened, document):
    sheet, _, _ = opened(WIDTHS["desk"])
    script = """[...document.querySelectorAll('data')].map(e => [e.value, e.dataset.path, e.textContent,
        e.getBoundingClientRect().height])"""
    found = sheet.evaluate(script)
    assert len(found) > 150
    assert all(agrees(document, *number[:3]) and number[3] > 8 for number in found)


def test_in_print_no_table_is_cut(opened):
    sheet, _, _ = opened(760)
    sheet.emulate_media(media="print")
    wide = "[...document.querySelectorAll('table')].filter(t => t.scrollWidth > document.body.clientWidth + 1).length"
    assert sheet.evaluate(wide) == 0
