"""TPL-2: wrong texts are refused with the line and its error."""

from __future__ import annotations

import pytest

from pikachu.core.errors import BadTemplate
from pikachu.x509.template import parse
from tests.support.reference_work import BATCH, costs_at_most

_REQUEST = "[ req ]\nprompt = no\ndistinguished_name = dn\n[ dn ]\nCN = x\n"

# (text, line, part of the message)
SYNTAX = [
    ("", 0, "neither a section [ req ] nor a section [ v3_ext ]"),
    ("# only a comment\n", 0, "neither a section [ req ] nor a section [ v3_ext ]"),
    ("[ v3_ca ]\nkeyUsage = cRLSign\n", 0, "neither a section [ req ] nor a section [ v3_ext ]"),
    ("foo = bar\n", 0, "neither a section [ req ] nor a section [ v3_ext ]"),
    ("[ v3_ext ]\nfoo\n", 2, 'expected name = value, found "foo"'),
    ("[ v3_ext ]\nkey usage = x\n", 2, 'expected name = value, found "key usage"'),
    ("[ v3_ext ]\n = x\n", 2, "no name before the ="),
    ("[ v3_ext\nkeyUsage = x\n", 1, "needs a closing ]"),
    ("\n\n[ v3_ext ] keyUsage = x\n", 3, "text after a section header"),
    ("[]\n", 1, "no name of a section"),
    ("[ v3$ext ]\n", 1, "no name of a section"),
    ("[v3_ext]\nnsComment = a\nkeyUsage = cRLSign\nnsComment = b\n", 4, '"nsComment" stands already in line 2'),
    ("[v3_ext]\nnsComment = 'a\n", 2, "a quotation that ' begins does not end"),
    ("[v3_ext]\nnsComment = Bob's\n", 2, "write \\' for the character"),
    ('[v3_ext]\nnsComment = "a # b\n', 2, 'a quotation that " begins does not end'),
    ("[v3_ext]\nnsComment = $x\n", 2, 'the variable "x" has no value'),
    ("[v3_ext]\nnsComment = ${http_ur}\n", 2, 'did you mean "http_url"?'),
    ("[v3_ext]\nnsComment = ${ca\n", 2, "a variable has no closing }"),
    ("[v3_ext]\nnsComment = $(ca}\n", 2, "a variable has no closing )"),
    ("[v3_ext]\nnsComment = 5$\n", 2, "a $ without a name"),
    ("[v3_ext]\nnsComment = ${ENV::HOME}\n", 2, "environment variables can't be used"),
    (".include /etc/passwd\n[v3_ext]\n", 1, "include is not accepted"),
    (".include = /etc/passwd\n[v3_ext]\n", 1, "include is not accepted"),
    (".pragma = dollarid:true\n[v3_ext]\n", 1, "pragma is not accepted"),
    ("[v3_ext]\nnsComment = a\\", 2, "ends with a backslash"),
    ("[v3_ext]\nnsComment = a\\ # b\n", 2, "a value ends with a backslash"),
    ("[v3_ext]\nnsComment = a\x00b\n", 2, "a control character"),
    ("[v3_ext]\r\nnsComment = a\x1bb\r\n", 2, "a control character"),
    ("keyUsage = cRLSign\n[v3_ext]\nnsComment = x\n", 1, "keyUsage stands before the sections"),
    ("keyUsage = cRLSign\n" + _REQUEST, 1, "keyUsage stands before the sections"),
    ("keyUsage = cRLSign\nfoo = bar\n", 2, 'unknown extension "foo"'),
    ("x" * 70_000, 0, "longer than 64 KiB"),
]

