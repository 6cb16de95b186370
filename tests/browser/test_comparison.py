"""Tests of the comparison page in a real browser."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from runner import cli
from runner.runs.page import page as page_text
from runs.many_runs import write_runs
from runs.test_compare import compared, write

pytestmark = pytest.mark.slow
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the page of 200 runs of two datasets and return its path."""
    folder = tmp_path_factory.mktemp("many")
    write_runs(folder / "runs", 200)
    target = folder / "page.html"
    assert cli.main(["compare", str(folder / "runs"), "--format", "html", "--output", str(target)]) == 0
    return target


@pytest.fixture
def view(browser: Browser) -> Iterator[Open]:
    """Open pages, and fail the test after an error, a message on the console, or a request to the network."""
    pages: list[Page] = []
    problems: list[str] = []

    def note(what: ConsoleMessage | Request | object) -> None:
        if not (isinstance(what, Request) and what.url.startswith(("file:", "data:"))):
            problems.append(getattr(what, "text", None) or getattr(what, "url", None) or str(what))

    def open_page(path: Path, state: str = "", **options: Any) -> Page:
        page = browser.new_page(viewport={"width": 1200, "height": 900}, **options)
        for event in ("pageerror", "console", "request"):
            page.on(event, note)
        page.goto(path.as_uri() + state)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert problems == []


def column(page: Page, name: str) -> list[str]:
    """Return the cells of a column of the table."""
    heads = page.locator("#runs thead th").all_inner_texts()
    number = [head.replace("\n", "") for head in heads].index(name) + 1
    return page.locator(f"#runs tbody td:nth-child({number})").all_inner_texts()


def inked(page: Page, selector: str) -> bool:
    """Return whether the first canvas of an element shows more than one colour."""
    page.locator(selector).first.scroll_into_view_if_needed()
    page.wait_for_selector(f"{selector} canvas")
    script = """canvas => { const d = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n > 500; }"""
    return bool(page.locator(f"{selector} canvas").first.evaluate(script))


def test_table_has_metrics_beside_the_name_and_fits_the_page(many: Path, view: Open) -> None:
    page = view(many)
    heads = [head.replace("\n", "") for head in page.locator("#runs thead th").all_inner_texts()]
    assert heads[1:6] == ["run", "status", "best val/loss", "test/loss", "test/accuracy"]
    assert {"optim.lr", "optim.name", "model.name"} <= set(heads)
    assert "optim.betas" not in heads
    assert page.evaluate("document.documentElement.scrollWidth") <= 1200
    assert page.evaluate("find('runs').offsetWidth <= find('runs-box').clientWidth")
    name = page.locator("#runs tbody td:nth-child(2)").first
    assert name.inner_text().startswith("…")
    assert name.get_attribute("title").endswith(name.inner_text()[1:])  # type: ignore[union-attr]


def test_narrow_page_shows_the_best_metric_and_all_of_the_verdict(many: Path, view: Open) -> None:
    page = view(many)
    page.set_viewport_size({"width": 800, "height": 900})
    page.reload()
    heads = [head.replace("\n", "") for head in page.locator("#runs thead th").all_inner_texts()]
    assert heads[1:4] == ["run", "status", "best val/loss"]
    assert page.evaluate("find('runs').offsetWidth <= find('runs-box').clientWidth")
    assert page.evaluate("document.querySelector('#verdict .scroll').scrollWidth <= find('verdict').clientWidth")


def test_long_names_are_cut_before_a_word(many: Path, view: Open) -> None:
    page = view(many)
    for name, shown in (
        ("optim=sgd,optim.lr=0.1,seed=1", "…lr=0.1,seed=1"),
        ("optim=sgd,lr=0.01,seed=1", "…lr=0.01,seed=1"),
        ("model=mlp,lr=0.0001,seed=1", "…seed=1"),
        ("a_name_without_overrides", "…thout_overrides"),
        ("seed=1", "seed=1"),
    ):
        assert page.evaluate("name => cutName(name, 16)", name) == shown


