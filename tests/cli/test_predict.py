import numpy as np
import pytest
import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from PIL import Image
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from rss_hf.cli import predict as command
from rss_hf.data import open_image, voc_palette
from rss_hf.evaluation.predict import predict_maps
from rss_hf.reporting.figures import overlay


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = SegformerConfig(
        depths=[1] * 4, hidden_sizes=[8] * 4, num_attention_heads=[1] * 4, decoder_hidden_size=8, num_labels=4
    )
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture
def predict(model_dir):
    """Runs the command on the CPU, also where there is a GPU, whose convolutions round differently."""
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=True)

    def run(*arguments):
        command.main(["--model", str(model_dir), *map(str, arguments)])

    yield run
    AcceleratorState._reset_state(reset_partial_state=True)


def save_photo(path, size=(50, 30), mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").convert(mode).save(path, **options)


def expected_mask(model_dir, image, **views):
    model = SegformerForSemanticSegmentation.from_pretrained(model_dir)
    processor = SegformerImageProcessor.from_pretrained(model_dir)
    pixel_values = processor(images=image, return_tensors="pt")["pixel_values"]
    return predict_maps(model, pixel_values, [(image.height, image.width)], **views)[0].numpy()


def test_a_folder_of_images_of_any_mode_and_size(predict, model_dir, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    save_photo(tmp_path / "in" / "a.png")
    save_photo(tmp_path / "in" / "b.PNG", (23, 41), "L")
    save_photo(tmp_path / "in" / "c.webp", (64, 64), "RGBA", lossless=True)  # seen over white
    predict("--input", tmp_path / "in", "--output_dir", tmp_path / "out" / "deep")
    outputs = sorted(path.name for path in (tmp_path / "out" / "deep").iterdir())
    assert outputs == [f"{name}{end}.png" for name in "abc" for end in ("", "_overlay")]
    for source in ("a.png", "b.PNG", "c.webp"):
        image = open_image(tmp_path / "in" / source)
        mask = Image.open(tmp_path / "out" / "deep" / f"{source[0]}.png")
        assert mask.mode == "P" and mask.size == image.size
        assert np.array_equal(mask, expected_mask(model_dir, image))
        assert mask.getpalette() == np.ravel(voc_palette()).tolist()
        overlaid = Image.open(tmp_path / "out" / "deep" / f"{source[0]}_overlay.png")
        assert np.array_equal(overlaid, overlay(image, np.asarray(mask), voc_palette()))


def test_exif_orientation_is_applied(predict, model_dir, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    save_photo(tmp_path / "photo.png", (50, 30), exif=exif)
    predict("--input", tmp_path / "photo.png", "--output_dir", tmp_path / "out")
    mask = Image.open(tmp_path / "out" / "photo.png")
    upright = Image.open(tmp_path / "photo.png").transpose(Image.Transpose.ROTATE_270).convert("RGB")
    assert mask.size == (30, 50)
    assert np.array_equal(mask, expected_mask(model_dir, upright))


def test_flip_and_window_reach_the_prediction(predict, model_dir, tmp_path):
    save_photo(tmp_path / "photo.png")
    arguments = ["--input", tmp_path / "photo.png", "--flip", "--window", 32, 48]
    predict(*arguments, "--output_dir", tmp_path / "out")
    image = Image.open(tmp_path / "photo.png").convert("RGB")
    mask = np.asarray(Image.open(tmp_path / "out" / "photo.png"))
    assert np.array_equal(mask, expected_mask(model_dir, image, flip=True, window=(32, 48)))
    assert not np.array_equal(mask, expected_mask(model_dir, image))
    with pytest.raises(SystemExit, match=r"window=\[32\] must be a height and a width"):
        predict(*arguments[:3], "--window", 32, "--output_dir", tmp_path / "out")


def test_inputs_that_are_no_images_are_named(predict, tmp_path):
    output = ["--output_dir", tmp_path / "out"]
    with pytest.raises(SystemExit, match="nowhere: there is no such file or folder"):
        predict("--input", tmp_path / "nowhere", *output)
    (tmp_path / "in").mkdir()
    with pytest.raises(SystemExit, match="in: the folder holds no images"):
        predict("--input", tmp_path / "in", *output)
    (tmp_path / "in" / "text.png").write_text("not an image")
    with pytest.raises(SystemExit, match="text.png cannot be read as an image"):
        predict("--input", tmp_path / "in", *output)
    save_photo(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    with pytest.raises(SystemExit, match="cut.png cannot be read as an image"):
        predict("--input", tmp_path / "cut.png", *output)


def test_damaged_images_stop_no_other_and_are_listed_at_the_end(predict, model_dir, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in "abcd":
        save_photo(tmp_path / "in" / f"{name}.png")
    for name, content in {"a": b"", "c": (tmp_path / "in" / "c.png").read_bytes()[:2000]}.items():
        (tmp_path / "in" / f"{name}.png").write_bytes(content)
    with pytest.raises(SystemExit) as end:
        predict("--input", tmp_path / "in", "--output_dir", tmp_path / "out")
    first, *damaged = end.value.code.splitlines()  # a text: exit code 1
    assert first == "2 images could not be read and have no mask:"
    assert [line.split(" cannot be read as an image")[0] for line in damaged] == [
        str(tmp_path / "in" / name) for name in ("a.png", "c.png")
    ]
    assert "2 masks and overlays" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{name}{end}.png" for name in "bd" for end in ("", "_overlay")
    ]
    for name in "bd":
        expected = expected_mask(model_dir, open_image(tmp_path / "in" / f"{name}.png"))
        assert np.array_equal(Image.open(tmp_path / "out" / f"{name}.png"), expected)


def test_nothing_is_overwritten_by_another_result(predict, tmp_path):
    save_photo(tmp_path / "a.png")
    with pytest.raises(SystemExit, match="a.png is an image that a mask would replace"):
        predict("--input", tmp_path, "--output_dir", tmp_path)
    save_photo(tmp_path / "a.jpg")
    with pytest.raises(SystemExit, match="a.png would be written for 2 of the images"):
        predict("--input", tmp_path, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
