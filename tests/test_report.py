"""The page of a run or sweep: it holds everything, loads nothing, and says what the result says."""

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pytest
from matplotlib.mathtext import MathTextParser

from dynamics import experiments, report
from dynamics.cli import main
from dynamics.results import load
from dynamics.study import typeset

OWN = str(Path(__file__).parent / "experiments" / "own_experiment.py")
pytestmark = pytest.mark.usefixtures("untyped")


class Page(HTMLParser):
    """What a browser would load, follow and show."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.words, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster") or (tag == "link" and name == "href"):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize("name", experiments.names())
def test_formulas_are_latex_that_browsers_and_pictures_can_show(name):
    parser = MathTextParser("path")
    formulas = {claim.id: claim.formula for claim in experiments.get(name).claims if claim.formula}
    assert formulas or name == "robust_data_distillation"  # whose claims say no more than numbers
    for id, formula in formulas.items():
        assert ElementTree.fromstring(typeset.mathml(formula)).tag.endswith("MathML}math"), id
        parser.parse(f"${formula}$")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "done"
    assert main(["run", OWN, "--seeds", "2", "--dim", "3", "--out", str(folder)]) == 0
    return folder


def test_holds_everything_and_loads_nothing(done, capsys):
    assert main(["report", str(done)]) == 0
    path = Path(capsys.readouterr().out.strip())
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads
    assert all(source.startswith("data:image/") for source in page.loads)
    assert all(link.startswith("https://arxiv.org/abs/") for link in page.links)
    assert not {"link", "iframe", "object"} & set(page.tags)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert not re.search(r"fetch|import|XMLHttp|WebSocket|https?:", script)
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    for source in page.loads:  # the pictures are whole, and load nothing either
        tree = ElementTree.fromstring(base64.b64decode(source.partition(",")[2]))
        hrefs = [v for node in tree.iter() for name, v in node.attrib.items() if name.endswith("href")]
        assert all(href.startswith(("#", "data:")) for href in hrefs)
    words = " ".join(page.words)
    (verdict,) = json.loads((done / "claims.json").read_text())
    dataset = load(done)
    for expected in (
        *("A linear teacher", "✓ holds", f"{verdict['measured']:.4g}", "≥ 0.8 (every seed)", "2 (0 to 1)"),
        *(dataset.attrs["device"], dataset.attrs["created"], "input dimension d", f"dynamics run {OWN}"),
    ):
        assert expected in words


def test_a_claims_formula_is_mathml_beside_its_words(done):
    dataset = load(done)
    experiment = experiments.made(dataset)
    (verdict,) = experiment.judge(dataset)
    text = report.page(experiment, dataset, verdicts=[verdict.to_dict() | {"formula": r"\frac{1}{k}"}])
    words, _, rest = text.partition('<br><math xmlns="http://www.w3.org/1998/Math/MathML"')
    assert words.endswith(f"{verdict.statement} ({verdict.source})")
    assert "<mfrac><mrow><mn>1</mn></mrow><mrow><mi>k</mi></mrow></mfrac>" in rest
    assert "<math" not in report.page(experiment, dataset, verdicts=[verdict.to_dict()])
    assert "<mi>a</mi><mo>&#x0003C;</mo><mi>b</mi>" in typeset.mathml("a < b")
    for bad, message in (
        ("a & b", "without &"),
        (r"\text{<script>}", "not known"),
        (r"\frac{", "is no LaTeX"),
        (r"\bogus{a}", "not known"),
    ):
        with pytest.raises(ValueError, match=message):
            typeset.mathml(bad)


def test_what_is_written_by_others_is_escaped_and_large_pictures_are_png(done, monkeypatch):
    dataset = load(done)
    experiment = dataclasses.replace(experiments.made(dataset), title="<script>alert(1)</script>")
    monkeypatch.setattr(report, "MOST_SVG", 0)
    text = report.page(experiment, dataset, command="run '<b>'", verdicts=[])
    assert text.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert(1)" in text
    assert "<b>'" not in text
    assert "No claim is decided by this run alone." in text
    (source,) = Page(text).loads
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    assert matplotlib.image.imread(io.BytesIO(base64.b64decode(data))).ndim == 3


def test_undecided_claims_are_said_apart(done):
    dataset = load(done)
    experiment = experiments.made(dataset)
    (verdict,) = json.loads((done / "claims.json").read_text())
    lost = {"holds": None, "measured": 0.5, "needs": "fewer of it"}
    open_ = verdict | {"holds": None, "needs": "more of it", "ablation": verdict["ablation"] | lost}
    words = " ".join(Page(report.page(experiment, dataset, verdicts=[open_, verdict])).words)
    for expected in (
        "1 of 2 claims that this run can decide hold, 1 undecided.",
        "? undecided",
        "needs more of it",
    ):
        assert expected in words
    assert "undecided (it should fail), needs fewer of it; 0.5" in words
    del verdict["needs"]  # of before there were any
    assert "✓ holds" in " ".join(Page(report.page(experiment, dataset, verdicts=[verdict])).words)


def test_attributes_of_a_result_are_text_and_nothing_else(done, tmp_path):
    hostile = "<script>alert(1)</script>\"'{{7*7}}"
    dataset = load(done).assign_attrs(device=hostile, machine=hostile, git_revision=hostile, created=hostile)
    dataset.attrs["versions"] = json.dumps({hostile: hostile})
    dataset.test_accuracy.attrs["long_name"] = hostile
    experiment = experiments.made(dataset)
    text = report.page(experiment, dataset, command=hostile)
    page = Page(text)
    assert text.count("<script>") == 1  # the page's own
    assert hostile in " ".join(page.words)
    assert "49" not in " ".join(page.words[:60])
    assert all(source.startswith("data:image/") for source in page.loads)


def test_of_a_sweep(tmp_path, capsys):
    folder = tmp_path / "sweep"
    argv = ["sweep", OWN, "--vary", "init_scale=0,0.5,1", "--seeds", "2", "--steps", "2", "--out"]
    assert main([*argv, str(folder)]) == 0
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    words = " ".join(Page((tmp_path / "page.html").read_text(encoding="utf-8")).words)
    assert "The sweep" in words
    assert "0, 0.5, 1" in words
    assert "test_accuracy: from" in words
    assert "Claims" not in words


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "DIR"),
        (["missing"], "missing does not exist"),
        (["{done}", "--out", "no/such/page.html"], "its folder does not exist"),
        (["{done}", "--out", "."], "is a folder"),
        (["{done}", "--quantity", "test_accuracy"], "--quantity is for sweeps"),
        (["{done}", "--outt", "x"], "did you mean --out?"),
    ],
)
def test_bad_input_is_one_sentence(done, argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *(word.format(done=done) for word in argv)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_verdicts_are_those_of_the_result_whatever_claims_json_says(done, capsys):
    assert main(["report", str(done)]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    before = (done / "claims.json").read_text()
    for text in ("{", before.replace('"holds": true', '"holds": false')):
        assert text != before
        (done / "claims.json").write_text(text)
        assert main(["report", str(done)]) == 0
        assert Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8") == page
    (done / "claims.json").write_text(before)
