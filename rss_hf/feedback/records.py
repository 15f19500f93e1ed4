"""One answer of a judge as a line of a file."""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from io import BytesIO

import numpy as np
import PIL.Image


@dataclass(frozen=True)
class Answer:
    """
    What a judge said of one map.

    Attributes:
        key (`str`): digest of the judge's name and all that it was shown.
        judge (`str`): its name.
        image (`str`): the `id` of the row, or a digest of the image where it has none.
        map (`str`): the class map, an indexed PNG in base64.
        score (`float`, *optional*): None where the judge had no answer.
        time (`str`): UTC, ISO 8601.
    """

    key: str
    judge: str
    image: str
    map: str
    score: float | None
    time: str

    def to_line(self) -> str:
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "Answer":
        """Raises a ValueError or TypeError for a line that was not written whole."""
        return cls(**json.loads(line))


def digest(*parts: bytes | str) -> str:
    """A hash of parts, each with its length, in 32 hexadecimal digits."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()


def as_png(picture: np.ndarray | PIL.Image.Image) -> str:
    """A class map (H, W) uint8 or an image as a PNG in base64; the values of a map are class ids."""
    file = BytesIO()
    picture = PIL.Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
