"""The demo served as it is, and spoken to as clients do."""

import json
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from helpers.demo_files import odd_files, write_all
from helpers.demo_server import (
    NAMES,
    ROOT,
    model_folder,
    photo,
    post,
    predict,
    refusal,
    save_encoder,
    save_model,
    server,
)
from PIL import Image

from rss_hf.data import voc_palette
from rss_hf.demo.models import load
from rss_hf.demo.segment import segment


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    return Client(server().url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture(scope="module")
def loaded():
    return load(str(model_folder()), local=True, trusted=True)


@pytest.fixture
def image(tmp_path):
    photo().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_masks_are_the_files_that_predict_writes(client, image, tmp_path):
    files, folder = odd_files(), tmp_path / "files"
    folder.mkdir()
    for name in ("rgba.png", "grey16.png", "cmyk.tif", "side.jpg"):  # alpha, 16 bits, CMYK, EXIF
        (folder / name).write_bytes(files[name][0])
    predict(model_folder(), folder, tmp_path / "out")
    for path in folder.iterdir():
        mask, _ = client.predict(handle_file(path), api_name="/segment")
        assert Path(mask).read_bytes() == (tmp_path / "out" / f"{path.stem}.png").read_bytes(), path.name


def test_the_mask_and_its_areas(client, image, tmp_path):
    mask, areas = client.predict(handle_file(image), api_name="/segment")
    labels = np.asarray(Image.open(mask))
    assert labels.shape == (44, 60) and Image.open(mask).getpalette() == np.ravel(voc_palette()).tolist()
    counts = sorted(((labels == i).sum(), i) for i in np.unique(labels))[::-1]
    assert len(counts) > 1
    assert areas == [
        {"class_id": i, "name": NAMES[i], "pixels": n, "fraction": pytest.approx(n / 2640)} for n, i in counts
    ]
    plain = Path(mask).read_bytes()
    mask, _ = client.predict(handle_file(image), window=32, flip=True, api_name="/segment")
    predict(model_folder(), image, tmp_path / "out", "--flip", "--window", "32", "32")
    assert Path(mask).read_bytes() == (tmp_path / "out" / "photo.png").read_bytes() != plain


def test_every_file_is_answered_as_it_should_be(client, loaded, tmp_path):
    for path, expected in write_all(tmp_path):
        try:
            mask, _ = client.predict(handle_file(path), api_name="/segment")
        except (AppError, ValueError) as error:  # gradio_client measures files itself
            assert isinstance(expected, str), f"{path.name}: {error}"
            assert re.search(f"{expected}|exceeds the maximum file size", str(error)), f"{path.name}: {error}"
        else:
            assert not isinstance(expected, str), path.name
            mask = np.asarray(Image.open(mask))
            assert mask.shape == expected.shape[:2], path.name
            if path.name != "cmyk.jpg":
                assert np.array_equal(mask, segment(loaded, Image.fromarray(expected.copy())).mask), path.name


def test_clients_at_once_get_their_own_answers(loaded, tmp_path):
    sizes = [(60 + i, 44 - i) for i in range(8)]
    for i, size in enumerate(sizes):
        photo(i, size).save(tmp_path / f"{i}.png")

    def ask(first):
        # A client of its own: gradio_client loses answers where one client has several questions open.
        client = Client(server().url, verbose=False, download_files=tmp_path / f"client{first}")
        files = [handle_file(tmp_path / f"{i % 8}.png") for i in range(first, first + 6)]
        return [np.asarray(Image.open(client.predict(file, api_name="/segment")[0])) for file in files]

    with ThreadPoolExecutor(4) as pool:
        for first, masks in zip(range(0, 24, 6), pool.map(ask, range(0, 24, 6)), strict=True):
            for i, mask in enumerate(masks, first):
                assert np.array_equal(mask, segment(loaded, photo(i % 8, sizes[i % 8])).mask)


def test_models_of_the_hub_and_of_folders(client, image, tmp_path):
    save_model(tmp_path / "other", names=["sky", "road"], seed=1)
    server().publish("org/other", tmp_path / "other")
    save_encoder(tmp_path / "encoder")
    server().publish("org/encoder", tmp_path / "encoder")
    shutil.copytree(tmp_path / "other", tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    server().publish("org/pickled", tmp_path / "pickled")
    expected = segment(load(str(tmp_path / "other"), local=True, trusted=True), photo()).mask
    for model in ("org/other", str(tmp_path / "other")):
        mask, areas = client.predict(handle_file(image), model, api_name="/segment")
        assert np.array_equal(Image.open(mask), expected)
        assert {area["name"] for area in areas} <= {"sky", "road"}
    for model, sentence in {
        "org/nothing": "There is no public model 'org/nothing' on the Hub.",
        "org/encoder": "The model 'org/encoder' has no weights of a segmentation head: it was not trained to segment.",
        "org/pickled": "The model 'org/pickled' has no model.safetensors, the only kind of weights this page loads.",
        "../etc": "This is not the name of a model: give the Hub id of a model, as in ",
    }.items():
        assert refusal(client, handle_file(image), model).startswith(sentence)
    (tmp_path / "other" / "config.json").write_text("{}")
    message = refusal(client, handle_file(image), f"{tmp_path / 'other'}/.")
    assert message.startswith("The model 'other' cannot be loaded as a semantic segmentation model")
    assert str(tmp_path) not in message


def test_sample_draws_what_its_seed_says(client, image, tmp_path):
    reference = Image.fromarray(np.random.default_rng(0).integers(0, 4, (44, 60), dtype=np.uint8))
    reference.save(tmp_path / "mask.png")
    files = [handle_file(image), handle_file(tmp_path / "mask.png")]
    how = {
        "num_samples": 4,
        "stride": 8,
        "reward": "pixel_accuracy",
        "advantage_estimator": "leave_one_out",
        "seed": 7,
    }
    maps, judged = client.predict(*files, **how, api_name="/sample")
    labels = [np.asarray(Image.open(path)) for path in maps]
    assert judged["grid"] == [8, 8] and len(labels) == 4
    rewards = [(actions == np.asarray(reference)).mean() for actions in labels]
    assert judged["rewards"] == pytest.approx(rewards, abs=1e-6)
    mean = np.mean(rewards)
    assert judged["advantages"] == pytest.approx([4 / 3 * (reward - mean) for reward in rewards], abs=1e-6)
    again, _ = client.predict(*files, **how, api_name="/sample")
    assert all(np.array_equal(Image.open(path), actions) for path, actions in zip(again, labels, strict=True))
    other, _ = client.predict(*files, **(how | {"seed": 8}), api_name="/sample")
    assert not np.array_equal(Image.open(other[0]), labels[0])


def test_requests_out_of_bounds_get_a_sentence(client, image, tmp_path):
    file = handle_file(image)
    assert refusal(client, None) == "Choose an image first."
    assert refusal(client, file, window=8) == "The window is 8 pixels wide: give 32 or more, or 0 for none."
    assert refusal(client, file, window="x") == "The window must be a whole number."
    assert refusal(client, file, model=["x"]) == "The model must be named by a text."
    photo(size=(44, 60)).save(tmp_path / "turned.png")
    Image.new("L", (60, 44), 9).save(tmp_path / "nine.png")
    Image.new("L", (60, 44), 1).save(tmp_path / "one.png")
    for mask, options, sentence in [
        (None, {}, "Choose a reference mask first."),
        ("turned.png", {}, "Reference: the image is 60x44 pixels and its mask 44x60. They must be of one size"),
        ("photo.png", {}, "Reference: the mask is RGB and"),
        ("nine.png", {}, r"The mask has ids of no class of this model, \[9\]: its classes are 0 to 3"),
        ("one.png", {"num_samples": 99}, "The number of maps is 99: give 2 to 16."),
        ("one.png", {"reward": "os:remove"}, "The reward is none of mean_iou, "),
        ("one.png", {"stride": 3}, "The stride is none of 32, 16, 8, 4, 2."),
        (
            "one.png",
            {"advantage_estimator": ["reinforce"]},
            "The advantage estimator is none of leave_one_out, pairwise_spatial_difference, reinforce.",
        ),
        ("one.png", {"seed": -1}, "The seed must be 0 or more"),
    ]:
        named = handle_file(tmp_path / mask) if mask else None
        assert re.match(sentence, refusal(client, file, named, **options, api_name="/sample"))


@pytest.mark.parametrize(
    "file",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"path": "/etc/passwd"},
        {"path": "http://127.0.0.1:9/image.png", "meta": {"_type": "gradio.FileData"}},
        {"path": None, "url": "data:image/png;base64,AAAA", "meta": {"_type": "gradio.FileData"}},
        "/etc/passwd",
        {"path": "../../../etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {},
    ],
    ids=str,
)
def test_files_are_taken_by_upload_alone(file):
    answer = post([file, "", 0, False])
    assert answer.startswith("event: error")
    message = json.loads(answer.split("data: ", 1)[1])["error"]
    expected = (
        "Upload the file itself instead of its place.",
        "This request has an input that the page does not take.",
        "Choose an image first.",
    )
    assert message in expected
    assert all(secret not in answer for secret in ("root:", "Traceback", str(ROOT), tempfile.gettempdir()))


def test_too_large_an_upload_is_cut_off():
    answer = httpx.post(f"{server().url}/gradio_api/upload", files={"files": ("a.png", bytes(21 * 2**20))}, timeout=60)
    assert answer.status_code == 413


def test_the_server_is_well_after_all_this(client, image):
    assert len(client.predict(handle_file(image), api_name="/segment")) == 2
    assert server().process.poll() is None
