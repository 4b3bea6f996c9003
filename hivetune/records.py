"""The records that travel: releases and receipts, frozen, strict, with canonical bytes and a digest.

A record is read from strangers' bytes by `parse`, which refuses unknown fields, wrong types, non-finite numbers and
every form but the canonical one. Errors are few and hold no copies of the bytes: a kilobyte for each of a million
bad items would stop the reader.
"""

import hashlib
import json
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, FiniteFloat, Strict, ValidationError
from pydantic_core import from_json

from hivetune.commitments import is_repo
from hivetune.errors import RetryableError
from hivetune.printable import printable


def _checked_repo(repo: str) -> str:
    if not is_repo(repo):
        raise ValueError("want owner/name of letters, digits, '.', '_', '-', without '..'")
    return repo


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Repo = Annotated[str, AfterValidator(_checked_repo)]
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
FileName = Annotated[str, Field(pattern=rf"^({_NAME}/)*{_NAME}$", max_length=200)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Item = TypeVar("Item")
Items = Annotated[tuple[Item, ...], FailFast(), Strict(False)]  # not strict, so that JSON's lists are taken
Verdict = Literal["paid", "unpaid", "rejected"]
MergeMethod = Literal["uniform", "momentum"]


class BadRecord(RetryableError):  # noqa: N818 - says what the bytes are
    """Bytes that are no valid record; a later pointer may lead to a good one."""


def receipt_path(round_id: int) -> str:
    """Where a validator's repository keeps a round's receipt."""
    return f"receipts/round-{round_id:06d}.json"


def outcome_path(round_id: int) -> str:
    """Where the release repository keeps a round's outcome."""
    return f"rounds/round-{round_id:06d}.json"


class Record(BaseModel):
    """A frozen value with one byte form: JSON with sorted keys and no spaces."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def to_bytes(self) -> bytes:
        """Canonical bytes: equal records have equal bytes."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The record in a stranger's bytes; BadRecord says what is wrong with them."""
        try:
            # Unknown fields are dropped here, without an error for each, and are then missing from the canonical bytes.
            record = cls.model_validate(from_json(data, allow_inf_nan=False), extra="ignore")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadRecord(f"{cls.__name__}: {printable(where)}: {printable(first['msg'])}") from None
        except ValueError as error:
            raise BadRecord(f"{cls.__name__}: not JSON: {printable(str(error))}") from None
        if record.to_bytes() != data:
            raise BadRecord(f"{cls.__name__}: unknown or repeated fields, or another form than the canonical one")
        return record


class FileEntry(Record):
    """One pinned file of a repository."""

    path: FileName
    size: Count  # bytes
    sha256: Sha256


class Target(Record):
    """One adapted linear layer."""

    module: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,200}$")]
    out_features: Positive
    in_features: Positive
    transposed: bool  # the stored weight is [I, O], as in GPT-2's Conv1D


class AdapterLayout(Record):
    """The one adapter shape of a release: every submission has exactly these tensors, so its size is known."""

    rank: Positive
    alpha: Annotated[FiniteFloat, Field(gt=0)]
    rslora: bool  # scale = alpha / sqrt(rank) instead of alpha / rank
    targets: Annotated[Items[Target], Field(min_length=1)]

    @property
    def scale(self) -> float:
        """The factor s of W0 + s * B @ A."""
        return float(self.alpha / (self.rank**0.5 if self.rslora else self.rank))


class DataManifest(Record):
    """The pinned text of a release."""

    repo: Repo
    revision: Revision
    train: FileEntry
    evaluation: FileEntry
    test: FileEntry
    num_shards: Positive
    sequence_length: Annotated[int, Field(ge=8)]  # tokens


class RoundPlan(Record):
    """When things happen, in blocks; offsets count from a round's first block."""

    first_block: Count  # of round 0
    blocks_per_round: Positive
    deadline: Positive  # last block in which a commitment counts
    reveal_end: Positive  # files must be on the Hub by this block
    score_end: Positive  # weights must stand on the chain by this block; the merge reads them here


class ScoringPlan(Record):
    """What validators and the averager measure, and the limits they hold submissions to."""

    score_sequences: Positive
    select_sequences: Positive
    accept_sequences: Positive
    batch_sequences: Positive
    confidence: Annotated[FiniteFloat, Field(gt=0.5, lt=1)]  # of every two-sided interval
    min_relative_norm: Annotated[FiniteFloat, Field(ge=0)]  # of a delta, against the norm of the adapted weights
    max_relative_norm: Annotated[FiniteFloat, Field(gt=0)]
    max_norm_ratio: Annotated[FiniteFloat, Field(gt=1)]  # against the norms of the others in the round
    gate_passes: Positive
    max_completeness_error: Annotated[FiniteFloat, Field(gt=0)]
    pay_rounds: Positive  # over which shares are averaged, this round included


