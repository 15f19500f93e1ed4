import os
import socket
import weakref

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor
from transformers.modeling_outputs import SemanticSegmenterOutput

from rss_hf.evaluation.predict import evaluate_model, predict_maps, predict_maps_and_entropies, upsampled_views


NUM_LABELS = 3
SIZES = [(12, 16), (9, 20), (30, 7), (12, 16), (5, 5)]  # an odd number of images, of their own sizes


class ToyModel(nn.Module):
    """Logits at half the resolution that depend on a neighbourhood, so that windows, flips and sizes all matter."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(NUM_LABELS, 3, 3, 3, generator=generator))
        self.modes, self.outputs = [], []

    def forward(self, pixel_values):
        logits = F.conv2d(pixel_values, self.weight, stride=2, padding=1)
        self.modes.append(self.training)
        self.outputs.append(weakref.ref(logits))
        return SemanticSegmenterOutput(logits=logits)


@torch.no_grad()
def predict_probabilities(model, images, sizes, window=None, stride=None, flip=False):
    """The class probabilities (C, H_i, W_i) that maps and entropies are made of."""
    return [views.softmax(1).mean(0) for views in upsampled_views(model, images, sizes, window, stride, flip)]


def make_examples():
    generator = torch.Generator().manual_seed(1)
    examples = []
    for size in SIZES:
        label = torch.randint(0, NUM_LABELS, size, generator=generator)
        label[torch.rand(size, generator=generator) < 0.2] = 255
        examples.append({"pixel_values": torch.randn(3, 16, 20, generator=generator), "labels": label})
    return examples


def collate(examples):
    pixel_values = torch.stack([example["pixel_values"] for example in examples])
    return {"pixel_values": pixel_values, "labels": [example["labels"] for example in examples]}


@torch.no_grad()
def count_by_hand(examples):
    model = ToyModel()
    confusion = torch.zeros(NUM_LABELS, NUM_LABELS, dtype=torch.int64)
    for example in examples:
        logits = model(example["pixel_values"][None]).logits
        prediction = F.interpolate(logits, example["labels"].shape, mode="bilinear").argmax(dim=1)[0]
        for reference in range(NUM_LABELS):
            for predicted in range(NUM_LABELS):
                both = (example["labels"] == reference) & (prediction == predicted)
                confusion[reference, predicted] += both.sum()
    return confusion


@pytest.fixture
def accelerator():
    """On the CPU also where there is a GPU, whose convolutions round differently."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def images():
    return torch.stack([example["pixel_values"] for example in make_examples()])


def tiny_segformer(num_labels):
    torch.manual_seed(0)
    sizes = {"depths": [1] * 4, "hidden_sizes": [8] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}
    return SegformerForSemanticSegmentation(SegformerConfig(**sizes, num_labels=num_labels)).eval()


def test_maps_equal_the_processor_of_transformers():
    model = tiny_segformer(num_labels=7)
    pixel_values, sizes = torch.randn(2, 3, 64, 64), [(50, 71), (33, 128)]
    with torch.no_grad():
        outputs = model(pixel_values=pixel_values)
    expected = SegformerImageProcessor().post_process_semantic_segmentation(outputs, target_sizes=sizes)
    maps = predict_maps(model, pixel_values, sizes)
    for map_, expected_map in zip(maps, expected, strict=True):
        assert map_.dtype == torch.int64 and torch.equal(map_, expected_map)


def test_flip_averages_probabilities_with_the_mirrored_image(images):
    model = ToyModel()
    probabilities = predict_probabilities(model, images, SIZES, flip=True)
    mirrored = predict_probabilities(model, images.flip(-1), SIZES)
    for i, plain in enumerate(predict_probabilities(model, images, SIZES)):
        assert plain.shape == (NUM_LABELS, *SIZES[i])
        torch.testing.assert_close(probabilities[i], (plain + mirrored[i].flip(-1)) / 2)
        torch.testing.assert_close(probabilities[i].sum(dim=0), torch.ones(SIZES[i]))
    for map_, distribution in zip(predict_maps(model, images, SIZES, flip=True), probabilities, strict=True):
        assert torch.equal(map_, distribution.argmax(dim=0))


@pytest.mark.parametrize("stride", [(4, 8), (6, 5), None])
def test_windows_average_probabilities_where_they_overlap(images, stride):
    model, window = ToyModel(), (8, 10)
    tops = {(4, 8): [0, 4, 8], (6, 5): [0, 6, 8], None: [0, 4, 8]}[stride]
    lefts = {(4, 8): [0, 8, 10], (6, 5): [0, 5, 10], None: [0, 5, 10]}[stride]
    image = images[:1]
    seen = [[[] for _ in range(20)] for _ in range(16)]
    for top in tops:
        for left in lefts:
            crop = image[:, :, top : top + 8, left : left + 10]
            with torch.no_grad():
                distribution = F.interpolate(model(crop).logits, window, mode="bilinear").softmax(dim=1)[0]
            for row in range(8):
                for column in range(10):
                    seen[top + row][left + column].append(distribution[:, row, column])
    expected = torch.stack([torch.stack([torch.stack(pixel).mean(dim=0) for pixel in row]) for row in seen])
    [probabilities] = predict_probabilities(model, image, [(16, 20)], window=window, stride=stride)
    torch.testing.assert_close(probabilities, expected.permute(2, 0, 1))


def test_a_window_of_the_image_or_larger_is_the_whole_image(images):
    model = ToyModel()
    expected = predict_probabilities(model, images, [(16, 20)] * 5)
    for window in [(16, 20), (64, 64)]:
        windowed = predict_probabilities(model, images, [(16, 20)] * 5, window=window)
        torch.testing.assert_close(windowed, expected)


