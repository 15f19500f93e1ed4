"""
A Hub on 127.0.0.1 for tests: repositories in memory, the requests that huggingface_hub and datasets send, and faults.

    with Hub() as hub:
        subprocess.run([sys.executable, script], env=os.environ | hub.environment(cache))

Files are committed whole or not at all, and large ones only if their content has the SHA-256 they were announced with.
"""

import base64
import dataclasses
import hashlib
import json
import re
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


TOKEN = "hf_test"
LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".png", ".pt", ".pth", ".onnx")


@dataclasses.dataclass
class Fault:
    """
    What goes wrong at the requests number `at` (from 0) to `at + times - 1` after it was injected: `"status"` answers
    `status`, `"drop"` hangs up half-way through the request, `"cut"` half-way through the answer, `"delay"` waits
    `seconds` first.
    """

    kind: str
    at: int = 0
    times: int = 1
    status: int = 500
    seconds: float = 0.0


@dataclasses.dataclass
class Repo:
    private: bool
    branches: dict[str, str]  # name: commit
    commits: dict[str, dict[str, bytes]]  # commit: path: content

    def files(self, revision: str) -> dict[str, bytes]:
        return self.commits[self.branches.get(revision, revision)]

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{branch} {len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


class HubError(Exception):
    """An answer other than 200; `code` is the X-Error-Code that clients tell exceptions by."""

    def __init__(self, status: int, message: str, code: str | None = None, **answer):
        super().__init__(message)
        self.status, self.code, self.answer = status, code, {"error": message} | answer


class Hub(ThreadingHTTPServer):
    """The server. `repos` by "models/org/name" or "datasets/org/name"; `requests` lists "METHOD path" as they came."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}  # large files by SHA-256
        self.requests: list[str] = []
        self.fault, self.requests_since = None, 0
        self.lock = threading.Lock()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def environment(self, cache) -> dict[str, str]:
        """The variables that send a process's Hub clients here; they are read when huggingface_hub is imported."""
        names = ("XET", "TELEMETRY", "UPDATE_CHECK", "PROGRESS_BARS")
        variables = {"HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
        return variables | {f"HF_HUB_DISABLE_{name}": "1" for name in names} | {"HF_HUB_OFFLINE": "0"}

    def inject(self, fault: Fault | None):
        """Replaces the fault and counts requests anew. Another process does it by POST /fault with the fields."""
        self.fault, self.requests_since = fault, 0

    def next_fault(self) -> Fault | None:
        with self.lock:
            index, self.requests_since = self.requests_since, self.requests_since + 1
        fault = self.fault
        return fault if fault is not None and fault.at <= index < fault.at + fault.times else None

    def repo(self, kind: str, name: str, authorized: bool, revision: str | None = None) -> Repo:
        repo = self.repos.get(f"{kind}/{name}")
        if repo is None or (repo.private and not authorized):
            raise HubError(404 if authorized else 401, f"{name}: no such repository", "RepoNotFound")
        if revision is not None and revision not in repo.branches and revision not in repo.commits:
            raise HubError(404, f"{name}: no such revision {revision}", "RevisionNotFound")
        return repo

    def info(self, name: str, repo: Repo, revision: str) -> dict:
        siblings = [{"rfilename": path} for path in repo.files(revision)]
        sha = repo.branches.get(revision, revision)
        return {"id": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": [], "downloads": 0}


def object_id(path: str, content: bytes) -> str:
    if path.endswith(LFS_SUFFIXES):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes) -> dict:
    about = {"type": "file", "path": path, "oid": object_id(path, content), "size": len(content)}
    lfs = {"oid": about["oid"], "size": len(content), "pointerSize": 130}
    return about | ({"lfs": lfs} if path.endswith(LFS_SUFFIXES) else {})


def tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict]:
    prefix = f"{folder}/" if folder else ""
    inside = [path for path in files if path.startswith(prefix)]
    if folder and not inside:
        raise HubError(404, f"{folder}: no such folder", "EntryNotFound")
    folders = {path[: len(prefix) + path[len(prefix) :].index("/")] for path in inside if "/" in path[len(prefix) :]}
    listed = [path for path in inside if recursive or "/" not in path[len(prefix) :]]
    directories = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
    return directories + [entry(path, files[path]) for path in listed]


class Handler(BaseHTTPRequestHandler):
    """One request: read, fail if a fault says so, route by method and path, answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer's body waits 40 ms for the client to acknowledge the headers
    server: Hub
    fault: Fault | None = None

    def log_message(self, *arguments):
        pass

    def handle_request(self):
        url = urlsplit(self.path)
        self.query = parse_qs(url.query)
        path = url.path.strip("/")
        if path == "fault":
            self.server.inject(Fault(**json.loads(self.read_body())))
            return self.reply({})
        self.server.requests.append(f"{self.command} /{unquote(path)}")
        self.fault = self.server.next_fault()
        if self.fault is not None and self.fault.kind == "drop":
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self.close_connection = True
            return None
        self.body = self.read_body()
        if self.fault is not None and self.fault.kind == "delay":
            time.sleep(self.fault.seconds)
        try:
            if self.fault is not None and self.fault.kind == "status":
                raise HubError(self.fault.status, "an injected fault")
            self.route(path)
        except HubError as error:
            self.reply(error.answer, error.status, {"X-Error-Code": error.code} if error.code else {})

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    def route(self, path: str):
        authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.command == "POST" and not authorized:
            raise HubError(401, "a token is needed to write")
        hub = self.server
        if path == "api/whoami-v2":
            token = {"accessToken": {"role": "write"}}
            return self.reply({"name": "org", "type": "user", "orgs": [], "auth": token})
        if path == "api/validate-yaml":
            return self.reply({"errors": [], "warnings": []})
        if path == "api/repos/create":
            return self.create_repo(json.loads(self.body))
        if found := re.fullmatch(r"objects/(\w{64})", path):
            if hashlib.sha256(self.body).hexdigest() != found[1]:
                raise HubError(422, "the content has another SHA-256 than was announced")
            hub.objects[found[1]] = self.body
            return self.reply({})
        if found := re.fullmatch(r"(datasets/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", path):
            return self.reply({"transfer": "basic", "objects": [self.upload(o) for o in self.json()["objects"]]})
        if found := re.fullmatch(r"(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            name, revision, file = found[2], unquote(found[3]), unquote(found[4])
            repo = hub.repo((found[1] or "models/")[:-1], name, authorized, revision)
            return self.send_file(repo.branches.get(revision, revision), repo.files(revision), file)
        if found := re.fullmatch(r"api/(models|datasets)/([^/]+/[^/]+)(?:/([a-z-]+))?(?:/([^/]+))?(?:/(.+))?", path):
            kind, name, action, revision, folder = (part and unquote(part) for part in found.groups())
            repo = hub.repo(kind, name, authorized, revision if action != "branch" else None)
            return self.repo_request(name, repo, action, revision, folder or "")
        raise HubError(404, f"{self.command} /{path} is not a request this Hub knows")

    def repo_request(self, name: str, repo: Repo, action: str | None, revision: str | None, folder: str):
        if action in (None, "revision"):
            return self.reply(self.server.info(name, repo, revision or "main"))
        if action == "branch":
            if revision in repo.branches:
                raise HubError(409, f"{revision}: there is a branch of this name")
            repo.branches[revision] = repo.branches["main"]
            return self.reply({})
        files = repo.files(revision)
        if action == "preupload":
            return self.reply({"files": [self.upload_mode(file["path"], files) for file in self.json()["files"]]})
        if action == "tree":
            return self.reply(tree(files, folder, self.query.get("recursive", ["false"])[0].lower() == "true"))
        if action == "commit":
            return self.reply({"commitOid": self.commit(repo, revision), "commitUrl": f"{self.server.url}/{name}"})
        raise HubError(404, f"{action} is not a request this Hub knows")

    def create_repo(self, asked: dict):
        kind, name = asked.get("type", "model") + "s", f"{asked.get('organization') or 'org'}/{asked['name']}"
        url = f"{self.server.url}/{name if kind == 'models' else f'{kind}/{name}'}"
        with self.server.lock:
            if f"{kind}/{name}" in self.server.repos:
                raise HubError(409, f"{name}: there is a repository of this name", url=url)
            private = asked.get("private", False) or asked.get("visibility") == "private"
            repo = self.server.repos[f"{kind}/{name}"] = Repo(private, {}, {})
            repo.commit("main", {".gitattributes": b""})
        self.reply({"url": url})

    def upload_mode(self, path: str, files: dict[str, bytes]) -> dict:
        oid = object_id(path, files[path]) if path in files else None
        mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def upload(self, about: dict) -> dict:
        if about["oid"] in self.server.objects:
            return about
        return about | {"actions": {"upload": {"href": f"{self.server.url}/objects/{about['oid']}"}}}

    def commit(self, repo: Repo, branch: str) -> str:
        operations = [json.loads(line) for line in self.body.splitlines()]
        with self.server.lock:
            files = dict(repo.files(branch))
            for key, value in ((operation["key"], operation["value"]) for operation in operations):
                if key == "header" and value.get("parentCommit", repo.branches[branch]) != repo.branches[branch]:
                    raise HubError(412, f"{branch} is no longer at {value['parentCommit']}")
                if key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    if value["oid"] not in self.server.objects:
                        raise HubError(400, f"{value['path']} was not uploaded")
                    files[value["path"]] = self.server.objects[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
            return repo.commit(branch, files)

    def send_file(self, commit: str, files: dict[str, bytes], path: str):
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if path not in files:
            return self.reply({"error": "none"}, 404, headers | {"X-Error-Code": "EntryNotFound"})
        content = files[path]
        headers["ETag"] = f'"{object_id(path, content)}"'
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if found is None:
            return self.send(200, content, headers)
        start = int(found[1]) if found[1] else max(len(content) - int(found[2]), 0)
        stop = min(int(found[2]) + 1 if found[1] and found[2] else len(content), len(content))
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self.send(206, content[start:stop], headers)

    def json(self) -> dict:
        return json.loads(self.body)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def reply(self, answer: dict | list, status: int = 200, headers: dict | None = None):
        self.send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"} | (headers or {}))

    def send(self, status: int, content: bytes, headers: dict[str, str]):
        self.send_response(status, HTTPStatus(status).phrase)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            cut = self.fault is not None and self.fault.kind == "cut"
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection |= cut
