#!/usr/bin/env python3
"""Serves a folder as a hub, to try names without a connection:

    python3 Scripts/local_hub.py FOLDER [--port 8000]
    HF_ENDPOINT=http://127.0.0.1:8000 lorikeet run --model ORG/NAME --data train.jsonl --output out

FOLDER/ORG/NAME is a model, FOLDER/datasets/ORG/NAME a data set. It answers what Hugging Face's hub answers to a download: the list of files
with sizes and hashes, files with their tags, parts of files. Files from 1 MiB on are named by their SHA-256, as large files of a hub are.

Models can be uploaded too (`lorikeet push`, Python's upload_folder): repositories are made, large files come whole or, with --chunk, in parts,
and a commit puts all files in their places. Large contents wait in FOLDER/.uploads until a commit names them. --token TOKEN refuses whoever
writes without it.
"""
import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1 << 20
hashes = {}


def tag(path):
    """SHA-256 of a large file, git's hash of a small one."""
    state = os.stat(path)
    key = (path, state.st_size, state.st_mtime_ns)
    if key not in hashes:
        digest = hashlib.sha256() if state.st_size >= LARGE else hashlib.sha1(b"blob %d\0" % state.st_size)
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        hashes[key] = digest.hexdigest()
    return hashes[key]


def files_of(folder):
    found = []
    for base, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".uploads")]
        found += [os.path.relpath(os.path.join(base, name), folder) for name in names]
    return sorted(found)


