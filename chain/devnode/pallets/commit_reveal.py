"""Commit-reveal: weights are committed by their hash and shown some epochs later, so that nobody can copy them."""

from functools import partial

from chain.devnode.pallet import Context, Origin, State, blake256, rules_of
from chain.devnode.pallets import subtensor as s
from chain.devnode.pallets.batch import run_batch
from chain.devnode.pallets.schedule import epoch_now, epoch_of
from chain.devnode.pallets.subtensor import SUBTENSOR
from chain.devnode.pallets.weights import ensure_mechanism, mark_update, may_update, store_weights
from chain.devnode.rules import NEW
from chain.devnode.scale import ACCOUNT, H256, U8, U16, U64, Compact, Tuple, Vec

MAX_UNREVEALED = 10

# (hash, commit block, first and last block to reveal in), by the new rules (hash, commit epoch, commit block, 0).
Commit = tuple[bytes, int, int, int]

_HASHED = Tuple((ACCOUNT, U16, Vec(U16), Vec(U16), Vec(U16), U64))


def commit_hash(
    hotkey: bytes, netuid: int, uids: list[int], values: list[int], salt: list[int], version_key: int
) -> bytes:
    return blake256(_HASHED.encode((hotkey, netuid, uids, values, salt, version_key)))


def check_commit(context: Context, netuid: int, hotkey: bytes, version: int | None = None) -> int:
    """The checks of every kind of commit, up to the rate limit; the committer's uid."""
    state = context.state
    SUBTENSOR.ensure(s.COMMIT_REVEAL_ON.get(state, netuid), "CommitRevealDisabled")
    wanted = s.COMMIT_REVEAL_VERSION.get(state)
    SUBTENSOR.ensure(version is None or version == wanted, "IncorrectCommitRevealVersion")
    SUBTENSOR.ensure(s.UIDS.has(state, netuid, hotkey), "HotKeyNotRegisteredInSubNet")
    uid = int(s.UIDS.get(state, netuid, hotkey))
    SUBTENSOR.ensure(may_update(state, netuid, uid, context.block), "CommittingWeightsTooFast")
    return uid


def commit_epoch(state: State, netuid: int, commit: Commit) -> int:
    return commit[1] if rules_of(state).stateful_epochs else epoch_of(state, netuid, commit[1])


def is_expired(state: State, netuid: int, block: int, epoch: int) -> bool:
    return epoch_now(state, netuid, block) > epoch + int(s.REVEAL_PERIOD.get(state, netuid))


def can_reveal(state: State, netuid: int, block: int, commit: Commit) -> bool:
    """Only in the one epoch that comes the reveal period after that of the commit."""
    due = commit_epoch(state, netuid, commit) + int(s.REVEAL_PERIOD.get(state, netuid))
    return epoch_now(state, netuid, block) == due


def commits_of(state: State, netuid: int, hotkey: bytes) -> list[Commit]:
    return [tuple(commit) for commit in s.WEIGHT_COMMITS.get(state, netuid, hotkey) or []]


def _split_expired(context: Context, netuid: int, commits: list[Commit]) -> tuple[set[bytes], list[Commit]]:
    """Hashes of the expired ones at the front, and the rest."""
    state, block = context.state, context.block
    expired = 0
    while expired < len(commits) and is_expired(state, netuid, block, commit_epoch(state, netuid, commits[expired])):
        expired += 1
    return {commit[0] for commit in commits[:expired]}, commits[expired:]


def _reveal_blocks(state: State, netuid: int, block: int) -> tuple[int, int]:
    tempo = int(s.TEMPO.get(state, netuid))
    epoch = epoch_of(state, netuid, block) + int(s.REVEAL_PERIOD.get(state, netuid))
    first = max(0, epoch * (tempo + 1) - (netuid + 1))
    return first, first + tempo


def _commit(context: Context, hotkey: bytes, netuid: int, digest: bytes, mecid: int = 0) -> None:
    state, block = context.state, context.block
    if context.rules.stateful_epochs:
        ensure_mechanism(context, netuid, mecid)
    uid = check_commit(context, netuid, hotkey)
    _, commits = _split_expired(context, netuid, commits_of(state, netuid, hotkey))
    SUBTENSOR.ensure(len(commits) < MAX_UNREVEALED, "TooManyUnrevealedCommits")
    if context.rules.stateful_epochs:
        commit = (digest, epoch_now(state, netuid, block), block, 0)
    else:
        commit = (digest, block, *_reveal_blocks(state, netuid, block))
    s.WEIGHT_COMMITS.put(state, netuid, hotkey, [*commits, commit])
    context.emit(SUBTENSOR, "WeightsCommitted", hotkey, netuid, digest)
    mark_update(context, netuid, uid)


@SUBTENSOR.call(96, netuid=U16, commit_hash=H256)
def commit_weights(context: Context, origin: Origin, netuid: int, commit_hash: bytes) -> None:
    _commit(context, origin.signed(), netuid, commit_hash)


@SUBTENSOR.call(115, NEW, netuid=U16, mecid=U8, commit_hash=H256)
def commit_mechanism_weights(context: Context, origin: Origin, netuid: int, mecid: int, commit_hash: bytes) -> None:
    _commit(context, origin.signed(), netuid, commit_hash, mecid)


