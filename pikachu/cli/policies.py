"""``pikachu policy``: enrollment policies."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS, group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pikachu.cli.arguments import Commands
    from pikachu.core.model.lint import Finding


# No pattern: every name begins with its kind, such as DNS:.
_EXACT = "exact"
_PROTOCOLS = {"est": "EST", "scep": "SCEP"}
# As pikachu.core.model.policies.POLICY_ROLES.
_ROLES = ("user", "operator", "admin")


def add_commands(commands: Commands) -> None:
    """Declare ``policy``."""
    policies = group(commands, "policy", "enrollment policies")
    add = policies.add_parser("add", help="make a policy; a label of EST and SCEP paths is a policy's name")
    add.add_argument("name", metavar="NAME", help="1 to 64 letters, digits and . _ - and space")
    add.add_argument("--days", type=DAYS, required=True, metavar="N", help="validity of its certificates")
    add.add_argument(
        "--extensions", required=True, metavar="FILE", help="OpenSSL-style text with [ v3_ext ]; - reads standard input"
    )
    whose = add.add_mutually_exclusive_group(required=True)
    whose.add_argument("--system", action="store_true", help="for everybody")
    whose.add_argument("--user", metavar="NAME", help="for this user")
    add.add_argument("--est", action="store_true", help="use it for EST, with its name as label")
    add.add_argument("--scep", action="store_true", help="use it for SCEP, with its name as label")
    add.add_argument("--issuer", metavar="NAME", help="the issuing CA: ec, rsa or mldsa (default: as [CA] mode says)")
    approval = add.add_mutually_exclusive_group()
    approval.add_argument("--manual", action="store_true", help="an operator or administrator approves each enrollment")
    approval.add_argument("--four-eyes", action="store_true", help="two of them approve each enrollment")
    add.add_argument(
        "--role",
        action="append",
        default=[],
        choices=_ROLES,
        help="accounts with this role may use it; may be repeated (default: all of these roles)",
    )
    limits = add.add_argument_group("limits")
    limits.add_argument(
        "--keys", metavar="LIST", help="allowed keys with commas between, such as RSA,EC/prime256v1,PQC/mldsa44"
    )
    limits.add_argument("--subject", metavar="PATTERN", help="with * and ?, which the whole RFC 4514 subject matches")
    limits.add_argument(
        "--names",
        action="append",
        default=[],
        metavar="PATTERN",
        help="such as DNS:*.example.com; each subjectAltName matches one; may be repeated. "
        "The word exact refuses names whose values have a wrong string type instead of encoding them again",
    )
    limits.add_argument("--other-countries", action="store_true", help="allow country codes other than two letters")
    limits.add_argument(
        "--other-name",
        action="append",
        default=[],
        metavar="TYPE",
        help="copy otherNames of this type from CSRs: UPN, NAIRealm, krb5, hardwareModuleName or an OID; "
        "may be repeated",
    )
    limits.add_argument("--no-csr-names", action="store_true", help="ignore the request's subjectAltName")
    limits.add_argument("--max-days", type=DAYS, metavar="N", help="longest validity that may be asked for")
    limits.add_argument(
        "--own-subject", action="store_true", help="a client certificate may enroll its own subject only"
    )
    limits.add_argument("--linked", action="store_true", help="EST requests are bound to their TLS connection")
    limits.add_argument("--identities", metavar="LIST", help="only devices on this list of identities may enroll")
    limits.add_argument("--new-key", action="store_true", help="each renewal has a new key")
    add.add_argument(
        "--override-lint", metavar="REASON", help="accept errors of lint; the reason is recorded in the audit log"
    )
    add.set_defaults(run=add_policy)
    listing = policies.add_parser(
        "list", help="print id, name, uses, user, days, issuer, approval and roles of each, with tabs between"
    )
    listing.set_defaults(run=list_policies)
    show = policies.add_parser("show", help="print the extensions of a policy")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(run=show_policy)
    lint = policies.add_parser(
        "lint",
        help="lint sample certificates of policies: print policy, severity, code, message and place of each finding, "
        "with tabs between; exit 1 when a policy has errors that nobody has accepted",
    )
    lint.add_argument("names", nargs="*", metavar="NAME", help="default: all policies")
    lint.set_defaults(run=lint_policies)
    default = policies.add_parser(
        "default", help="make a policy the default of its owner, which applies on paths without a label"
    )
    default.add_argument("name", metavar="NAME")
    which = default.add_mutually_exclusive_group(required=True)
    for option, protocol in _PROTOCOLS.items():
        which.add_argument(f"--{option}", action="store_true", help=f"for {protocol}")
    default.set_defaults(run=make_default)
    delete = policies.add_parser("delete", help="remove a policy; what it signed stays")
    delete.add_argument("name", metavar="NAME")
    for option, protocol in _PROTOCOLS.items():
        delete.add_argument(
            f"--next-default-{option}",
            metavar="NAME",
            help=f"the policy that becomes the default for {protocol}, if this one is it",
        )
    delete.set_defaults(run=delete_policy)


def add_policy(arguments: Namespace) -> int:
    """Create a policy."""
    from pikachu.cli.session import configuration, done, opened, operator, owner_id, read_text
    from pikachu.core.errors import LintFailed
    from pikachu.core.model.people import Role
    from pikachu.core.model.policies import POLICY_ROLES, Approval, Policy, PolicyLimits

    limits = PolicyLimits(
        keys=tuple(key.strip() for key in arguments.keys.split(",")) if arguments.keys else (),
        subject=arguments.subject,
        names=tuple(name for name in arguments.names if name != _EXACT),
        honour_names=not arguments.no_csr_names,
        max_days=arguments.max_days,
        own_subject=arguments.own_subject,
        linked=arguments.linked,
        same_key=not arguments.new_key,
        exact_names=_EXACT in arguments.names,
        other_countries=arguments.other_countries,
        other_names=tuple(arguments.other_name),
        identities=arguments.identities,
    )
    text = read_text(arguments.extensions)
    with opened(configuration(arguments)) as app:
        policy = Policy(
            0,
            arguments.name,
            arguments.days,
            text,
            system=arguments.system,
            use_for_est=arguments.est,
            use_for_scep=arguments.scep,
            owner_id=owner_id(app, arguments.user),
            issuer=arguments.issuer,
            approval=Approval.MANUAL
            if arguments.manual
            else Approval.FOUR_EYES
            if arguments.four_eyes
            else Approval.AUTOMATIC,
            limits=limits,
            roles=tuple(map(Role, arguments.role)) or POLICY_ROLES,
        )
        try:
            added = done(app.policy_administration.add(operator(), policy, override=arguments.override_lint))
        except LintFailed as error:
            _print_findings(error.findings)
            raise
        _print_findings(done(app.policy_administration.lint(added)).findings)
    print(f"added {added.name}")
    return 0


def _print_findings(findings: Sequence[Finding]) -> None:
    for one in findings:
        if one.severity not in ("notice", "info"):
            print(f"{one.severity}: {one.message} ({one.code})", file=sys.stderr)


def lint_policies(arguments: Namespace) -> int:
    """Print the findings about sample certificates of policies."""
    from functools import partial

    from pikachu.cli.session import configuration, done, every_owned, opened, operator, table
    from pikachu.core.model.lint import not_accepted
    from pikachu.core.model.list_queries import ListQuery

    actor = operator()
    with opened(configuration(arguments)) as app:
        rules = app.policy_administration
        if arguments.names:
            policies = [done(rules.find(actor, name)) for name in arguments.names]
        else:
            owned = every_owned(app, partial(rules.list, actor), ListQuery(sort="id"), lambda one: one.owner_id)
            policies = [done(rules.default(actor)), *(one for one, _ in owned)]
        reports = [(one, done(rules.lint(one))) for one in policies]
        table(
            (one.name, finding.severity, finding.code, finding.message, finding.where)
            for one, report in reports
            for finding in report.findings
        )
    if reports and reports[0][1].linter is None:
        print("Only the server's own rules were applied: pip install 'pikachu-ca[lint]' adds pkilint.", file=sys.stderr)
    return int(any(not_accepted(report.findings, one.lint_override) for one, report in reports))


def list_policies(arguments: Namespace) -> int:
    """Print the policies."""
    from functools import partial

    from pikachu.cli.session import configuration, done, every_owned, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery

    actor = operator()
    with opened(configuration(arguments)) as app:
        rules = app.policy_administration
        query = ListQuery(sort="id")
        policies = (
            (done(rules.default(actor)), None),
            *every_owned(app, partial(rules.list, actor), query, lambda one: one.owner_id),
        )
        table(
            (
                one.id,
                one.name,
                ",".join(
                    use
                    for use, used in (
                        ("EST", one.use_for_est),
                        ("EST default", one.default_for_est),
                        ("SCEP", one.use_for_scep),
                        ("SCEP default", one.default_for_scep),
                        ("System", one.system),
                    )
                    if used
                ),
                owner,
                one.days,
                one.issuer,
                one.approval,
                ",".join(one.roles),
            )
            for one, owner in policies
        )
    return 0


def show_policy(arguments: Namespace) -> int:
    """Print the extensions of a policy."""
    from pikachu.cli.session import configuration, done, opened, operator

    with opened(configuration(arguments)) as app:
        policy = done(app.policy_administration.find(operator(), arguments.name))
    print(policy.extensions, end="" if policy.extensions.endswith("\n") else "\n")
    return 0


def make_default(arguments: Namespace) -> int:
    """Make a policy the default of its owner for EST or SCEP."""
    from dataclasses import replace

    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.policies import Policy

    def mark(policy: Policy) -> Policy:
        return replace(
            policy,
            default_for_est=policy.default_for_est or arguments.est,
            default_for_scep=policy.default_for_scep or arguments.scep,
        )

    actor = operator()
    with opened(configuration(arguments)) as app:
        rules = app.policy_administration
        policy = done(rules.find(actor, arguments.name))
        done(rules.change(actor, policy.id, mark))
    print(f"{policy.name} is the default for {'EST' if arguments.est else 'SCEP'}")
    return 0


def delete_policy(arguments: Namespace) -> int:
    """Delete a policy."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.policies import LABEL_PROTOCOLS

    actor = operator()
    with opened(configuration(arguments)) as app:
        rules = app.policy_administration
        policy = done(rules.find(actor, arguments.name))
        names = {one: getattr(arguments, f"next_default_{one.value.lower()}") for one in LABEL_PROTOCOLS}
        chosen = {one: done(rules.find(actor, name)).id for one, name in names.items() if name is not None}
        done(rules.delete(actor, policy.id, next_defaults=chosen))
    print(f"deleted {policy.name}")
    for protocol in LABEL_PROTOCOLS:
        if policy.is_default_for(protocol) and protocol not in chosen:
            print(f"No policy of this owner is the default for {protocol.value} any more.", file=sys.stderr)
    return 0