def commit_of(folder):
    """Changes with the content, as a commit does."""
    return hashlib.sha1("".join(name + tag(os.path.join(folder, name)) for name in files_of(folder)).encode()).hexdigest()


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root = "."
    chunk = 0
    token = ""

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message):
        self.answer(status, json.dumps({"error": message}).encode(), X_Error_Code=code, X_Error_Message=message)

    def folder(self, kind, owner, name):
        folder = os.path.join(self.root, "datasets" if kind == "datasets" else "", owner, name)
        return folder if os.path.isdir(folder) and owner not in ("..", "datasets") and name != ".." else None

    def do_GET(self):
        address = urlsplit(self.path)
        path = unquote(address.path)
        if match := re.fullmatch(r"/api/(models|datasets)", path):
            return self.answer(200, json.dumps([{"id": name} for name in self.names(match[1], parse_qs(address.query))]).encode())
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+)/([^/]+)(?:/revision/(.+))?", path):
            return self.describe(match[1], match[2], match[3], match[4])
        if match := re.fullmatch(r"/api/(models|datasets)/([^/]+)/([^/]+)/tree/([^/]+)", path):
            return self.tree(match[1], match[2], match[3])
        if match := re.fullmatch(r"/(datasets/)?([^/]+)/([^/]+)/resolve/([^/]+)/(.+)", path):
            return self.file("datasets" if match[1] else "models", match[2], match[3], match[5])
        self.refuse(404, "", "not found")

    do_HEAD = do_GET

    def names(self, kind, query):
        base = os.path.join(self.root, "datasets") if kind == "datasets" else self.root
        for owner in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            for name in sorted(os.listdir(os.path.join(base, owner))) if os.path.isdir(os.path.join(base, owner)) and owner != "datasets" else []:
                wanted = query.get("search", [""])[0].lower() in name.lower() and query.get("author", [owner])[0] == owner
                if wanted and os.path.isdir(os.path.join(base, owner, name)):
                    yield f"{owner}/{name}"

    def describe(self, kind, owner, name, revision):
        folder = self.folder(kind, owner, name)
        if not folder:
            return self.refuse(401, "RepoNotFound", "Invalid username or password.")
        commit = commit_of(folder)
        private = os.path.exists(folder + ".private")
        if revision not in (None, "main", commit):
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        siblings = []
        for path in files_of(folder):
            full = os.path.join(folder, path)
            size = os.path.getsize(full)
            entry = {"rfilename": path, "size": size, "blobId": tag(full)}
            if size >= LARGE:
                entry["lfs"] = {"sha256": tag(full), "size": size, "pointerSize": 135}
            siblings.append(entry)
        self.answer(200, json.dumps({"id": f"{owner}/{name}", "sha": commit, "private": private, "siblings": siblings}).encode(), Content_Type="application/json")

    def tree(self, kind, owner, name):
        """The list of files as Python's snapshot_download asks for it."""
        folder = self.folder(kind, owner, name)
        if not folder:
            return self.refuse(401, "RepoNotFound", "Invalid username or password.")
        entries = []
        for path in files_of(folder):
            full = os.path.join(folder, path)
            size = os.path.getsize(full)
            entry = {"type": "file", "path": path, "size": size, "oid": tag(full)}
            if size >= LARGE:
                entry["lfs"] = {"oid": tag(full), "size": size, "pointerSize": 135}
            entries.append(entry)
        self.answer(200, json.dumps(entries).encode(), Content_Type="application/json")

    # Uploads

    def content(self, oid):
        """Where a large content waits for its commit."""
        return os.path.join(self.root, ".uploads", oid)

    def refuses(self):
        """Answers a request that may not write."""
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            self.refuse(401, "", "Invalid username or password.")
            return True

    def receive(self, file):
        """The body of a request, into a file."""
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionError("the body ended early")
            file.write(piece)
            left -= len(piece)

    def body(self):
        import io
        buffer = io.BytesIO()
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                buffer.write(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.receive(buffer)
        return buffer.getvalue()

    def do_PUT(self):
        """A large content, or a part of one: the address is signed by having been given, so no token is asked for."""
        match = re.fullmatch(r"/upload/([0-9a-f]{64})(?:/(\d+))?", urlsplit(self.path).path)
        if not match:
            return self.refuse(404, "", "not found")
        oid, part = match.groups()
        os.makedirs(os.path.dirname(self.content(oid)), exist_ok=True)
        place = self.content(oid) + (f".{part}" if part else ".whole")
        with open(place, "wb") as file:
            self.receive(file)
        if part:
            return self.answer(200, ETag=f'"{part}-{os.path.getsize(place)}"')
        self.keep(oid, place)

    def keep(self, oid, place):
        """Gives a content its name if it has the right sum."""
        with open(place, "rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == oid
        if not right:
            os.remove(place)
            return self.refuse(400, "", "the content has another SHA-256")
        os.replace(place, self.content(oid))
        self.answer(200)

    def do_POST(self):
        path = unquote(urlsplit(self.path).path)
        body = self.body()
        if match := re.fullmatch(r"/upload/([0-9a-f]{64})/complete", path):
            return self.complete(match[1], json.loads(body))
        if self.refuses():
            return
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.answer(200, b'{"errors": [], "warnings": []}')
        if match := re.fullmatch(r"/([^/]+)/([^/]+)\.git/info/lfs/objects/batch", path):
            return self.batch(json.loads(body))
        if match := re.fullmatch(r"/api/models/([^/]+)/([^/]+)/(preupload|commit)/main", path):
            folder = self.folder("models", match[1], match[2])
            if not folder:
                return self.refuse(404, "RepoNotFound", "Repository not found")
            return self.preupload(folder, json.loads(body)) if match[3] == "preupload" else self.commit(folder, body)
        self.refuse(404, "RevisionNotFound" if "/preupload/" in path or "/commit/" in path else "", "not found")

    def create(self, request):
        folder = os.path.join(self.root, request.get("organization") or "me", request["name"])
        if os.path.isdir(folder):
            return self.refuse(409, "", "You already created this model repo")
        os.makedirs(folder)
        if request.get("visibility") == "private" or request.get("private"):
            open(folder + ".private", "w").close()
        name = "/".join(folder.split("/")[-2:])
        self.answer(200, json.dumps({"url": f"http://{self.headers['Host']}/{name}", "name": name}).encode(), Content_Type="application/json")

    def preupload(self, folder, request):
        files = []
        for file in request["files"]:
            full = os.path.join(folder, file["path"])
            entry = {"path": file["path"], "uploadMode": "lfs" if file["size"] >= LARGE else "regular", "shouldIgnore": False}
            if os.path.isfile(full):
                entry["oid"] = tag(full)
            files.append(entry)
        self.answer(200, json.dumps({"files": files}).encode(), Content_Type="application/json")

    def batch(self, request):
        objects = []
        for entry in request["objects"]:
            oid, size = entry["oid"], entry["size"]
            known = {"oid": oid, "size": size}
            if not os.path.exists(self.content(oid)):
                address = f"http://{self.headers['Host']}/upload/{oid}"
                upload = {"href": address}
                if self.chunk:
                    parts = {str(part): f"{address}/{part}" for part in range(1, -(-size // self.chunk) + 1)}
                    upload = {"href": address + "/complete", "header": {"chunk_size": str(self.chunk), **parts}}
                known["actions"] = {"upload": upload}
            objects.append(known)
        self.answer(200, json.dumps({"transfer": "multipart" if self.chunk else "basic", "objects": objects}).encode(), Content_Type="application/vnd.git-lfs+json")

    def complete(self, oid, request):
        whole = self.content(oid) + ".whole"
        with open(whole, "wb") as out:
            for part in sorted(request["parts"], key=lambda part: part["partNumber"]):
                with open(self.content(oid) + f".{part['partNumber']}", "rb") as file:
                    shutil.copyfileobj(file, out)
        self.keep(oid, whole)

    def commit(self, folder, body):
        lines = [json.loads(line) for line in body.split(b"\n") if line.strip()]
        for line in lines:
            path = line["value"].get("path", "")
            if path.startswith("/") or ".." in path.split("/"):
                return self.refuse(400, "", f"no path: {path}")
            if line["key"] == "lfsFile" and not os.path.exists(self.content(line["value"]["oid"])):
                return self.refuse(400, "", f"no such content: {path}")
        for line in lines:
            value, full = line["value"], os.path.join(folder, line["value"].get("path", ""))
            if line["key"] in ("file", "lfsFile"):
                os.makedirs(os.path.dirname(full), exist_ok=True)
            if line["key"] == "file":
                with open(full, "wb") as file:
                    file.write(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                shutil.copyfile(self.content(value["oid"]), full)
            elif line["key"] == "deletedFile" and os.path.isfile(full):
                os.remove(full)
        commit = commit_of(folder)
        address = f"http://{self.headers['Host']}/{'/'.join(folder.split('/')[-2:])}/commit/{commit}"
        self.answer(200, json.dumps({"success": True, "commitOid": commit, "commitUrl": address}).encode(), Content_Type="application/json")

    def file(self, kind, owner, name, path):
        folder = self.folder(kind, owner, name)
        full = os.path.join(folder or "", path)
        if not folder or ".." in path.split("/") or not os.path.isfile(full):
            return self.refuse(404, "EntryNotFound" if folder else "RepoNotFound", "Entry not found")
        size = os.path.getsize(full)
        first, end, status = 0, size, 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, status = int(match[1]), 206
            end = min(size, int(match[2]) + 1) if match[2] else size
            if first >= end:
                return self.answer(416, Content_Range=f"bytes */{size}")
        self.send_response(status)
        self.send_header("ETag", f'"{tag(full)}"')
        self.send_header("X-Repo-Commit", commit_of(folder))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - first))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        with open(full, "rb") as file:
            file.seek(first)
            while piece := file.read(min(1 << 20, end - file.tell())):
                self.wfile.write(piece)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--chunk", type=int, default=0, help="bytes of a part of a large upload")
    parser.add_argument("--token", default="", help="what an upload's access token has to be")
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.folder):
        sys.exit(f"{arguments.folder}: no such folder")
    Hub.root, Hub.chunk, Hub.token = arguments.folder, arguments.chunk, arguments.token
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Hub)
    print(f"export HF_ENDPOINT=http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
