#!/usr/bin/env python3
"""Open a sealed backup without takumi-backup.

    set -o pipefail
    python3 recover.py KEYFILE backup.sql.zst.enc | zstd -d > backup.sql
    python3 recover.py KEYFILE backup.sql.gz.enc  | gunzip  > backup.sql
    python3 recover.py KEYFILE - < backup.enc > packed
    grep -a -m1 '^slot age ' backup.enc | cut -d' ' -f4 | base64 -d | age -d -i identity.txt |
        python3 recover.py --data-key-from - backup.enc > packed

KEYFILE holds 64 hex digits; several may be given. With --written it is text that
was typed from paper: a key, or one after the other as many shares of it as are
needed. --data-key-from reads, from a file or standard input, what is in a slot of
another holder: id and data key (48 bytes, as age gives them), or the data key alone
(32 bytes, of AWS KMS or transit). `head -6 BACKUP` names the codec. Every byte that comes out is authentic,
but THEY ARE THE WHOLE BACKUP ONLY IF THE EXIT CODE IS 0. It is 4 for a wrong or
bad key, 5 for a backup that is damaged, 64 for a wrong command line and 1 for the
rest. --rescue opens a backup whose envelope was altered or is damaged, as long as
its first six lines and one slot are good; its content is authenticated all the same.

This needs python3-cryptography and nothing else of the project: it was written
from docs/FORMAT.md, which also explains the classes of errors.
"""
import base64, calendar, hashlib, hmac, io, os, re, sys
from urllib.parse import quote_from_bytes, unquote_to_bytes
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

EXIT = {"newer": 1, "wrong-key": 4, "bad-key-file": 4}  # every other class: 5
TAG, CHUNK, MAX_CHUNKS = 16, 16384 + 16, 2**38  # CHUNK as it stands in the file
SALT, HEAD = 24, 24 + 32
FIRST_LINE, MAX_ENVELOPE, UNIT = b"takumi-backup/v1\n", 65536, 4096

WORD = rb"[a-z][a-z0-9-]{0,31}"
PREAMBLE = (
    rb"(?P<preamble>" + FIRST_LINE +
    rb"id (?P<id>[0-9a-f]{32})\n"
    rb"created (?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>[0-9]{2})"
    rb"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z\n"
    rb"kind " + WORD + rb"\n"
    rb"name (?P<name>(?:[A-Za-z0-9._~-]|%[0-9A-F]{2}){1,255})\n"
    rb"codec (?:none|gzip|zstd)\n)"
)
# A slot has at most 16384 bytes. Type key has exactly these arguments, and the
# unused bits of its base64 are zero.
SLOT = (
    rb"(?=[^\n]{1,16383}\n)slot (?:key [0-9a-f]{16} [A-Za-z0-9+/]{138}[AEIMQUYcgkosw048]="
    rb"|(?!key )" + WORD + rb"(?: [!-~]+)+)\n"
)
ENVELOPE = re.compile(
    rb"(?P<covered>" + PREAMBLE + rb"(?P<slots>(?:" + SLOT + rb"){1,32})pad [.]+\n)"
    rb"auth (?P<auth>[A-Za-z0-9+/]{96})\n---\n"
)


class Refused(Exception):
    """kind is the class of the error, as docs/FORMAT.md lists them."""

    def __init__(self, kind, why):
        super().__init__(f"{kind}: {why}")
        self.kind = kind


class Message:
    """One Cobblestone-256 message: what its head and the key derive."""

    def __init__(self, key, context, head):
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + head[:SALT] + context
        first = hmac.digest(key, info + b"\1", "sha512")  # HKDF-Expand: 64 + 64 bytes, of which 76 are used
        derived = first + hmac.digest(key, first + info + b"\2", "sha512")
        self.gcm, self.base_iv = AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big")
        self.fits = hmac.compare_digest(derived[44:76], head[SALT:HEAD])

    def chunk(self, number, sealed):
        """The chunk's plaintext, or None if it does not verify."""
        try:
            return self.gcm.decrypt((self.base_iv ^ number).to_bytes(12, "big"), sealed, None)
        except InvalidTag:
            return None


def open_small(key, context, sealed):
    """The plaintext of a message that is one chunk, or None."""
    message = Message(key, context, sealed)
    return message.chunk(0, sealed[HEAD:]) if message.fits else None


