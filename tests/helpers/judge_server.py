"""A judge behind a URL on this machine, whose faults are chosen."""

import base64
import contextlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import PIL.Image


def decoded(png):
    return PIL.Image.open(BytesIO(base64.b64decode(png)))


def share_of_class_one(item, images):
    return float((np.asarray(decoded(item["map"])) == 1).mean())


class JudgeServer:
    """
    Attributes:
        url (`str`): of the judge.
        asked (`Counter`): how often each (map, image, id) was asked about, in all requests that were answered.
        requests (`list[dict]`): their contents.
        faults (`list`): what becomes of the next requests: a status, "reset", "cut", "garbage", seconds to wait, or
            None for an answer.
    """

    def __init__(self, score=share_of_class_one):
        self.score, self.asked, self.requests, self.faults = score, Counter(), [], []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    fault = outer.faults.pop(0) if outer.faults else None
                outer.answer(self, content, fault)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/thirds"

    def answer(self, handler, content, fault):
        if isinstance(fault, int):
            handler.send_error(fault)
        elif fault == "reset":
            handler.connection.close()
        elif fault == "garbage":
            self.send(handler, b"<html>")
        else:
            if isinstance(fault, float):
                time.sleep(fault)
            scores = [self.score(item, content["images"]) for item in content["maps"]]
            body = json.dumps({"scores": scores}).encode()
            if fault == "cut":
                self.send(handler, body[:-3], len(body))
                handler.close_connection = True
                return
            with self.lock:
                self.requests.append(content)
                shown = [*content["images"], None]
                places = ((item, -1 if item["image"] is None else item["image"]) for item in content["maps"])
                self.asked.update((item["map"], shown[place], item["row"].get("id")) for item, place in places)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send(handler, body)

    def send(self, handler, body, length=None):
        handler.send_response(200)
        handler.send_header("Content-Length", str(length or len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