def test_datasets_are_apart(many: Path, view: Open) -> None:
    page = view(many)
    assert page.locator("#datasets button").all_inner_texts() == ["digits (100)", "fashion_mnist (100)"]
    expect(page.locator("#matches")).to_have_text("100 runs")
    page.get_by_role("button", name="fashion_mnist (100)").click()
    assert {run.split(",")[0] for run in page.evaluate("selection.runs.map(r => data.runs[r].name)")} == {
        "dataset=fashion_mnist"
    }


def test_dataset_with_the_most_runs_is_shown_first(tmp_path: Path, view: Open) -> None:
    write_runs(tmp_path / "runs", 5)
    for run in ("dataset=digits,optim=sgd,model=lenet", "dataset=digits,optim=sgd,model=mlp"):
        (folder,) = tmp_path.glob(f"runs/{run},*")
        shutil.rmtree(folder)
    (tmp_path / "page.html").write_text(page_text(compared(tmp_path / "runs")))
    page = view(tmp_path / "page.html")
    assert page.locator("#datasets button").all_inner_texts() == ["fashion_mnist (2)", "digits (1)"]
    expect(page.locator("#datasets [aria-pressed=true]")).to_have_text("fashion_mnist (2)")


def test_filter_applies_to_table_and_plots_and_explains_mistakes(many: Path, view: Open) -> None:
    page = view(many)
    page.locator("#filter").fill("optim.lr<0.1 status=completed")
    assert max(float(cell) for cell in column(page, "optim.lr")) < 0.1
    assert set(column(page, "status")) == {"completed"}
    assert len(column(page, "status")) < 100
    page.locator("#filter").fill("lr>=0.1 status=completed model.name!=mlp sgd")
    assert set(column(page, "optim.name")) == {"sgd"}
    assert set(column(page, "model.name")) == {"lenet"}
    assert page.evaluate("points(selection.runs, () => [0, 0]).data.length") == len(column(page, "status"))
    before = column(page, "run")
    for text, wrong in (
        ("lr<abc", "lr<abc: < needs a number"),
        ("<5", "there is no key before <"),
        ("optm.lr=1", "there is no key optm.lr; similar: optim.lr"),
        ("lrr=1", "there is no key lrr"),
        ("name=1", "name may mean"),
        ('"a', 'a quote (") is not closed'),
    ):
        page.locator("#filter").fill(text)
        expect(page.get_by_role("alert")).to_contain_text(wrong)
        assert column(page, "run") == before
    page.locator("#filter").fill('"status=completed"')
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_role("button", name="2 failed").click()
    assert page.locator("#filter").input_value() == "status=failed"
    assert set(column(page, "status")) == {"failed"}


def test_wrong_filter_in_the_address_hides_nothing(many: Path, view: Open) -> None:
    page = view(many, "#filter=nothing%3D1")
    expect(page.get_by_role("alert")).to_contain_text("there is no key nothing")
    expect(page.locator("#matches")).to_have_text("100 runs")


def test_columns_are_sorted_and_hidden_and_the_address_keeps_them(many: Path, view: Open) -> None:
    page = view(many)
    sort = page.get_by_role("button", name="Sort by optim.lr").or_(page.locator("#runs [data-column='optim.lr']")).first
    accuracy = page.locator("#runs [data-column='test/accuracy']")
    accuracy.click()
    expect(page.locator("#runs th[aria-sort=descending]")).to_contain_text("accuracy")
    values = [float(cell) for cell in column(page, "test/accuracy") if cell]
    assert values == sorted(values, reverse=True)
    sort.click()
    rates = [float(cell) for cell in column(page, "optim.lr")]
    assert rates == sorted(rates)
    sort.click()
    assert [float(cell) for cell in column(page, "optim.lr")] == sorted(rates, reverse=True)
    page.locator("#columns summary").click()
    page.locator("#column-list").get_by_label("test/loss", exact=True).uncheck()
    page.locator("#column-list").get_by_label("optim.betas", exact=True).check()
    again = view(many, page.evaluate("location.hash"))
    heads = [head.replace("\n", "") for head in again.locator("#runs thead th").all_inner_texts()]
    assert "test/loss" not in heads
    assert "optim.betas" in heads
    expect(again.locator("#runs th[aria-sort=descending]")).to_contain_text("lr")