def read_key(path):
    with open(path, "rb") as file:
        text = file.read(512).removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    if not re.fullmatch(rb"[0-9A-Fa-f]{64}", text):
        raise Refused("bad-key-file", f"{path} does not hold 64 hex digits and nothing else")
    return bytes.fromhex(text.decode())


def read_data_key(path):
    """What a slot that is not for a key holds: id and data key, or the data key alone."""
    with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
        held = file.read(49)
    if len(held) not in (32, 48):
        raise Refused("bad-key-file", f"{path} does not hold the 48 bytes of an id and a data key, nor the 32 of a data key")
    return DataKey(held)


class DataKey(bytes):
    """Not a key that opens slots, but what one holds."""


LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
WRITTEN = re.compile(
    rf"(?P<labels>TAKUM1BACKUP(?:KEY|SHARE)V1\n"
    rf"(?:1SET(?P<set>[{LETTERS}]{{8}})SHARE[0-9]{{1,3}}0F(?P<of>[0-9]{{1,3}})NEED(?P<need>[0-9]{{1,3}})\n)?"
    rf"[12]KEY(?P<id>[0-9A-F]{{16}})\n)"
    rf"(?P<data>(?:[2-6][{LETTERS}]{{16}}\n){{4}})")


def read_written(path):
    """Section "The written form of a key" of docs/FORMAT.md: a key, or shares of one."""
    with open(path, "rb") as file:
        text = file.read(2**20).decode("utf-8", "replace")
    text = re.sub("[^\\S\n]|[\u2010-\u2015\u2212\ufeff-]", "", text.replace("/", "\n"))
    lines = re.findall("[^\n]+", text.encode("ascii", "replace").decode().upper().translate(str.maketrans("OIL", "011")))
    sets, payloads = set(), []
    for start, title in enumerate(lines):
        if title not in ("TAKUM1BACKUPKEYV1", "TAKUM1BACKUPSHAREV1"):
            continue
        share, block = "SHARE" in title, [title]
        for number in range(1, 6 + share):
            line = (lines + [""] * 6)[start + number]
            check = int.from_bytes(written_sum("line", "\n".join(block[:2] + [line[:-4]]).encode())[:5], "big")
            if line[:1] != str(number) or line[-4:] != "".join(LETTERS[check >> bit & 31] for bit in (35, 30, 25, 20)):
                raise Refused("bad-key-file", f"{path}: key or share {len(payloads) + 1}, line {number} is mistyped or missing")
            block.append(line[:-4])
        form = WRITTEN.fullmatch("\n".join(block) + "\n")
        data = 0
        for letter in re.sub("(?m)^.|\n", "", form["data"]) if form else "":
            data = data << 5 | LETTERS.index(letter)
        payload, check = data.to_bytes(40, "big")[:32 + share], data.to_bytes(40, "big")[32 + share:]
        if not form or not written_sum("block", form["labels"].encode() + payload).startswith(check):
            raise Refused("bad-key-file", f"{path}: key or share {len(payloads) + 1} does not fit its checksum")
        sets.add(form.group("set", "of", "need", "id"))
        payloads.append(payload)
    if len(sets) != 1 or len(payloads) < int(form["need"] or 1):
        raise Refused("bad-key-file", f"{path} holds neither a key nor enough shares of one set")
    key = combine(payloads) if form["set"] else payloads[0]
    if hmac.digest(key, b"takumi-backup/v1 key id", "sha256")[:8].hex() != form["id"].lower():
        raise Refused("bad-key-file", f"{path} does not hold the key that it names")
    return key


def written_sum(what, message):
    return hashlib.sha256(f"takumi-backup/v1 written {what}\0".encode() + message).digest()


def combine(shares):
    """Shamir's polynomials at 0. The last byte of a share is its x."""
    key = bytes(32)
    if len({share[32] for share in shares}) < len(shares):
        raise Refused("bad-key-file", "one share is there twice")
    for share in shares:
        weight = 1
        for other in shares:
            if other[32] != share[32]:
                weight = times(weight, times(other[32], inverse(other[32] ^ share[32])))
        key = bytes(k ^ times(y, weight) for k, y in zip(key, share))
    return key


def times(a, b):
    """The product in GF(2^8)."""
    product = 0
    for bit in range(8):
        product ^= a * (b >> bit & 1)
        a = a << 1 ^ (a >> 7) * 0x11B
    return product


def inverse(a):
    return next(b for b in range(1, 256) if times(a, b) == 1)


