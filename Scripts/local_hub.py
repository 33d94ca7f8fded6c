#!/usr/bin/env python3
"""Serves a folder as a hub, to try names without a connection:

    python3 Scripts/local_hub.py FOLDER [--port 8000]
    HF_ENDPOINT=http://127.0.0.1:8000 lorikeet run --model ORG/NAME --data train.jsonl --output out

FOLDER/ORG/NAME is a model, FOLDER/datasets/ORG/NAME a data set. It answers what Hugging Face's hub answers to a download: the list of files
with sizes and hashes, files with their tags, parts of files. Files from 1 MiB on are named by their SHA-256, as large files of a hub are.
"""
import argparse
import hashlib
import json
import os
import re
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
    for base, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(base, name), folder) for name in names]
    return sorted(found)


def commit_of(folder):
    """Changes with the content, as a commit does."""
    return hashlib.sha1("".join(name + tag(os.path.join(folder, name)) for name in files_of(folder)).encode()).hexdigest()


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root = "."

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
        self.answer(200, json.dumps({"id": f"{owner}/{name}", "sha": commit, "siblings": siblings}).encode(), Content_Type="application/json")

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
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.folder):
        sys.exit(f"{arguments.folder}: no such folder")
    Hub.root = arguments.folder
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Hub)
    print(f"export HF_ENDPOINT=http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
