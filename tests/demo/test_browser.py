"""The demo as a person uses it: headless Chromium opens the page, uploads, looks and downloads."""

import re
import shutil

import numpy as np
import pytest
from helpers.demo_server import NAMES, model_folder, photo, predict, save_model, server
from PIL import Image


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A Chromium with a profile of its own."""
    if CHROMIUM is None:
        pytest.skip("There is no Chromium on this machine: install Debian's package chromium to run these tests.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=CHROMIUM, headless=True, args=FLAGS
        )
        context.set_default_timeout(60_000)
        yield context
        context.close()


@pytest.fixture
def page(browser):
    """The page; `elsewhere` lists its requests that leave this machine."""
    page, page.elsewhere = browser.new_page(), []
    page.on("request", lambda request: page.elsewhere.append(request.url) if away(request.url) else None)
    page.goto(server().url)
    page.wait_for_function("document.querySelector('#about')?.innerText.includes('parameters')")
    yield page
    page.close()


def away(url: str) -> bool:
    return not url.startswith((server().url, "data:", "blob:"))


def test_an_image_is_segmented_and_its_mask_downloaded(page, tmp_path):
    photo(size=(61, 40)).save(tmp_path / "photo.png")
    predict(model_folder(), tmp_path / "photo.png", tmp_path / "out")
    expected = tmp_path / "out" / "photo.png"
    present = {NAMES[i] for i in np.unique(Image.open(expected))}
    assert "tiny" in page.inner_text("#about") and str(model_folder().parent) not in page.content()
    page.set_input_files("#image input[type=file]", tmp_path / "photo.png")
    page.wait_for_selector("#overlay .legend-item")
    assert set(page.locator("#overlay .legend-item").all_inner_texts()) == present and len(present) > 1
    size = "image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])"
    pictures = page.locator("#overlay img")
    assert pictures.count() == 1 + len(present)
    assert all(pictures.nth(i).evaluate(size) == [61, 40] for i in range(pictures.count()))
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.path().read_bytes() == expected.read_bytes()
    assert page.elsewhere == []


def test_what_is_wrong_is_said_on_the_page(page, tmp_path):
    page.click("text=Another model")  # first: what is typed into a box that is still being made is wiped from it
    (tmp_path / "text.png").write_text("not an image")
    page.set_input_files("#image input[type=file]", tmp_path / "text.png")
    page.wait_for_selector("text=The image is a text file, whatever its name says.")
    page.fill("input[placeholder^='org/name'], textarea[placeholder^='org/name']", "org/nothing")
    page.click("text=Use it")
    page.wait_for_selector("text=There is no public model 'org/nothing' on the Hub.")


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("<img src=x onerror=alert(1)>", ["<script>alert(1)</script>", "b</p><h1>c</h1>"]),
        ("**bold** _it_ `code`", ["*a*", "_b_", "__c__", "~~d~~"]),
        ("[text](javascript:alert(1))", ["![x](x.png)", "http://127.0.0.1:9/x", "www.example.com", "a@example.com"]),
        ("a&lt;b&gt;", ["&lt;img src=x&gt;", "&#60;b&#62;"]),
        ("$$x^2$$", ["# heading", "1. list", "- item", "> quote", "| a | b |", "$$y$$"]),
    ],
)
def test_names_are_text(page, tmp_path, folder, names):
    page.on("dialog", lambda dialog: pytest.fail(f"A script ran: {dialog.message}"))
    save_model(tmp_path / folder, names=names)
    (tmp_path / f"{folder} broken").mkdir()
    photo().save(tmp_path / "<img src=x onerror=alert(1)>.png")
    page.click("text=Another model")
    model = page.locator("input[placeholder^='org/name'], textarea[placeholder^='org/name']")
    model.fill(str(tmp_path / folder))
    page.click("text=Use it")
    page.wait_for_function("folder => document.querySelector('#about').innerText.includes(folder)", arg=folder)
    shown = [" ".join(re.sub(r"[^\w ,;:.()/&'+-]", "", name).split()) for name in names]
    assert f"Classes: {', '.join(shown)}." in page.inner_text("#about")
    assert page.locator("#about :is(a, img, script, em, code, del, h1, li, .katex)").count() == 0
    assert page.locator("#about strong").all_inner_texts() == [folder]
    page.set_input_files("#image input[type=file]", tmp_path / "<img src=x onerror=alert(1)>.png")
    page.wait_for_selector("#overlay .legend-item")
    assert set(page.locator("#overlay .legend-item").all_inner_texts()) <= set(shown)
    assert page.locator("#overlay :is(a, script, h1)").count() == 0
    model.fill(str(tmp_path / f"{folder} broken"))
    page.click("text=Use it")
    page.wait_for_selector("text=cannot be loaded as a semantic segmentation model")
    toast = page.locator("[data-testid=toast-body]")
    assert f"{folder} broken" in toast.inner_text() and toast.locator("a, img, script, em, b, strong").count() == 0
    assert page.elsewhere == []


def test_maps_are_drawn_and_judged(page, tmp_path):
    photo().save(tmp_path / "photo.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 4, (44, 60), dtype=np.uint8)).save(tmp_path / "mask.png")
    page.get_by_role("tab", name="How it learns").click()
    for place, name in (("#picture", "photo.png"), ("#reference", "mask.png")):
        page.set_input_files(f"{place} input[type=file]", tmp_path / name)
        page.wait_for_selector(f"{place} img")
    page.click("#draw")
    page.wait_for_selector("#maps .caption-label")
    captions = page.locator("#maps .caption-label").all_inner_texts()
    assert len(captions) == 8 and captions[0].startswith("1: 0.")
    assert "Maps 1 and 2 differ at" in page.inner_text("#pair")
    rewards = [float(caption.split()[1]) for caption in captions]
    assert f"are {rewards[0]:.3f} and {rewards[1]:.3f}" in page.inner_text("#pair")