def read_envelope(src):
    """The envelope as a match of its grammar. Nothing after it is read."""
    text = src.readline(35)
    if re.fullmatch(rb"takumi-backup/v[0-9]+\n", text) and text != FIRST_LINE:
        raise Refused("newer", "another version of the format made it")
    if text == b"" or not FIRST_LINE.startswith(text):
        raise Refused("not-sealed", "it does not begin as a sealed backup")
    while not text.endswith(b"\n---\n"):
        if len(text) == MAX_ENVELOPE:
            raise Refused("malformed", "the envelope has no end")
        line = src.readline(MAX_ENVELOPE - len(text))
        if line == b"":
            raise Refused("truncated", "it ends inside its envelope")
        text += line
    envelope = ENVELOPE.fullmatch(text)
    if not envelope or len(text) % UNIT:
        raise Refused("malformed", "the envelope departs from the grammar or its limits")
    check_label(envelope)
    return envelope


def check_label(envelope):
    """What the grammar leaves open in a preamble."""
    if not 1 <= int(envelope["day"]) <= calendar.monthrange(int(envelope["year"]), int(envelope["month"]))[1]:
        raise Refused("malformed", "the envelope names a day that does not exist")
    raw = unquote_to_bytes(envelope["name"])
    name = raw.decode("utf-8", "replace")
    if (name.encode() != raw or quote_from_bytes(raw, "").encode() != envelope["name"]
            or name in (".", "..") or re.search("[/\0-\x1f\x7f-\x9f]", name)):
        raise Refused("malformed", "the name in the envelope is not a good one")


def salvage(text):
    """Section "Rescue": what is good of a damaged envelope, or None. text ends where one must."""
    envelope = re.compile(PREAMBLE).match(text)
    if not envelope:
        return None
    try:
        check_label(envelope)
    except Refused:
        return None
    slots = re.findall(rb"(?=(" + SLOT + rb"))", text[envelope.end():])[:32]
    return {"preamble": envelope["preamble"], "id": envelope["id"], "slots": b"".join(slots), "covered": b"", "auth": b""}


def find_data_key(envelope, keys, heads, rescue):
    """Section "Opening" of docs/FORMAT.md: the data key, and where the payload begins."""
    unwrapped = [key for key in keys if isinstance(key, DataKey)]
    keys = [key for key in keys if key not in unwrapped]
    ids = [hmac.digest(key, b"takumi-backup/v1 key id", "sha256")[:8].hex().encode() for key in keys]
    for held in unwrapped:
        if held[:-32] not in (b"", bytes.fromhex(envelope["id"].decode())):
            raise Refused("wrong-key", f"the data key is that of the backup {held[:-32].hex()}, and this is {envelope['id'].decode()}")
    slots = re.findall(rb"slot key (\S+) (\S+)\n", envelope["slots"])
    pairs = [(slot_id == key_id, wrap, key) for slot_id, wrap in slots for key_id, key in zip(ids, keys)]
    pairs += [(True, None, held[-32:]) for held in unwrapped]
    fault = None
    for named, wrap, key in sorted(pairs, key=lambda pair: not pair[0]):  # named first, else in file order
        context = b"takumi-backup/v1 slot key\0" + bytes.fromhex(envelope["id"].decode())
        data_key = open_small(key, context, base64.b64decode(wrap)) if wrap else key
        if data_key is None:
            if named:
                fault = fault or Refused("damaged", "the slot of the offered key does not open")
            continue
        start = next((at for at, head in heads.items() if Message(data_key, envelope["preamble"], head).fits), None)
        if start is None:
            fault = Refused("damaged", "the preamble, a slot or the head of the payload was changed, or the data key is another's")
        else:
            context = b"takumi-backup/v1 envelope\0" + envelope["covered"]
            auth = base64.b64decode(envelope["auth"])
            if not named or not auth or open_small(data_key, context, auth) != b"":
                fault = Refused("altered", "the envelope was altered; the payload is not affected")
                if not rescue:
                    raise fault
                warn(fault)
            return data_key, start
    wanted = b", ".join(re.findall(rb"slot ((?:key )?\S+)", envelope["slots"]))
    raise fault or Refused("wrong-key", f"offered {b', '.join(ids).decode()}, and it is sealed for {wanted.decode()}")