@pytest.mark.parametrize("views", [{}, {"flip": True}, {"flip": True, "window": (8, 10)}], ids=str)
def test_entropies_come_with_the_same_maps(images, views):
    pairs = predict_maps_and_entropies(ToyModel(), images, SIZES, **views)
    assert all(map(torch.equal, [map_ for map_, _ in pairs], predict_maps(ToyModel(), images, SIZES, **views)))
    for (_, entropy), distribution in zip(
        pairs, predict_probabilities(ToyModel(), images, SIZES, **views), strict=True
    ):
        torch.testing.assert_close(entropy, torch.distributions.Categorical(distribution.movedim(0, -1)).entropy())


def test_certain_windows_are_upsampled_without_nan(images):
    model = ToyModel()
    model.weight.data *= 1e4
    maps = predict_probabilities(model, images, [(31, 37)] * 5, window=(8, 10))
    assert all(torch.isfinite(probabilities).all() for probabilities in maps)


def test_arguments_that_do_not_fit_are_refused(images):
    with pytest.raises(ValueError, match="5 images but 4 sizes"):
        predict_maps(ToyModel(), images, SIZES[:4])
    for stride in [(9, 8), (0, 8)]:
        with pytest.raises(ValueError, match=r"stride=\(\d, 8\) must be from 1 to window=\(8, 8\)"):
            predict_maps(ToyModel(), images, SIZES, window=(8, 8), stride=stride)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("views", [{}, {"flip": True}, {"window": (8, 10)}], ids=str)
def test_logits_that_are_not_finite_are_refused(images, accelerator, value, views):
    """The greatest of NaN is class 0: it would be scored as an answer."""
    bad = images.clone()
    bad[3, 0, 5, 5] = value
    for predict in (predict_maps, predict_maps_and_entropies):
        with pytest.raises(ValueError, match=r"logits are NaN or infinite for images \[3\] of a batch of 5"):
            predict(ToyModel(), bad, SIZES, **views)
    model = ToyModel()
    model.weight.data[0] = value
    dataloader = accelerator.prepare(DataLoader(make_examples(), batch_size=2, collate_fn=collate))
    with pytest.raises(ValueError, match=r"images \[0, 1\] of a batch of 2: its weights"):
        evaluate_model(model, dataloader, NUM_LABELS, accelerator, **views)


def test_evaluate_model_counts_every_image_and_restores_the_mode(accelerator):
    examples, model, steps = make_examples(), ToyModel(), []
    dataloader = accelerator.prepare(DataLoader(examples, batch_size=2, collate_fn=collate))
    for training in (True, False):
        model.train(training)
        confusion = evaluate_model(
            model, dataloader, NUM_LABELS, accelerator, lambda batch: steps.append(len(batch["labels"]))
        )
        assert torch.equal(confusion, count_by_hand(examples))
        assert model.training is training
    assert steps == [2, 2, 1] * 2 and not any(model.modes)


def test_evaluate_model_takes_stacked_labels_and_passes_views_on(accelerator):
    examples = [make_examples()[0], make_examples()[3]]
    assert torch.equal(
        evaluate_model(ToyModel(), accelerator.prepare(DataLoader(examples, batch_size=2)), NUM_LABELS, accelerator),
        count_by_hand(examples),
    )
    views = {"window": (8, 8), "stride": (4, 4), "flip": True}
    dataloader = accelerator.prepare(DataLoader(examples))
    confusion = evaluate_model(ToyModel(), dataloader, NUM_LABELS, accelerator, **views)
    maps = [predict_maps(ToyModel(), e["pixel_values"][None], [e["labels"].shape], **views)[0] for e in examples]
    right = sum((map_ == example["labels"]).sum() for map_, example in zip(maps, examples, strict=True))
    assert confusion.diagonal().sum() == right


def test_evaluate_model_keeps_no_logits(accelerator):
    model, alive = ToyModel(), []

    def count_logits(batch):
        alive.append(sum(output() is not None for output in model.outputs))

    dataloader = accelerator.prepare(DataLoader(make_examples(), collate_fn=collate))
    evaluate_model(model, dataloader, NUM_LABELS, accelerator, count_logits)
    assert alive == [0] * len(SIZES)


def test_mode_is_restored_when_a_batch_fails(accelerator):
    model = ToyModel().train()
    with pytest.raises(KeyError, match="labels"):
        evaluate_model(model, [{"pixel_values": torch.zeros(1, 3, 8, 8)}], NUM_LABELS, accelerator)
    assert model.training


class Stream(IterableDataset):
    def __iter__(self):
        return iter(make_examples())


def test_dispatched_label_lists_are_refused(accelerator):
    dataloader = accelerator.prepare(DataLoader(Stream(), batch_size=2, collate_fn=collate))
    with pytest.raises(ValueError, match="dispatch_batches=False"):
        evaluate_model(ToyModel(), dataloader, NUM_LABELS, accelerator)


def count_in_process(rank, port, folder):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    dataloader = accelerator.prepare(DataLoader(make_examples(), batch_size=2, collate_fn=collate))
    model = accelerator.prepare(ToyModel())
    torch.save(evaluate_model(model, dataloader, NUM_LABELS, accelerator), folder / f"{rank}.pt")
    accelerator.end_training()


def test_two_processes_count_each_image_once(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(count_in_process, (port, tmp_path), nprocs=2)
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), count_by_hand(make_examples()))
