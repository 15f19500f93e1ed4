"""What an example shows of its whole image: where it is padded, what was cropped, whether it is flipped."""

import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional


VIEW_COLUMNS = ("valid", "crop", "flipped")


class View(tv_tensors.TVTensor):
    """
    A tensor (H, W) bool, true where image is and not padding, that goes through the transforms of
    [`~rss_hf.data.train_transform`] beside its image, in their order: resize, crop, flip, pad.

    Attributes:
        crop (`tuple[float, float, float, float]`):
            Top, left, bottom and right of what is seen, as fractions of the whole upright image, not flipped.
        flipped (`bool`): whether left and right are exchanged.
    """

    crop: tuple[float, float, float, float]
    flipped: bool

    @classmethod
    def make(cls, valid: torch.Tensor, crop=(0.0, 0.0, 1.0, 1.0), flipped: bool = False) -> "View":
        view = valid.as_subclass(cls)
        view.crop, view.flipped = crop, flipped
        return view

    @classmethod
    def whole(cls, height: int, width: int, crop=(0.0, 0.0, 1.0, 1.0)) -> "View":
        """Of an image that is seen whole, or of the part `crop` of one, without padding."""
        return cls.make(torch.ones(height, width, dtype=torch.bool), crop)

    def columns(self) -> dict[str, torch.Tensor]:
        """`valid` (H, W) bool, `crop` (4,) float32 and `flipped` () bool."""
        valid = self.as_subclass(torch.Tensor)
        return {"valid": valid, "crop": torch.tensor(self.crop), "flipped": torch.tensor(self.flipped)}


@functional.register_kernel(functional.resize, View)
def _resize(view: View, size: tuple[int, int], **_) -> View:
    return View.whole(*size, view.crop)


@functional.register_kernel(functional.crop, View)
def _crop(view: View, top: int, left: int, height: int, width: int) -> View:
    rows, columns = view.shape
    y0, x0, y1, x1 = view.crop
    y, x = (y1 - y0) / rows, (x1 - x0) / columns  # of a pixel
    return View.whole(height, width, (y0 + y * top, x0 + x * left, y0 + y * (top + height), x0 + x * (left + width)))


@functional.register_kernel(functional.horizontal_flip, View)
def _flip(view: View) -> View:
    return View.make(view.as_subclass(torch.Tensor).flip(-1), view.crop, not view.flipped)


@functional.register_kernel(functional.pad, View)
def _pad(view: View, padding: list[int], **_) -> View:
    left, top, right, bottom = padding
    padded = torch.nn.functional.pad(view.as_subclass(torch.Tensor), (left, right, top, bottom), value=False)
    return View.make(padded, view.crop, view.flipped)