@SUBTENSOR.call(100, netuids=Vec(Compact(U16)), commit_hashes=Vec(H256))
def batch_commit_weights(context: Context, origin: Origin, netuids: list[int], commit_hashes: list[bytes]) -> None:
    hotkey = origin.signed()
    SUBTENSOR.ensure(len(netuids) == len(commit_hashes), "InputLengthsUnequal")
    given = zip(netuids, commit_hashes, strict=True)
    run_batch(context, hotkey, netuids, [partial(_commit, context, hotkey, *item) for item in given])


def _open(context: Context, netuid: int, hotkey: bytes, mecid: int = 0) -> tuple[set[bytes], list[Commit]]:
    SUBTENSOR.ensure(s.COMMIT_REVEAL_ON.get(context.state, netuid), "CommitRevealDisabled")
    found = mecid == 0 and s.WEIGHT_COMMITS.has(context.state, netuid, hotkey)
    SUBTENSOR.ensure(found, "NoWeightsCommitFound")
    return _split_expired(context, netuid, commits_of(context.state, netuid, hotkey))


def _find(expired: set[bytes], commits: list[Commit], digest: bytes, none_left: str) -> int:
    """Place of the commit with a hash; the pallet's error when there is none."""
    place = next((index for index, commit in enumerate(commits) if commit[0] == digest), None)
    if place is None:
        name = "InvalidRevealCommitHashNotMatch" if commits else none_left
        raise SUBTENSOR.fail("ExpiredWeightCommit" if digest in expired else name)
    return place


def _keep(state: State, netuid: int, hotkey: bytes, commits: list[Commit]) -> None:
    if commits:
        s.WEIGHT_COMMITS.put(state, netuid, hotkey, commits)
    else:
        s.WEIGHT_COMMITS.remove(state, netuid, hotkey)


def _reveal(
    context: Context,
    hotkey: bytes,
    netuid: int,
    uids: list[int],
    values: list[int],
    salt: list[int],
    version_key: int,
    mecid: int = 0,
) -> None:
    expired, commits = _open(context, netuid, hotkey, mecid)
    digest = commit_hash(hotkey, netuid, uids, values, salt, version_key)
    place = _find(expired, commits, digest, "NoWeightsCommitFound")
    SUBTENSOR.ensure(can_reveal(context.state, netuid, context.block, commits[place]), "RevealTooEarly")
    _keep(context.state, netuid, hotkey, commits[place + 1 :])  # older ones are skipped for good
    store_weights(context, hotkey, netuid, uids, values, version_key, mecid)
    context.emit(SUBTENSOR, "WeightsRevealed", hotkey, netuid, digest)


_REVEALED = {"uids": Vec(U16), "values": Vec(U16), "salt": Vec(U16), "version_key": U64}


@SUBTENSOR.call(97, netuid=U16, **_REVEALED)
def reveal_weights(
    context: Context,
    origin: Origin,
    netuid: int,
    uids: list[int],
    values: list[int],
    salt: list[int],
    version_key: int,
) -> None:
    _reveal(context, origin.signed(), netuid, uids, values, salt, version_key)


@SUBTENSOR.call(116, NEW, netuid=U16, mecid=U8, **_REVEALED)
def reveal_mechanism_weights(
    context: Context,
    origin: Origin,
    netuid: int,
    mecid: int,
    uids: list[int],
    values: list[int],
    salt: list[int],
    version_key: int,
) -> None:
    _reveal(context, origin.signed(), netuid, uids, values, salt, version_key, mecid)


@SUBTENSOR.call(
    98,
    netuid=U16,
    uids_list=Vec(Vec(U16)),
    values_list=Vec(Vec(U16)),
    salts_list=Vec(Vec(U16)),
    version_keys=Vec(U64),
)
def batch_reveal_weights(
    context: Context,
    origin: Origin,
    netuid: int,
    uids_list: list[list[int]],
    values_list: list[list[int]],
    salts_list: list[list[int]],
    version_keys: list[int],
) -> None:
    """All or nothing: each is checked before the first one counts."""
    equal = len(uids_list) == len(values_list) == len(salts_list) == len(version_keys)
    SUBTENSOR.ensure(equal, "InputLengthsUnequal")
    hotkey = origin.signed()
    expired, commits = _open(context, netuid, hotkey)
    given = list(zip(uids_list, values_list, salts_list, version_keys, strict=True))
    digests = [commit_hash(hotkey, netuid, *item) for item in given]
    for digest in digests:
        place = _find(expired, commits, digest, "InvalidRevealCommitHashNotMatch")
        SUBTENSOR.ensure(can_reveal(context.state, netuid, context.block, commits[place]), "RevealTooEarly")
    for digest, (uids, values, _, version_key) in zip(digests, given, strict=True):
        commits.pop(_find(expired, commits, digest, "InvalidRevealCommitHashNotMatch"))
        store_weights(context, hotkey, netuid, uids, values, version_key)
    _keep(context.state, netuid, hotkey, commits)
    context.emit(SUBTENSOR, "WeightsBatchRevealed", hotkey, netuid, digests)
