import datasets
import pytest
from helpers.rows import encoded, ids, picture, rows, save_parquet

import rss_hf_cli as main
from rss_hf.cli import check_data


NAMES = ["sky", "car", "road"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_it_prints_what_there_is(tmp_path, capsys):
    train = rows([ids((0, 1)), ids((0, 1, 1, 255), (4, 4))], [picture(), picture(1, (4, 4))])
    name = save_parquet(tmp_path / "set", train=train, validation=rows([ids((0, 2))], [picture()]))
    main.main(["check-data", "--dataset_name", name, "--class_names", *NAMES])
    out = capsys.readouterr().out
    assert "train: 2 rows, images of 8x6 (1), 4x4 (1)" in out and "validation: 1 rows, images of 8x6 (1)" in out
    shares = {line.rsplit(maxsplit=2)[0]: line.split()[-2:] for line in out.splitlines() if line}
    # 48 pixels half and half, and 16 of which a quarter is class 0 and a quarter void.
    assert shares["sky"] == [f"{100 * 28 / 64:.2f}", "50.00"] and shares["road"] == ["0.00", "50.00"]
    assert shares["car"] == [f"{100 * 32 / 64:.2f}", "0.00"] and shares["(no class)"] == [
        f"{100 * 4 / 64:.2f}",
        "0.00",
    ]
    assert "1 of the 1 images of split 'validation' are images of split 'train' too" in out


def test_ids_from_1_and_a_split_to_score_alone(tmp_path, capsys):
    name = save_parquet(tmp_path / "set", test=rows([ids((0, 1, 2, 3))]))
    options = ["--dataset_name", name, "--class_names", *NAMES]
    check_data.main([*options, "--reduce_labels", "true"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[-4:]]
    assert [line[-1] for line in lines] == ["25.00"] * 4 and "train" not in str(lines)
    with pytest.raises(SystemExit) as exit:
        check_data.main(options)
    assert exit.value.code == 1
    assert "mask ids [3]: with 3 classes the ids are 0 to 2" in capsys.readouterr().out


def test_faults_give_exit_code_1_without_masks_too(tmp_path, capsys):
    bad = encoded(picture(), path="b.png")
    images = [picture(), bad | {"bytes": bad["bytes"][:50]}, bad | {"bytes": b""}]
    name = save_parquet(tmp_path / "set", train=rows(images=images), validation=rows(images=[picture(1)]))
    with pytest.raises(SystemExit) as exit:
        check_data.main(["--dataset_name", name, "--class_names", *NAMES])
    out = capsys.readouterr().out
    assert exit.value.code == 1 and "There are no masks." in out
    for index, line in enumerate(out.splitlines()[-2:], start=1):
        assert line.startswith(f"row {index} of split 'train' (b.png): the image cannot be")


def test_streams_are_refused():
    with pytest.raises(ValueError, match="check-data reads all: leave it out"):
        check_data.main(["--dataset_name", "shapes", "--streaming", "true"])