def recover(src, keys, beside=b"", rescue=False):
    """Yield the packed stream, a verified chunk at a time. beside is the text of a detached envelope."""
    detached = None
    try:
        detached = read_envelope(io.BytesIO(beside)) if beside else None
    except Refused as fault:
        warn(f"the envelope beside it is passed over: {fault}")
    front, own, torn = src.read(MAX_ENVELOPE + HEAD), None, None
    saved, other = (salvage(text[:MAX_ENVELOPE]) if rescue else None for text in (front, beside))
    try:
        own = read_envelope(io.BytesIO(front))
    except Refused as fault:
        if not (detached or saved or other):
            raise
        torn = fault  # perhaps by a rewrap that was interrupted: then the one beside it is as long
    starts = [e.end() for e in (own or detached,) if e] + [*range(UNIT, MAX_ENVELOPE + 1, UNIT)] * rescue
    heads = {at: front[at:at + HEAD] for at in starts if at + HEAD <= len(front)}
    if starts[0] not in heads:
        raise torn or Refused("truncated", "it ends inside the head of its payload")
    # A detached envelope of another preamble is another backup's; in a rescue the payload is asked.
    fits = detached and (not own or own["preamble"] == detached["preamble"])
    ways = [(e, False) for e in (detached if fits else None, own) if e]
    ways += [(e, True) for e in (other, saved) if e]
    data_key = why = None
    for envelope, rescuing in ways:  # what needs no rescue comes first
        try:
            data_key, offset = find_data_key(envelope, keys, heads, rescuing)
            break
        except Refused as fault:
            if envelope not in (own, saved):
                warn(f"the envelope beside it is passed over: {fault}")
            else:
                why = why or fault
    if not data_key:
        raise torn or why
    payload = Message(data_key, envelope["preamble"], heads[offset])
    warn_of_chain(envelope)
    rest, offset = front[offset + HEAD:], offset + HEAD
    for number in range(MAX_CHUNKS):
        sealed, rest = rest[:CHUNK], rest[CHUNK:]
        if len(sealed) < CHUNK:
            sealed += src.read(CHUNK - len(sealed))
        if len(sealed) < TAG:
            raise Refused("truncated", f"it ends before its final chunk, in or before chunk {number}")
        plain = payload.chunk(number, sealed)
        if plain is None:
            for size in range(TAG, len(sealed)):
                if payload.chunk(number, sealed[:size]) is not None:
                    raise Refused("trailing", f"the backup ends at byte {offset + size}, and something follows it")
            raise Refused("damaged", f"chunk {number} (at byte {offset}) does not verify")
        yield plain
        if len(sealed) < CHUNK:  # as the final chunk is, and no other
            return
        offset += CHUNK
    raise Refused("damaged", "it has more chunks than a backup can have")


def warn_of_chain(envelope):
    """This program knows nothing of the other archives: what it gives is a part of a tree."""
    if b"\nkind uploads-increment\n" in envelope["preamble"]:
        warn("the backup is an increment: its archive has only what changed. Unpack the archives of its chain "
             "one over the other, from -0 to this one (docs/FORMAT.md, Chains); what was deleted is then still there")


def warn(what):
    print(f"recover.py: warning: {what}", file=sys.stderr)


def main(args):
    rescue, read = "--rescue" in args, read_written if "--written" in args else read_key
    args = [arg for arg in args if arg not in ("--rescue", "--written")]
    unwrapped = []
    while "--data-key-from" in args[:-1]:
        at = args.index("--data-key-from")
        unwrapped.append(args[at + 1])
        del args[at:at + 2]
    *key_files, path = args or [""]
    if not key_files + unwrapped or unwrapped.count("-") + (path == "-") > 1 or path == "--data-key-from" or sys.stdout.isatty():
        print(__doc__, "\nrecover.py: give KEYFILE and BACKUP, and send the output to a pipe or a file", file=sys.stderr)
        return 64
    try:
        keys, beside = [*map(read, key_files), *map(read_data_key, unwrapped)], b""
        if path != "-" and os.path.exists(path + ".envelope"):
            with open(path + ".envelope", "rb") as src:
                beside = src.read(MAX_ENVELOPE + 1)
        with sys.stdin.buffer if path == "-" else open(path, "rb") as src:
            try:
                for plain in recover(src, keys, beside, rescue):
                    sys.stdout.buffer.write(plain)
            finally:
                sys.stdout.buffer.flush()
    except (Refused, OSError) as fault:
        print(f"recover.py: {path}: {fault}", file=sys.stderr, flush=True)
        # Not sys.exit, which would try once more to write to an output that is full or gone.
        os._exit(EXIT.get(fault.kind, 5) if isinstance(fault, Refused) else 1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
