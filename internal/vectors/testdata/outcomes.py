"""Run scripts/recover.py over many files in one process, for recover_test.go.

Each line of input is a case: a file, the keys, and variants of the file to try,
each of them cut to a length or with one byte changed. Each line of output lists
the outcome of the file itself and then those of its variants.
"""
import base64, hashlib, importlib.util, io, json, re, sys

spec = importlib.util.spec_from_file_location("recover", sys.argv[1])
recover = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recover)
recover.warn = lambda what: None


def outcome(file, keys, detached, rescue):
    kind, chunk, offset, size, digest = "opens", -1, -1, 0, hashlib.sha256()
    try:
        for plain in recover.recover(io.BytesIO(file), keys, detached, rescue):
            size += len(plain)
            digest.update(plain)
    except recover.Refused as fault:
        kind = fault.kind
        if found := re.search(r"chunk (\d+) \(at byte (\d+)\)", str(fault)):
            chunk, offset = int(found[1]), int(found[2])
        if found := re.search(r"ends at byte (\d+)", str(fault)):
            offset = int(found[1])
    return {"class": kind, "chunk": chunk, "offset": offset, "size": size, "sha256": digest.hexdigest()}


def variant(file, change):
    if change["mask"] == 0:
        return file[: change["at"]]
    file = bytearray(file)
    file[change["at"]] ^= change["mask"]
    return bytes(file)


for line in sys.stdin:
    case = json.loads(line)
    file, detached = base64.b64decode(case["file"]), base64.b64decode(case["detached"] or "")
    keys = [base64.b64decode(key) for key in case["keys"]]
    files = [file] + [variant(file, change) for change in case["changes"] or []]
    print(json.dumps([outcome(f, keys, detached, case["rescue"]) for f in files]), flush=True)