# Below [ v3_ext ], so the first line is line 2.
VALUES = [
    ("keyUsage = digitalSignatur", 2, 'keyUsage: unknown name "digitalSignatur", did you mean "digitalSignature"?'),
    ("keyusage = digitalSignature", 2, 'unknown extension "keyusage", did you mean "keyUsage"?'),
    ("keyUsage = digitalSignature,", 2, "a part of the list is empty"),
    ("keyUsage =", 2, "keyUsage: it has no value"),
    ("keyUsage = critical", 2, 'unknown name "critical"'),
    ("keyUsage = critical,", 2, "it has no value"),
    ("keyUsage = digitalSignature:x", 2, "unknown name"),
    ("keyUsage = ASN1:UTF8:x", 2, "must begin with the tag 0x03, not 0x0c"),
    ("keyUsage = cRLSign\n2.5.29.15 = DER:03020780", 3, "the extension stands already in line 2"),
    ("2.5.29.15 = digitalSignature", 2, "begins with ASN1: or DER:"),
    ("basicConstraints = CA", 2, '"CA" needs a value'),
    ("basicConstraints = CA:maybe", 2, '"maybe" is neither TRUE nor FALSE'),
    ("basicConstraints = CA:TRUE,pathlen:-1", 2, "is negative"),
    ("basicConstraints = CA:TRUE,pathlen:x", 2, '"x" is no whole number'),
    ("basicConstraints = CA:FALSE,pathlen:0", 2, "pathlen needs CA:TRUE"),
    ("basicConstraints = CA:TRUE,CA:FALSE", 2, "CA stands twice"),
    ("basicConstraints = CA:TRUE,pathLen:1", 2, 'did you mean "pathlen"?'),
    ("basicConstraints = CA:", 2, 'nothing follows the colon of "CA"'),
    ("extendedKeyUsage = serverAuht", 2, 'unknown purpose "serverAuht", did you mean "serverAuth"?'),
    ("extendedKeyUsage = 1.2.03", 2, 'unknown purpose "1.2.03"'),
    ("extendedKeyUsage = 1.40.3", 2, "is no object identifier"),
    ("extendedKeyUsage = serverAuth, 1.3.6.1.5.5.7.3.1", 2, "stands twice"),
    ("extendedKeyUsage = @nowhere", 2, "there is no section [ nowhere ]"),
    ("extendedKeyUsage = @ekus\n[ eku ]\n1 = serverAuth", 2, 'did you mean "eku"?'),
    ("extendedKeyUsage = @eku\n[ eku ]", 2, "the section [ eku ] is empty"),
    ("extendedKeyUsage = @eku\n[ eku ]\n1 = serverAuth\n2 = foo", 5, 'unknown purpose "foo"'),
    ("subjectKeyIdentifier = hashed", 2, "not written in pairs of hexadecimal digits"),
    ("subjectKeyIdentifier = 123", 2, "not written in pairs of hexadecimal digits"),
    ("authorityKeyIdentifier = keyId", 2, 'did you mean "keyid"?'),
    ("authorityKeyIdentifier = keyid:sometimes", 2, "keyid takes no value but always"),
    ("authorityKeyIdentifier = none,keyid", 2, 'unknown name "none"'),
    ("subjectAltName = a.example.com", 2, "unknown kind of name"),
    ("subjectAltName = DNS:x , DNS:y", 2, 'remove the space after "x"'),
    ("subjectAltName = DNS:a\\nb", 2, "a list has a line break in it"),
    ("subjectAltName = @a\n[a]\nDNS = a\\tb", 4, "control characters"),
    ("authorityKeyIdentifier = keyid,keyid:always", 2, "keyid stands twice"),
    ("policyConstraints = inhibitPolicyMapping:0,inhibitPolicyMapping:1", 2, "inhibitPolicyMapping stands twice"),
    ("certificatePolicies = @p\n[p]\nCPS =", 4, "CPS is empty"),
    ("certificatePolicies = @p\n[p]\npolicyID = 1.2.3", 4, 'unknown name "policyID"'),
    ("certificatePolicies = @p\n[p]\nuserNotice=@n\n[n]\ntext=x", 6, 'unknown name "text"'),
    ("certificatePolicies = @p\n[p]\nuserNotice=@n\n[n]\nexplicitText=BMP:x", 6, "BMP texts are not accepted"),
    ("certificatePolicies = @p\n[p]\nuserNotice=@n\n[n]\nexplicitText=" + "x" * 201, 6, "1 to 200 characters"),
    ("subjectAltName = dns:a.example.com", 2, 'did you mean "DNS"?'),
    ("subjectAltName = DNS", 2, '"DNS" needs a value'),
    ("subjectAltName = DNS:münchen.example", 2, "characters outside ASCII"),
    ("subjectAltName = IP:1.2.3", 2, '"1.2.3" is no IP address'),
    ("subjectAltName = IP:1.2.3.256", 2, "is no IP address"),
    ("subjectAltName = IP:fe80::1%eth0", 2, "is no IP address"),
    ("subjectAltName = IP:10.0.0.0/8", 2, "is no IP address"),
    ("subjectAltName = RID:foo", 2, 'unknown name "foo"'),
    ("subjectAltName = email:move", 2, "write email:copy"),
    ("subjectAltName = otherName:1.2.3", 2, "otherName:OID;TYPE:value"),
    ("subjectAltName = otherName:1.2.3;UTF9:x", 2, 'unknown ASN.1 type "UTF9"'),
    ("subjectAltName = dirName:d", 2, "there is no section [ d ]"),
    ("subjectAltName = dirName:d\n[d]\nCN = ü", 4, "characters outside ASCII"),
    ("subjectAltName = dirName:d\n[d]\nCNN = x", 4, 'unknown attribute type "CNN"'),
    ("subjectAltName = dirName:d\n[d]\nC = DEU", 4, '"DEU" must have 2 characters'),
    ("subjectAltName = @a\n[a]\nDNS = x\n1.DNS = y", 5, '"1.DNS" is written "DNS.1"'),
    ("subjectAltName = @a\n[a]\nDNS = x\n\n# c\nDNS = y", 7, '"DNS" stands already in line 4'),
    ("subjectAltName = @a\n[a]\nDNS.1 =", 4, "DNS is empty"),
    ("issuerAltName = issuer:cpy", 2, 'unknown kind of name "issuer"'),
    ("authorityInfoAccess = URI:http://x/", 2, "method;kind:name"),
    ("authorityInfoAccess = OSCP;URI:http://x/", 2, 'unknown access method "OSCP", did you mean "OCSP"?'),
    ("authorityInfoAccess = OCSP;URL:http://x/", 2, 'unknown kind of name "URL"'),
    ("crlDistributionPoints = http://x/", 2, 'unknown kind of name "http"'),
    ("crlDistributionPoints = dp", 2, "there is no section [ dp ]"),
    ("crlDistributionPoints = dp\n[dp]\nreasons = keyCompromised", 4, 'did you mean "keyCompromise"?'),
    ("crlDistributionPoints = dp\n[dp]\nreasons = keyCompromise", 2, "needs a name or a CRLissuer"),
    ("crlDistributionPoints = dp\n[dp]\nfullName = URI:x", 4, 'did you mean "fullname"?'),
    (
        "crlDistributionPoints = dp\n[dp]\nfullname=URI:x\nrelativename=r\n[r]\nCN=x",
        2,
        "either fullname or relativename",
    ),
    ("crlDistributionPoints = dp\n[dp]\nrelativename=r\n[r]\nCN=x\nOU=y", 4, "a relative name is one RDN"),
    ("certificatePolicies = 1.2.3:x", 2, "a policy is an OID or @section"),
    ("certificatePolicies = foo", 2, 'unknown policy "foo"'),
    ("certificatePolicies = 1.2.3, 1.2.3", 2, "stands twice"),
    ("certificatePolicies = ia5org", 2, "no policy is named"),
    ("certificatePolicies = @p\n[p]\nCPS = http://x/", 2, "no policyIdentifier"),
    ("certificatePolicies = @p\n[p]\npolicyIdentifier=1.2.3\nuserNotice = n", 5, "userNotice = @section"),
    ("certificatePolicies = @p\n[p]\npolicyIdentifier=1.2.3\nuserNotice=@n\n[n]\norganization=x", 5, "noticeNumbers"),
    ("certificatePolicies = @p\n[p]\npolicyIdentifier=1.2.3\nuserNotice=@n\n[n]\nexplicitText=ü", 7, "write UTF8:"),
    ("nameConstraints = DNS:x", 2, "permitted;kind:name or excluded;kind:name"),
    ("nameConstraints = permited;DNS:x", 2, "permitted;kind:name or excluded;kind:name"),
    ("nameConstraints = permitted;IP:10.0.0.0/8", 2, "needs a mask, such as 10.0.0.0/255.0.0.0"),
    ("nameConstraints = permitted;IP:10.0.0.0", 2, "needs a mask"),
    ("nameConstraints = permitted;IP:10.0.0.0/ffff::", 2, "mixes IPv4 and IPv6"),
    ("policyConstraints = requireExplicit:0", 2, 'unknown name "requireExplicit"'),
    ("inhibitAnyPolicy = two", 2, "is no whole number"),
    ("policyMappings = 1.2.3", 2, '"1.2.3" needs a value'),
    ("tlsfeature = status-request", 2, 'did you mean "status_request"?'),
    ("tlsfeature = 65536", 2, "larger than 65535"),
    ("noCheck = no", 2, "write noCheck = ignored"),
    ("nsComment = ü", 2, "characters outside ASCII"),
    ("nsCertType = sslca", 2, 'did you mean "sslCA"?'),
    ("1.2.3.4 = UTF8:x", 2, "begins with ASN1: or DER:"),
    ("1.2.3.4 = DER:", 2, "not written in pairs"),
    ("1.2.3.4 = DER:0c05", 2, "not one DER element"),
    ("1.2.3.4 = DER:05000500", 2, "not one DER element"),
    ("1.2.3.4 = ASN1:", 2, "nothing follows ASN1:"),
    ("1.2.3.4 = ASN1:EXP:1", 2, "no ASN.1 type follows the modifier"),
    ("1.2.3.4 = ASN1:EXP:x,UTF8:a", 2, '"x" is no tag'),
    ("1.2.3.4 = ASN1:EXP:1Z,UTF8:a", 2, '"1Z" is no tag'),
    ("1.2.3.4 = ASN1:IMP:1,IMP:2,UTF8:a", 2, "an implicit tag can't replace another one"),
    ("1.2.3.4 = ASN1:IMP:1,EXP:2,UTF8:a", 2, "an implicit tag can't replace an explicit one"),
    ("1.2.3.4 = ASN1:SEQWRAP:2,UTF8:a", 2, "SEQWRAP takes no value"),
    ("1.2.3.4 = ASN1:" + "EXP:1," * 21 + "NULL", 2, "more than 20 explicit tags"),
    ("1.2.3.4 = ASN1:NULL:x", 2, "NULL has no value"),
    ("1.2.3.4 = ASN1:UTF8,x", 2, 'text follows "UTF8"'),
    ("1.2.3.4 = ASN1:BOOL:x", 2, "neither TRUE nor FALSE"),
    ("1.2.3.4 = ASN1:UTF8:ü", 2, "write FORMAT:UTF8 before the type"),
    ("1.2.3.4 = ASN1:FORMAT:UTF,UTF8:x", 2, 'unknown format "UTF", did you mean "UTF8"?'),
    ("1.2.3.4 = ASN1:FORMAT:HEX,UTF8:00", 2, "does not fit"),
    ("1.2.3.4 = ASN1:FORMAT:HEX,INT:00", 2, "does not fit"),
    ("1.2.3.4 = ASN1:FORMAT:UTF8,OCT:x", 2, "does not fit"),
    ("1.2.3.4 = ASN1:FORMAT:BITLIST,OCT:1", 2, "is for BITSTRING"),
    ("1.2.3.4 = ASN1:FORMAT:BITLIST,BITSTR:257", 2, "at most 256"),
    ("1.2.3.4 = ASN1:PRINTABLE:a@b", 2, "characters that the ASN.1 type does not have"),
    ("1.2.3.4 = ASN1:NUMERIC:a", 2, "characters that the ASN.1 type does not have"),
    ("1.2.3.4 = ASN1:FORMAT:UTF8,BMP:😀", 2, "characters that the ASN.1 type does not have"),
    ("1.2.3.4 = ASN1:UTCTIME:2601020304Z", 2, "YYMMDDHHMMSSZ"),
    ("1.2.3.4 = ASN1:GENTIME:20261302030405Z", 2, "YYYYMMDDHHMMSSZ"),
    ("1.2.3.4 = ASN1:SEQUENCE:nowhere", 2, "there is no section [ nowhere ]"),
    ("1.2.3.4 = ASN1:SEQUENCE:s\n[s]\na=INT:1\nb=INT:x", 5, '"x" is no whole number'),
    ("1.2.3.4 = ASN1:SEQUENCE:s\n[s]\na=SEQUENCE:s", 4, "a section that contains itself"),
    ("serverauth = ASN1:NULL", 2, 'unknown extension "serverauth"'),
]