def test_plots_are_drawn_in_light_and_dark(many: Path, view: Open) -> None:
    for scheme in ("light", "dark"):
        page = view(many, color_scheme=scheme)
        for selector in ("#curves", "#scatter", "#parallel", "#pareto"):
            assert inked(page, selector), selector
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
        text = page.evaluate("charts.all[0].plot.getOption().textStyle.color")
        assert text == {"light": "#1b1f24", "dark": "#e4e8ec"}[scheme]
    page.emulate_media(color_scheme="light")
    page.locator("#curves").scroll_into_view_if_needed()
    assert page.evaluate("charts.all[0].draw(), charts.all[0].plot.getOption().textStyle.color") == "#1b1f24"


def test_cursor_reads_values_of_curves(many: Path, view: Open) -> None:
    page = view(many, "#axis=step&smooth=0.5&band=interval")
    assert page.locator("#curves figcaption").all_inner_texts() == ["val/loss", "train/loss"]
    expect(page.locator("#curve-note")).to_contain_text("95 % interval of the mean")
    expect(page.locator("#curve-values th").first).to_have_text("at the end")
    canvas = page.locator("#curves .chart").first
    canvas.scroll_into_view_if_needed()
    canvas.hover(position={"x": 300, "y": 200})
    expect(page.locator("#curve-values th").first).to_contain_text("at step")
    assert page.locator("#curves .cursor").first.is_visible()
    canvas.focus()
    before = page.locator("#curve-values th").first.inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#curve-values th").first).not_to_have_text(before)


def test_means_and_bands_are_those_of_the_group(tmp_path: Path, view: Open) -> None:
    for seed, values in enumerate(([1.0, 2.0], [3.0, 6.0], [5.0])):
        folder = write(tmp_path / "runs" / str(seed), f"seed={seed}", best=values[-1])
        rows = [f"{epoch},{epoch * 10},{value},1" for epoch, value in enumerate(values, start=1)]
        (folder / "metrics.csv").write_text("\n".join(["epoch,step,val/loss,seconds", *rows, ""]))
    (tmp_path / "page.html").write_text(page_text(compared(tmp_path / "runs")))
    page = view(tmp_path / "page.html")
    means = page.evaluate("curves.lines.get('val/loss').means[0]")
    assert [(point["x"], point["n"], point["mean"]) for point in means] == [(1, 3, 3), (2, 2, 4)]
    assert means[0]["half"] == pytest.approx(2)
    page.locator("[data-state=band]").select_option("interval")
    half = page.evaluate("curves.lines.get('val/loss').means[0][0].half")
    assert half == pytest.approx(4.303 * 2 / 3**0.5)


def test_band_below_zero_reaches_the_edge_of_a_logarithmic_plot(many: Path, view: Open) -> None:
    points = [{"x": 1, "mean": 1, "half": 0.5}, {"x": 2, "mean": 1, "half": 3}, {"x": 3, "mean": 1, "half": 0.5}]
    edge = view(many).evaluate(
        "points => curves.plots[0].group(points, 0, true)[0].renderItem(null, {coord: point => point}).shape.points",
        points,
    )
    assert edge == [[1, 1.5], [2, 4], [3, 1.5], [3, 0.5], [2, pytest.approx(1e-6)], [1, 0.5]]


def test_verdict_counts_all_groups(many: Path, view: Open) -> None:
    page = view(many)
    groups = [{"verdict": word} for word in ("best", "worse", "undecided", "undecided")]
    sentence = page.evaluate("groups => verdict.sentence({best: 'best a', groups})", groups)
    assert sentence == "Best a. 1 group is worse. 2 groups have too few completed runs to be compared."
    ranking = page.evaluate("groups => verdict.sentence({best: 'best a', groups})", [groups[0], groups[2]])
    assert ranking == "Best a."


