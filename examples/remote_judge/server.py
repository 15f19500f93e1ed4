"""
A judge behind a URL: `python examples/remote_judge/server.py 8000`. It scores how round the largest thing in a map is.

Replace `score` by a model, a rater's queue, a simulator. The trainer is given the URL:

    rss-hf train --config configs/shapes.yaml --num_samples 8 --reward_funcs http://127.0.0.1:8000/roundness
"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
from PIL import Image


def score(image: Image.Image, class_map: np.ndarray, row: dict) -> float | None:
    """Of the most frequent class but 0: its area over that of the circle around it, in [0, 1]; None without one."""
    ids, counts = np.unique(class_map[class_map > 0], return_counts=True)
    if not len(ids):
        return None
    y, x = np.nonzero(class_map == ids[counts.argmax()])
    radius = np.hypot(y - y.mean(), x - x.mean()).max() + 0.5
    return float(min(1.0, len(y) / (np.pi * radius**2)))


class Judge(BaseHTTPRequestHandler):
    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        images = [open_png(png).convert("RGB") for png in content["images"]]
        scores = [score(images[m["image"]], np.asarray(open_png(m["map"])), m["row"]) for m in content["maps"]]
        body = json.dumps({"scores": scores}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def open_png(png: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(png)))


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Judge).serve_forever()