REQUESTS = [
    ("[req]\nprompt=no\n", 1, "distinguished_name is missing"),
    ("\n[req]\ndistinguished_name=dn\n", 3, "there is no section [ dn ]"),
    ("[req]\ndistinguished_name=dn\n[dn]\n", 3, '"dn" gives no name'),
    ("[req]\ndistinguished_name=dn\n[dn]\nCN=example.com\n", 3, "commonName_default, or prompt = no"),
    ("[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=\n", 5, "CN: the value is empty"),
    ("[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nComonName=x\n", 5, 'did you mean "commonName"?'),
    ("[req]\ndistinguished_name=dn\n[dn]\ncommonNam=Name\ncommonNam_default=x\n", 5, 'did you mean "commonName"?'),
    ("[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nC=Germany\n", 5, "must have 2 characters"),
    ("[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nC=Dü\n", 5, "characters that can't stand there"),
    ("[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=" + "x" * 65 + "\n", 5, "more than 64 characters"),
    ("[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=a\\nb\n", 5, "control characters"),
    ("[req]\nprompt=no\nutf8=no\ndistinguished_name=dn\n[dn]\nCN=ü\n", 6, "need utf8 = yes"),
    ("[req]\ndistinguished_name=d\n[d]\nC=C\nC_default=DE\nC_max=1\n", 5, "its length is outside C_max = 1"),
    (_REQUEST.replace("[ dn ]", "default_md = sha257\n[ dn ]"), 4, 'unknown digest "sha257"'),
    (_REQUEST.replace("[ dn ]", "default_md = SHA1\n[ dn ]"), 4, "too weak"),
    (_REQUEST.replace("[ dn ]", "string_mask = utf8\n[ dn ]"), 4, 'unknown value "utf8"'),
    (_REQUEST.replace("[ dn ]", "req_extention = v3\n[ dn ]"), 4, 'did you mean "req_extensions"?'),
    (_REQUEST.replace("[ dn ]", "req_extensions = v3\n[ dn ]"), 4, "req_extensions: there is no section [ v3 ]"),
    (_REQUEST.replace("[ dn ]", "attributes = at\n[ dn ]"), 4, "attributes: there is no section [ at ]"),
    (_REQUEST.replace("[ dn ]", "req_extensions = v3\n[v3]\nauthorityKeyIdentifier=keyid\n[ dn ]"), 6, "no issuer yet"),
    (_REQUEST.replace("[ dn ]", "req_extensions = v3\n[v3]\nissuerAltName=issuer:copy\n[ dn ]"), 6, "no issuer yet"),
    (_REQUEST.replace("[ dn ]", "attributes = a\n[a]\n1.2.3=x\ninitials=y\n2.5.4.43=z\n[ dn ]"), 8, "stands twice"),
    (_REQUEST.replace("[ dn ]", "attributes = a\n[a]\nextReq=x\n[ dn ]"), 6, "named by req_extensions"),
    (_REQUEST.replace("[ dn ]", "attributes = a\n[a]\nchallengePasword=x\n[ dn ]"), 6, '"challengePassword"?'),
]


