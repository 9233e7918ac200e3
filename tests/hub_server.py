"""A server on this machine that speaks as much of the Hugging Face hub's protocol as files come and go by."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants, file_download


class HubServer(ThreadingHTTPServer):
    """Repositories are dicts of files by path, by "owner/name" or "owner/name@revision"."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests = []  # method and path of each, and the token that came with it
        self.commits = []
        self.busy = 0  # the status of all answers, if there is one
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def point_at(server, cache, monkeypatch):
    """Let huggingface_hub take a server for the hub, and a folder for its cache."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    # these were taken from the environment when the package was imported
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    files = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", files, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def files(self, repo, revision):
        """The files of a revision; an answer and nothing where there is none."""
        server, revision = self.server, unquote(revision)
        if repo in server.private and self.headers.get("Authorization") != "Bearer hf_secret":
            self.fail(401, "RepoNotFound", "Invalid username or password.")
        elif repo not in server.repos:
            self.fail(404, "RepoNotFound", "Repository not found")
        elif revision in ("main", commit_of(server.repos[repo])):
            return server.repos[repo]
        elif f"{repo}@{revision}" not in server.repos:
            self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return server.repos[f"{repo}@{revision}"]
        return None

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        self.server.requests.append((self.command, path, self.headers.get("Authorization")))
        if self.server.busy:
            self.fail(self.server.busy, "", "come back later")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            files = self.files(found[1], found[2] or "main")
            if files is not None:
                rows = [{"rfilename": name} for name in files]
                self.answer(json.dumps({"id": found[1], "sha": commit_of(files), "siblings": rows}).encode())
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", path):
            files = self.files(found[1], found[2])
            if files is not None and unquote(found[3]) in files:
                content = files[unquote(found[3])]
                self.answer(content, **{"ETag": f'"{oid(content)}"', "X-Repo-Commit": commit_of(files)})
            elif files is not None:
                self.fail(404, "EntryNotFound", "Entry not found")
        else:
            self.fail(404, "", f"what is {path}?")

    def do_POST(self):
        path = urlsplit(self.path).path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(("POST", path, self.headers.get("Authorization")))
        if self.headers.get("Authorization") != "Bearer hf_secret":
            self.fail(401, "", "Invalid username or password.")
        elif path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization')}/{asked['name']}"
            if repo in self.server.repos:
                return self.answer(json.dumps({"url": f"{self.server.url}/{repo}"}).encode(), 409)
            self.server.repos[repo] = {}
            if asked.get("private") or asked.get("visibility") == "private":
                self.server.private.add(repo)
            self.answer(json.dumps({"url": f"{self.server.url}/{repo}"}).encode())
        elif path == "/api/validate-yaml":
            self.answer(b'{"errors": [], "warnings": []}')
        elif re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", path):
            rows = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self.answer(json.dumps({"files": rows}).encode())
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    self.server.commits.append(line["value"]["summary"])
                else:
                    self.server.repos[found[1]][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = commit_of(self.server.repos[found[1]])
            told = {"commitUrl": f"{self.server.url}/{found[1]}/commit/{commit}", "commitOid": commit}
            self.answer(json.dumps(told).encode())
        else:
            self.fail(404, "", f"what is {path}?")

    def fail(self, status, code, message):
        self.answer(
            json.dumps({"error": message}).encode(), status, **{"X-Error-Code": code, "X-Error-Message": message}
        )

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def oid(content):
    return hashlib.sha1(content).hexdigest()


def commit_of(files):
    return oid(b"".join(oid(name.encode() + content).encode() for name, content in sorted(files.items())))
