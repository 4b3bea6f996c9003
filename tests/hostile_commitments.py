"""The corpus of hostile commitments: a name, the reason it is refused for, the bytes and the block they stand in."""

from dataclasses import dataclass, replace

from hivetune.commitments import ReceiptPointer, ReleasePointer, SubmissionPointer, pack
from hivetune.rounds import round_by_id
from tests.conftest import make_plan

NOW = round_by_id(make_plan(), 2)
RELEASE = "ab" * 32
GOOD = SubmissionPointer(round_id=2, release_prefix=RELEASE[:16], file_sha256="cd" * 32, repo="alice/adapters")
FIELDS = pack(GOOD).removesuffix(b"alice/adapters")


@dataclass(frozen=True)
class HostileCommitment:
    name: str
    reason: str
    data: bytes
    block: int = NOW.first_block


def bad(name: str, data: bytes) -> HostileCommitment:
    return HostileCommitment(name, "bad_commitment", data)


def to_repo(name: str, repo: bytes) -> HostileCommitment:
    return bad(f"to {name}", FIELDS + repo)


def elsewhere(name: str, reason: str, block: int = NOW.first_block, **fields: object) -> HostileCommitment:
    return HostileCommitment(name, reason, pack(replace(GOOD, **fields)), block)  # type: ignore[arg-type]


COMMITMENTS = (
    bad("nothing", b""),
    bad("one byte", b"H"),
    bad("a magic word alone", b"HT"),
    bad("a head alone", b"HT\x01\x01"),
    bad("zeros", bytes(128)),
    bad("ones", b"\xff" * 128),
    bad("129 bytes", FIELDS + b"a/" + b"b" * (127 - len(FIELDS))),
    bad("a megabyte", FIELDS + b"a/b" * (1 << 18)),
    bad("JSON", b'{"round": 2, "repo": "alice/adapters"}'),
    bad("text of another network", b"alice:adapters:" + b"a" * 40 + b":hash:2"),
    bad("a pickle", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n."),
    bad("UTF-16", "HT\x01\x01alice/adapters".encode("utf-16")),
    bad("another magic word", b"TH" + pack(GOOD)[2:]),
    bad("protocol 0", b"HT\x00" + pack(GOOD)[3:]),
    bad("protocol 2", b"HT\x02" + pack(GOOD)[3:]),
    bad("kind 0", b"HT\x01\x00" + pack(GOOD)[4:]),
    bad("kind 4", b"HT\x01\x04" + pack(GOOD)[4:]),
    bad("kind 255", b"HT\x01\xff" + pack(GOOD)[4:]),
    bad("one byte before the head", b"\0" + pack(GOOD)),
    bad("cut in its fields", pack(GOOD)[:40]),
    bad("cut before its repository", FIELDS),
    bad("a release", pack(ReleasePointer(number=2, manifest_sha256=RELEASE, revision="a" * 40, repo="a/b"))),
    bad("a receipt", pack(ReceiptPointer(round_id=2, receipt_sha256=RELEASE, revision="a" * 40, repo="a/b"))),
    to_repo("no owner", b"/adapters"),
    to_repo("no name", b"alice/"),
    to_repo("no slash", b"alice"),
    to_repo("two slashes", b"alice/adapters/x"),
    to_repo("the folder above", b"../adapters"),
    to_repo("a name with dots", b"alice/.."),
    to_repo("a path of Windows", b"alice\\adapters/x"),
    to_repo("a URL", b"http://evil.example/x"),
    to_repo("a query", b"alice/adapters?revision=main"),
    to_repo("a fragment", b"alice/adapters#x"),
    to_repo("a percent sign", b"alice/%2e%2e"),
    to_repo("a blank", b"alice/ad apters"),
    to_repo("a line break", b"alice/adapters\n"),
    to_repo("a NUL at the end", b"alice/adapters\0"),
    to_repo("escape sequences", b"alice/\x1b[2J"),
    to_repo("a Cyrillic letter", "\u0430lice/adapters".encode()),
    to_repo("bytes that are no text", b"\xed\xa0\x80/\xff"),
    to_repo("a long name", b"a/" + b"b" * (128 - len(FIELDS) - 2) + b"b"),
    elsewhere("the round before", "wrong_round", round_id=1),
    elsewhere("the round after", "wrong_round", round_id=3),
    elsewhere("the last round there can be", "wrong_round", round_id=2**32 - 1),
    elsewhere("another release", "wrong_release", release_prefix="ba" * 8),
    elsewhere("no release", "wrong_release", release_prefix="00" * 8),
    elsewhere("a block too early", "too_early", NOW.first_block - 1),
    elsewhere("a block too late", "late", NOW.deadline + 1),
    elsewhere("in the beacon's block", "late", NOW.beacon_block),
)