class MergePlan(Record):
    """How the averager merges what was approved: uniformly, and with what else."""

    scales: Annotated[Items[Annotated[FiniteFloat, Field(gt=0)]], Field(min_length=1)]  # tried for lambda, ascending
    momenta: Items[Annotated[FiniteFloat, Field(gt=0, lt=1)]]  # tried for the last step, ascending; none: no momentum

    @property
    def method(self) -> MergeMethod:
        """Its name in reports."""
        return "momentum" if self.momenta else "uniform"


class Contribution(Record):
    """One submission's part in a release."""

    hotkey: str
    repo: Repo
    revision: Revision
    file_sha256: Sha256
    coefficient: FiniteFloat  # of its delta in the merge, the clip included


class MergeReport(Record):
    """How a release was made from its parent, and what it gained on text drawn by the round's beacon."""

    round_id: Count
    beacon: str  # hash of the first block after the round's deadline
    method: MergeMethod
    scale: FiniteFloat  # lambda of the line search
    momentum: FiniteFloat  # mu: how much of the step from the release before is repeated
    clip: FiniteFloat  # Frobenius norm to which deltas were clipped
    contributions: Items[Contribution]
    loss_before: FiniteFloat  # nats per token on the acceptance text
    loss_after: FiniteFloat
    improvement: FiniteFloat
    lower: FiniteFloat
    upper: FiniteFloat


class Parent(Record):
    """The release before this one."""

    manifest_sha256: Sha256
    repo: Repo
    revision: Revision


class Release(Record):
    """The manifest that every node agrees on: base, adapter layout, data, rounds, scoring, merging."""

    protocol: Literal[1]
    number: Count
    code_version: str
    parent: Parent | None  # None for release 0 alone
    files: Items[FileEntry]  # of the base, in the manifest's own revision
    layout: AdapterLayout
    data: DataManifest
    rounds: RoundPlan
    scoring: ScoringPlan
    merging: MergePlan
    merge: MergeReport | None  # None for release 0 alone


class MergeOutcome(Record):
    """What the averager did in a round, published beside the releases whether or not it made one."""

    round_id: Count
    published: bool
    reason: str  # why there is no release; "" when there is one
    report: MergeReport | None  # None when there was nothing to merge


class Entry(Record):
    """What one validator found of one submission."""

    hotkey: str
    uid: Count
    registered_at: Count  # block; a hotkey that registers anew starts anew
    shard: Count
    verdict: Verdict
    reason: str  # a stable word; "" for paid
    detail: str
    repo: str
    revision: str  # "" when no file was found
    file_sha256: str
    improvement: FiniteFloat | None  # solo, nats per token; None when never measured
    improvement_lower: FiniteFloat | None
    improvement_upper: FiniteFloat | None
    credit: FiniteFloat | None  # share of the merge's gain, nats per token; None when never in a merge
    lower: FiniteFloat | None
    upper: FiniteFloat | None
    norm: FiniteFloat | None  # of the delta, relative to the adapted weights
    merged: bool  # in the final merge, whose credits add up
    share: Share  # of this round's credit; those of the paid sum to one
    weight: Share  # shares averaged over rounds; of all weights, which sum to one or zero
    batch_nats: Items[FiniteFloat]  # solo losses, batch by batch
    credit_nats: Items[FiniteFloat]  # credits in the last merge that it was in, batch by batch


class Receipt(Record):
    """One validator's account of one round, enough to repeat it."""

    protocol: Literal[1]
    round_id: Count
    validator: str
    previous: Sha256 | None  # digest of this validator's receipt before
    release_sha256: Sha256
    beacon: str
    sequence_ids: Items[Count]  # rows of the evaluation split
    batch_tokens: Items[Positive]
    base_batch_nats: Items[FiniteFloat]
    base_loss: FiniteFloat
    merged_loss: FiniteFloat | None  # of the uniform merge of what is paid; None when nothing is
    completeness_error: FiniteFloat | None  # (sum of credits) / (base_loss - merged_loss) - 1
    nodes: Count  # of the credits' quadrature; 0 when there was nothing to merge
    clip: Annotated[
        FiniteFloat, Field(ge=0)
    ]  # Frobenius norm to which the final merge's deltas were clipped; 0 when there was none
    replicate_spread: FiniteFloat  # nats per token by which one loss differs when measured in another arrangement
    missing_earlier: Items[Sha256]  # files of earlier rounds that could not be had, so no copies of them were found
    entries: Items[Entry]
