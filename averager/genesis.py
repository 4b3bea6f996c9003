"""Release 0: a base and a corpus become two repositories and a manifest that the owner's hotkey points to."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from averager.release import list_files
from chain.ledger import Ledger
from hivetune.commitments import ReleasePointer, pack
from hivetune.corpus import read_split
from hivetune.errors import ConfigError
from hivetune.files import sha256_of
from hivetune.model import BaseModel, context_length, find_targets, load_base, save_base
from hivetune.records import AdapterLayout, DataManifest, FileEntry, MergePlan, Release, RoundPlan, ScoringPlan
from hivetune.releases import MANIFEST_NAME
from hivetune.rounds import check_plan
from hub.client import HubClient

DEFAULT_SCORING = ScoringPlan(
    score_sequences=64,
    select_sequences=24,
    accept_sequences=64,
    batch_sequences=4,
    confidence=0.95,
    min_relative_norm=1e-6,
    max_relative_norm=1.0,
    max_norm_ratio=5.0,
    gate_passes=6,
    max_completeness_error=0.05,
    pay_rounds=3,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenesisPlan:
    """What the owner decides for a new subnet."""

    repo: str  # of the releases
    data_repo: str
    rank: int
    alpha: float
    num_shards: int
    sequence_length: int
    rounds: RoundPlan
    scoring: ScoringPlan
    merging: MergePlan


def publish_genesis(
    hub: HubClient, ledger: Ledger, base_folder: Path, corpus_files: Mapping[str, Path], plan: GenesisPlan, work: Path
) -> Release:
    """Upload base and corpus, write release 0, point the chain at it; every limit is checked before any upload."""
    check_plan(plan.rounds)
    longest = context_length(base_folder)
    if longest is not None and plan.sequence_length > longest:
        raise ConfigError(f"sequences of {plan.sequence_length} tokens: {base_folder} takes {longest}")
    check_evaluation_text(corpus_files, plan.scoring)
    base = load_base(base_folder, dtype="auto")
    layout = AdapterLayout(rank=plan.rank, alpha=plan.alpha, rslora=False, targets=find_targets(base.model))
    files = _save(base, work)
    data = _publish_data(hub, corpus_files, plan)
    release = Release(
        protocol=1,
        number=0,
        code_version=importlib.metadata.version("hivetune"),
        parent=None,
        files=list_files(files),
        layout=layout,
        data=data,
        rounds=plan.rounds,
        scoring=plan.scoring,
        merging=plan.merging,
        merge=None,
    )
    hub.ensure_repo(plan.repo)
    contents: dict[str, Path | bytes] = {path.name: path for path in files}
    contents[MANIFEST_NAME] = release.to_bytes()
    revision = hub.publish(plan.repo, contents, message="Release 0")
    pointer = ReleasePointer(number=0, manifest_sha256=release.digest(), revision=revision, repo=plan.repo)
    ledger.set_commitment(pack(pointer))
    return release


def check_evaluation_text(corpus_files: Mapping[str, Path], scoring: ScoringPlan) -> None:
    """ConfigError unless one round's draws fit into the evaluation text."""
    rows = len(read_split(corpus_files["evaluation"]))
    drawn = scoring.score_sequences + scoring.select_sequences + scoring.accept_sequences
    if rows < drawn:
        raise ConfigError(
            f"the corpus gives {rows} evaluation rows, a round draws {drawn}: use more text or score fewer sequences"
        )


def _save(base: BaseModel, work: Path) -> list[Path]:
    """The base in the names that the model itself uses, so that merging finds every tensor."""
    work.mkdir(parents=True, exist_ok=True)
    save_base(base, work)
    return [path for path in work.iterdir() if path.is_file()]


def _publish_data(hub: HubClient, corpus_files: Mapping[str, Path], plan: GenesisPlan) -> DataManifest:
    hub.ensure_repo(plan.data_repo, kind="dataset")
    revision = hub.publish(
        plan.data_repo, {f"data/{path.name}": path for path in corpus_files.values()}, message="Corpus", kind="dataset"
    )
    entries = {
        split: FileEntry(path=f"data/{path.name}", size=path.stat().st_size, sha256=sha256_of(path))
        for split, path in corpus_files.items()
    }
    return DataManifest(
        repo=plan.data_repo,
        revision=revision,
        train=entries["train"],
        evaluation=entries["evaluation"],
        test=entries["test"],
        num_shards=plan.num_shards,
        sequence_length=plan.sequence_length,
    )