def _refused(text: str) -> BadTemplate:
    with pytest.raises(BadTemplate) as caught:
        parse(text)
    assert "\n" not in caught.value.public
    assert caught.value.public.startswith(f"line {caught.value.line}: ") == (caught.value.line > 0)
    return caught.value


@pytest.mark.parametrize(("text", "line", "message"), [*SYNTAX, *REQUESTS])
def test_wrong_texts_name_their_line(text: str, line: int, message: str) -> None:
    """TPL-1, TPL-2: strict, with line-numbered errors."""
    error = _refused(text)
    assert message in error.public
    assert error.line == line


@pytest.mark.parametrize(("text", "line", "message"), VALUES)
def test_wrong_values_name_their_line(text: str, line: int, message: str) -> None:
    """TPL-2: invalid values of extensions are refused."""
    error = _refused(f"[ v3_ext ]\n{text}\n")
    assert message in error.public
    assert error.line == line


def test_a_challenge_password_is_not_in_the_message() -> None:
    """TPL-1: secrets stay out of errors."""
    text = _REQUEST.replace("[ dn ]", "attributes = a\nstring_mask = nombstr\n[a]\nchallengePassword=geheim€\n[ dn ]")
    assert "geheim" not in _refused(text).public


BOMBS = {
    "variables": "a0 = "
    + "x" * 100
    + "\n"
    + "".join(f"a{n} = $a{n - 1}$a{n - 1}$a{n - 1}\n" for n in range(1, 40))
    + "[v3_ext]\n",
    "one variable": "a = " + "x" * 60_000 + "\n[v3_ext]\nnsComment = $a$a$a$a$a$a\n",
    "sections": "[v3_ext]\n1.2.3 = ASN1:SEQ:s0\n"
    + "".join(f"[s{n}]\n" + "".join(f"f{m} = SEQ:s{n + 1}\n" for m in range(10)) for n in range(14))
    + "[s14]\na = NULL\n",
    "depth": "[v3_ext]\n1.2.3 = ASN1:SEQ:s0\n"
    + "".join(f"[s{n}]\na = SEQ:s{n + 1}\n" for n in range(500))
    + "[s500]\n",
    "names": "[v3_ext]\nsubjectAltName = " + ",".join(f"DNS:a{n}" for n in range(1001)) + "\n",
    "repeated": "[v3_ext]\nsubjectAltName = @a\n[a]\n"
    + "".join(f"dirName.{n} = d\n" for n in range(500))
    + "[d]\n"
    + "".join(f"{n}.OU = x\n" for n in range(500)),
    "long names": "[v3_ext]\n1.2.3 = ASN1:SEQ:s\n[s]\n"
    + "".join(f"a{n} = SEQ:t\n" for n in range(900))
    + "[t]\na=UTF8:"
    + "x" * 30_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_quickly(name: str) -> None:
    """TPL-2: sizes, numbers and depths are bounded."""
    with costs_at_most(20 * BATCH):
        _refused(BOMBS[name])
