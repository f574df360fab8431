"""The transparency log (TLG-1): its growth, signed checkpoints, and proofs for certificates and between checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from pikachu.auth.permissions import require_scope
from pikachu.ca.leadership import IsLeader
from pikachu.core.atomic_files import replace_file
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, MalformedRequest, PikachuError
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.log_interfaces import LogConsistency, LogState, PrunedEvents, TreeHead
from pikachu.core.model.certificates import CertificateRecord
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.operations.progress_log import ProgressLog
from pikachu.signers.checkpoint_signer import CheckpointSigner
from pikachu.transparency.checkpoints import Checkpoint, VerifierKey, decode_text, open_checkpoint
from pikachu.transparency.proofs import consistency_file, inclusion_file

log = Logger()

# Events and certificates per transaction, so that issuance waits for one no longer than for a signature.
_BATCH: Final = 500
# What is newer than the log is added before a checkpoint or a proof, up to so many transactions.
_CATCH_UP: Final = 20
# With more than these to add, the log is behind because of an earlier version.
_BACKLOG: Final = 10 * _BATCH
#: The name of the newest checkpoint in the folder.
_NEWEST: Final = "checkpoint.txt"
#: Bytes of a checkpoint, at most: it has five lines.
MAX_CHECKPOINT: Final = 4096


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """Where checkpoints are written, so that something else can take them away.

    :param folder: ``None`` for none.
    :param interval: seconds between two of them.
    """

    folder: Path | None
    interval: int


class TransparencyLog:
    """One append-only Merkle tree over all events and certificates.

    :param files: writes checkpoints into their folder.
    """

    def __init__(
        self, *, store: IStore, clock: IClock, files: IWorkerPool, is_leader: IsLeader, settings: CheckpointSettings
    ) -> None:
        self._store = store
        self._clock = clock
        self._files = files
        self._is_leader = is_leader
        self._settings = settings
        self._signer: CheckpointSigner | None = None
        self._progress = ProgressLog("Adding events and certificates to the transparency log", log)
        self._broken = ""
        # The last checkpoint in the folder: when it was written, and the size of the log.
        self._written: tuple[float, int] | None = None
        #: The state of the log at the last look.
        self.state: LogState | None = None

    @property
    def verifier(self) -> VerifierKey:
        """The public key of checkpoints.

        :raises SecretKeyChanged: when the key was sealed under another SECRET_KEY.
        """
        return self._checkpoint_signer().verifier

    def _checkpoint_signer(self) -> CheckpointSigner:
        if self._signer is None:
            self._signer = CheckpointSigner(self._store.checkpoint_key())
        return self._signer

    # --- growth -----------------------------------------------------------------------------

    @uncancelled
    async def step(self) -> None:
        """Add what is newer than the log, and write a checkpoint that is due.

        Logs failures, and leaves them to the next step.
        """
        if not self._is_leader():
            return
        try:
            await self._extend()
            await self._write_due()
        except Conflict as error:
            if error.public != self._broken:
                log.critical("The transparency log does not go on: {error}", error=error.public)
            self._broken = error.public
        except PikachuError as error:
            self._progress.failed(error)
        except OSError as error:
            log.error("The checkpoint can't be written: {error}", error=str(error))
            self._written = (self._clock.seconds(), 0)
        else:
            self._broken = ""
            self._progress.went_on()

    async def _extend(self) -> None:
        state = await self._store.log_state()
        if state.pending:
            state = await self._store.extend_log(_BATCH)
        if state.pending > _BACKLOG:
            total = state.size + state.pending
            self._progress.advanced(100 * state.size // total, total)
        self.state = state

    async def _write_due(self) -> None:
        folder, now = self._settings.folder, self._clock.seconds()
        if folder is None:
            return
        if self._written is not None and 0 <= now - self._written[0] < self._settings.interval:
            return
        checkpoint = await self._newest()
        if self._written is None or checkpoint.size != self._written[1]:
            name = f"checkpoint-{utc(now):%Y%m%dT%H%M%SZ}-{checkpoint.size}.txt"
            await self._files.run(_write, folder, name, checkpoint.note.encode())
        self._written = (now, checkpoint.size)

    async def _newest(self) -> Checkpoint:
        """Return a checkpoint that has what was committed before, unless there is a lot of it."""
        for _ in range(_CATCH_UP):
            state = await self._store.log_state()
            if not state.pending:
                break
            await self._store.extend_log(_BATCH)
        return self._sign(await self._store.log_head())

    def _sign(self, head: TreeHead) -> Checkpoint:
        signer = self._checkpoint_signer()
        return Checkpoint(signer.verifier.name, head.size, head.root, signer.note(head))

    # --- what can be kept elsewhere ---------------------------------------------------------

    @uncancelled
    async def checkpoint(self, actor: Principal) -> Checkpoint:
        """Return a signed checkpoint of the whole log.

        Fails with NotAuthorized, with Conflict when an event is missing, and with SecretKeyChanged.
        """
        require_scope(actor, Scope.AUDIT)
        return await self._newest()

    @uncancelled
    async def certificate_proof(self, certificate: CertificateRecord) -> str:
        """Return the inclusion proof of a certificate that the actor may see, with the checkpoint to which it leads.

        Fails with NotFound while the log has not come to it, and with SecretKeyChanged.
        """
        state = await self._store.log_state()
        if state.pending:
            await self._store.extend_log(_BATCH)
        proof = await self._store.log_inclusion(certificate.id)
        return inclusion_file(proof.index, proof.hashes, self._sign(proof.head).note)

    @uncancelled
    async def consistency_proof(self, actor: Principal, note: bytes) -> str:
        """Return the proof that the log continues an older checkpoint, with the newest one.

        Fails with NotAuthorized, with MalformedRequest for a checkpoint of another log, with NotFound for one of a
        longer log, and with Conflict when the log does not begin with it.
        """
        require_scope(actor, Scope.AUDIT)
        old = self.opened(note)
        await self._newest()
        proof = await self._store.log_consistency(old.size)
        if proof.old.root != old.root:
            raise Conflict(f"the first {old.size} entries of the log are not those of the checkpoint")
        return self._consistency_file(proof)

    @uncancelled
    async def consistency_since(self, actor: Principal, size: int) -> str:
        """Return the proof that the log begins with its first *size* entries, as :meth:`consistency_proof` does.

        Whoever verifies it compares the checkpoint.
        """
        require_scope(actor, Scope.AUDIT)
        await self._newest()
        return self._consistency_file(await self._store.log_consistency(size))

    def _consistency_file(self, proof: LogConsistency) -> str:
        return consistency_file(proof.old.size, proof.hashes, self._sign(proof.head).note)

    def opened(self, note: bytes) -> Checkpoint:
        """Return a checkpoint of this log.

        :raises MalformedRequest: when it is of another log, or was changed.
        """
        if len(note) > MAX_CHECKPOINT:
            raise MalformedRequest("This is no checkpoint of the log: it is too large.")
        return open_checkpoint(decode_text(note), self.verifier)

    @uncancelled
    async def stored_checkpoint(self) -> bytes | None:
        """Return the newest checkpoint in the folder of checkpoints; ``None`` without one.  Fails with OSError."""
        folder = self._settings.folder
        return None if folder is None else await self._files.run(_read, folder / _NEWEST)

    @uncancelled
    async def verify(
        self, actor: Principal, note: bytes | None = None, progress: Callable[[int], None] | None = None
    ) -> tuple[TreeHead, PrunedEvents | None]:
        """Verify events and certificates against the log, and the log against a kept checkpoint.

        :param progress: called after each transaction with the number of verified entries.
        :return: the head of the log, and what housekeeping has removed.

        Fails with NotAuthorized, Conflict that says what was changed, and MalformedRequest for a checkpoint of another
        log.
        """
        require_scope(actor, Scope.AUDIT)
        kept = None if note is None else self.opened(note)
        await self._newest()
        head = await self._store.verify_log(None if kept is None else TreeHead(kept.size, kept.root), progress)
        pruned = await self._store.pruned_events()
        if pruned is not None:
            self.opened(pruned.note.encode())
        return head, pruned


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a checkpoint, and the newest one under a fixed name; blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder / name, folder / _NEWEST):
        replace_file(path, content)


def _read(path: Path) -> bytes | None:
    """Return a checkpoint, or ``None`` where there is no file; blocks."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_CHECKPOINT)
    except FileNotFoundError:
        return None