def test_verdict_waits_for_a_completed_run(tmp_path: Path, view: Open) -> None:
    write(tmp_path / "runs" / "a", best=0.5, status="running")
    (tmp_path / "page.html").write_text(page_text(compared(tmp_path / "runs")))
    expect(view(tmp_path / "page.html").locator("#verdict")).to_contain_text("No run has completed yet.")


def test_importance_and_pareto_front_are_right(many: Path, view: Open) -> None:
    page = view(many)
    assert page.evaluate("explained([1, 1, 5, 5], ['a', 'a', 'b', 'b'])") == 1
    assert page.evaluate("explained([1, 5, 1, 5], ['a', 'a', 'b', 'b'])") == 0
    assert page.evaluate("ranked([5, 1, 1])") == [2, 0.5, 0.5]
    front = page.evaluate("pareto.front.front.map(run => [value(run, 'seconds'), value(run, 'best val/loss')])")
    assert len(front) > 1
    assert front == sorted(front)
    assert [loss for _, loss in front] == sorted((loss for _, loss in front), reverse=True)
    expect(page.locator("#importance")).to_contain_text("model.name")


def test_two_ticked_runs_show_their_differences_and_pictures(tmp_path: Path, view: Open) -> None:
    for name, rate in (("a", 0.1), ("b", 0.02)):
        write(tmp_path / "runs" / name, f"optim.lr={rate}", best=rate)
    comparison = compared(tmp_path / "runs")
    pictures = json.dumps([{"name": "curves", "source": PICTURE}])
    (tmp_path / "page.html").write_text(page_text(comparison).replace('"pictures":[]', f'"pictures":{pictures}'))
    page = view(tmp_path / "page.html")
    page.get_by_label("Tick b").check()
    page.get_by_label("Tick a").check()
    rows = [row.split("\t") for row in page.locator("#differences tr").all_inner_texts()]
    assert ["optim.lr", "0.02", "0.1", "+0.08"] in rows
    assert ["test/accuracy", "0.98", "0.9", "-0.08"] in rows
    assert not [row for row in rows if row[0] == "optim.momentum"]
    assert page.locator(".pictures img").count() == 2
    assert page.locator(".pictures img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    expect(page.locator("#ticked code")).to_contain_text(f"runner diff {tmp_path}/runs/b {tmp_path}/runs/a")


def test_numbers_of_diverged_runs_are_short(many: Path, view: Open) -> None:
    page = view(many)
    shown = {61706: "61706", 5.164e18: "5.164e+18", 0.123456: "0.1235", 12345.6: "12350", 2.0271e34: "2.027e+34"}
    assert {each: page.evaluate("each => show(each)", each) for each in shown} == shown
    assert page.evaluate("[30000, 0.05, 98984773.8, 1e24].map(tick)") == ["30000", "0.05", "9.9e7", "1e24"]
    ticks = page.evaluate("logTicks(0.03, 2e34)")
    assert 4 <= len(ticks) <= 9
    assert page.evaluate("[metricAxis('loss', [0.1, 1e8]).type, metricAxis('loss', [0.1, 2]).type]") == ["log", "value"]


def test_ticked_runs_have_their_whole_names_and_keys_stay_in_view(many: Path, view: Open) -> None:
    page = view(many)
    page.set_viewport_size({"width": 800, "height": 900})
    names = page.evaluate("[0, 1, 2, 3, 4, 5].map(run => { ticked.toggle(run); return data.runs[run].name; })")
    assert page.locator("#differences thead th").all_text_contents() == ["", *names]
    key = page.locator("#differences th[scope=row]").first
    before = key.bounding_box()
    page.locator("#ticked .scroll").evaluate("box => { box.scrollLeft = 200; }")
    assert page.locator("#ticked .scroll").evaluate("box => box.scrollLeft") == 200
    assert key.bounding_box() == before


def test_means_of_names_are_beside_their_points(many: Path, view: Open) -> None:
    page = view(many, "#parameter=optim.name")
    points = page.evaluate("scatter.options().series[0].data.map(each => each.value[0])")
    means = page.evaluate("scatter.options().series[1].data.map(each => each[0])")
    assert len(means) == 2
    for index, mean in enumerate(means):
        assert max(x for x in points if abs(x - index) < 0.5) <= mean


def test_failed_runs_show_their_error_and_log(many: Path, view: Open) -> None:
    page = view(many)
    page.get_by_role("link", name="did not complete").click()
    first = page.locator("#failed details", has_text="OutOfMemoryError").first
    first.locator("summary").click()
    expect(first.locator("pre")).to_contain_text("torch.OutOfMemoryError: CUDA out of memory")


def test_page_can_be_used_by_keyboard_alone(many: Path, view: Open) -> None:
    page = view(many)
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    for _ in range(30):
        if page.evaluate("document.activeElement.dataset?.column") == "status":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#runs th[aria-sort=ascending]")).to_contain_text("status")
    assert page.evaluate("document.activeElement.dataset.column") == "status"
    while page.evaluate("document.activeElement.type") != "checkbox":
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator("#runs tr.ticked").count() == 1
    assert page.evaluate("document.activeElement.checked") is True
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    unnamed = """[...document.querySelectorAll("input, select, button, summary, [tabindex='0']")].filter(each =>
        !(each.textContent || each.labels?.length || each.getAttribute("aria-label"))).map(each => each.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_print_is_light_without_controls_and_with_all_rows(many: Path, view: Open) -> None:
    page = view(many, color_scheme="dark")
    page.evaluate("""addEventListener("beforeprint", () => {
        window.printed = document.querySelectorAll("#runs tbody tr").length;
        window.ink = charts.all[0].plot.getOption().textStyle.color;
    })""")
    page.evaluate("setFilter('optim.lr>0')")
    document = page.pdf()
    assert document.startswith(b"%PDF")
    assert page.evaluate("printed") == 100
    assert page.evaluate("ink") == "#000000"
    page.emulate_media(media="print")
    assert not page.locator("#filter").is_visible()
    expect(page.locator("#printed-filter")).to_have_text("Filter: optim.lr>0 (100 runs)")
    assert page.locator("#failed summary").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_followed_page_reloads_and_keeps_filter_scroll_and_ticks(tmp_path: Path, view: Open) -> None:
    write(tmp_path / "runs" / "a", best=0.5, status="running")
    write(tmp_path / "runs" / "b", "optim.lr=0.1", best=0.25)
    target = tmp_path / "page.html"
    target.write_text(page_text(compared(tmp_path / "runs"), target, follow=0.5))
    page = view(target)
    page.locator("#filter").fill("status!=failed")
    page.get_by_label("Tick b").check()
    page.evaluate("scrollTo(0, 120)")
    write(tmp_path / "runs" / "c", "optim.lr=0.3", best=0.75)
    target.write_text(page_text(compared(tmp_path / "runs"), target))
    expect(page.locator("#runs tbody tr")).to_have_count(3)
    assert page.locator("#filter").input_value() == "status!=failed"
    assert page.get_by_label("Tick b").is_checked()
    expect(page.locator("#following")).to_be_hidden()


@pytest.mark.parametrize("case", ["one", "no metrics", "damaged"])
def test_page_of_few_or_damaged_runs_says_what_is_missing(tmp_path: Path, view: Open, case: str) -> None:
    folder = write(tmp_path / "runs" / "a", best=None if case == "no metrics" else 0.5)
    if case == "damaged":
        (folder / "config.yaml").write_text("\t")
        (folder / "results.json").write_text("{")
    (tmp_path / "page.html").write_text(page_text(compared(tmp_path / "runs")))
    page = view(tmp_path / "page.html")
    expect(page.locator("#verdict")).to_contain_text(
        "No run has a metric yet." if case != "one" else "a has the best val/loss: 0.5."
    )
    assert page.locator("#runs tbody tr").count() == 1
    assert page.locator("section:not([hidden]) .chart").count() == (1 if case == "one" else 0)
