"""``pikachu audit``: verification of the audit log, checkpoints and proofs of the transparency log (AUD-3, TLG-1)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands, Parser
    from pikachu.core.log_interfaces import PrunedEvents


def add_commands(commands: Commands) -> None:
    """Declare ``audit``."""
    audit = group(commands, "audit", "the audit log and the transparency log")
    verify = audit.add_parser("verify", help="check that no event or certificate was changed or removed")
    verify.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="a checkpoint that was kept elsewhere: also finds that the newest entries were cut off, or all rewritten",
    )
    verify.set_defaults(run=verify_events)
    checkpoint = audit.add_parser(
        "checkpoint",
        help="print the signed state of the log, to be kept elsewhere",
        description="Prints the size and the root hash of the transparency log, signed with the audit key. Keep it "
        "where nobody who can write to the database can change it.",
    )
    _add_out(checkpoint)
    checkpoint.set_defaults(run=print_checkpoint)
    prove = audit.add_parser(
        "prove",
        help="print a proof that a certificate is in the log",
        description="Prints an inclusion proof, which `pikachu audit verify-proof` verifies without the database.",
    )
    prove.add_argument("serial", metavar="SERIAL", help="of the certificate, in hex")
    _add_out(prove)
    prove.set_defaults(run=prove_certificate)
    consistency = audit.add_parser(
        "consistency",
        help="print a proof that the log continues an older checkpoint",
        description="Prints a consistency proof, which `pikachu audit verify-proof` verifies without the database.",
    )
    consistency.add_argument("checkpoint", metavar="FILE", help="an older checkpoint, - reads standard input")
    _add_out(consistency)
    consistency.set_defaults(run=prove_consistency)
    offline = audit.add_parser(
        "verify-proof",
        help="verify a proof without the database",
        description="Verifies an inclusion proof of a certificate, or a consistency proof from an older checkpoint. It "
        "needs neither the database nor a configuration.",
    )
    offline.add_argument("proof", metavar="FILE", help="the proof, - reads standard input")
    offline.add_argument("--key", metavar="FILE", required=True, help="the public key of the log: /ca/audit.pub")
    about = offline.add_mutually_exclusive_group(required=True)
    about.add_argument("--certificate", metavar="FILE", help="the certificate that the proof is about, PEM or DER")
    about.add_argument("--checkpoint", metavar="FILE", help="the older checkpoint that the proof begins with")
    offline.set_defaults(run=verify_proof)
    key = audit.add_parser("key", help="print the public key of the log, as /ca/audit.pub has it")
    _add_out(key)
    key.set_defaults(run=print_key)


def _add_out(parser: Parser) -> None:
    parser.add_argument("--out", metavar="FILE", help="write it to this file")


def _write(arguments: Namespace, text: str) -> int:
    """Print a text, or write it to the file that ``--out`` names."""
    from pathlib import Path

    from pikachu.core.atomic_files import replace_file

    if arguments.out is None:
        print(text, end="")
    else:
        replace_file(Path(arguments.out), text.encode())
    return 0


def verify_events(arguments: Namespace) -> int:
    """Verify the audit log, and what the transparency log has of it."""
    from pikachu.cli.session import configuration, done, opened, operator, read_input
    from pikachu.core.audit_interfaces import CHAIN_START

    positions = [CHAIN_START]
    kept = None if arguments.checkpoint is None else read_input(arguments.checkpoint)
    with opened(configuration(arguments)) as app:
        if kept is not None:
            app.transparency.opened(kept)
        count = done(app.store.verify_events(positions.append))
        origin = app.store.audit_key_origin()
        head, pruned = done(app.transparency.verify(operator(), kept))
        pending = done(app.store.log_state()).pending
    if origin.finding:
        print(f"{count - origin.unkeyed} events after event {origin.unkeyed}, none changed or removed")
        print(f"Events 1 to {origin.unkeyed} are not intact, as was found when the key was created: {origin.finding}.")
    else:
        print(f"{count} events, none changed or removed")
    if pruned is not None:
        _print_pruned(pruned)
    later = f" {pending} more will be added in the background." if pending else ""
    print(f"The log has {head.size} entries; events and certificates are what it has.{later}")
    if kept is not None:
        print("The log begins with the entries of the checkpoint.")
    if origin.unkeyed and not origin.finding:
        print(
            f"Events 1 to {origin.unkeyed} are older than the key of the audit log. They are as they were when it was "
            "created; anyone who could write to the database before may have rewritten them."
        )
    print(f"The hash of the last event is {positions[-1].hash.hex()}.")
    return 0


def _print_pruned(pruned: PrunedEvents) -> None:
    from pikachu.core.model.times import rfc3339

    size = pruned.note.splitlines()[1]
    print(f"Events 1 to {pruned.count} were pruned on {rfc3339(pruned.at)}; checkpoint of {size} entries.")


def print_checkpoint(arguments: Namespace) -> int:
    """Print a signed checkpoint."""
    from pikachu.cli.session import configuration, done, opened, operator

    with opened(configuration(arguments)) as app:
        checkpoint = done(app.transparency.checkpoint(operator()))
    return _write(arguments, checkpoint.note)


def prove_certificate(arguments: Namespace) -> int:
    """Print the inclusion proof of a certificate."""
    from pikachu.cli.session import configuration, done, opened
    from pikachu.core.model.certificates import parse_serial

    serial = parse_serial(arguments.serial)
    with opened(configuration(arguments)) as app:
        record = done(app.store.certificate_by_serial(serial, deleted=True))
        proof = done(app.transparency.certificate_proof(record))
    return _write(arguments, proof)


def prove_consistency(arguments: Namespace) -> int:
    """Print the proof that the log continues an older checkpoint."""
    from pikachu.cli.session import configuration, done, opened, operator, read_input

    note = read_input(arguments.checkpoint)
    with opened(configuration(arguments)) as app:
        proof = done(app.transparency.consistency_proof(operator(), note))
    return _write(arguments, proof)


def verify_proof(arguments: Namespace) -> int:
    """Verify a proof from files only."""
    from pikachu.cli.session import read_input
    from pikachu.transparency.checkpoints import parse_verifier_key
    from pikachu.transparency.proofs import verify_certificate_proof, verify_consistency_proof
    from pikachu.x509.certificate import decode_certificate_input

    key = parse_verifier_key(read_input(arguments.key))
    proof = read_input(arguments.proof)
    if arguments.certificate is not None:
        certificate = decode_certificate_input(read_input(arguments.certificate))
        index, checkpoint = verify_certificate_proof(proof, certificate, key)
        print(f"The certificate is entry {index} of the log {checkpoint.origin}, which had {checkpoint.size} entries.")
    else:
        old, checkpoint = verify_consistency_proof(proof, read_input(arguments.checkpoint), key)
        print(f"The log {checkpoint.origin} of {checkpoint.size} entries begins with the {old.size} of the checkpoint.")
    return 0


def print_key(arguments: Namespace) -> int:
    """Print the public key of the log."""
    from pikachu.cli.session import configuration, opened

    with opened(configuration(arguments)) as app:
        text = app.transparency.verifier.text()
    return _write(arguments, text)
