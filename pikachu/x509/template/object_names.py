"""The names in OpenSSL 3.0 of the object identifiers that certificates and CSRs use."""

from __future__ import annotations

from typing import Final

# Short name, long name (if different), OID; compared case-sensitively, as in OpenSSL.
_NAMES: Final = """
UID|userId|0.9.2342.19200300.100.1.1
textEncodedORAddress||0.9.2342.19200300.100.1.2
mail|rfc822Mailbox|0.9.2342.19200300.100.1.3
info||0.9.2342.19200300.100.1.4
favouriteDrink||0.9.2342.19200300.100.1.5
roomNumber||0.9.2342.19200300.100.1.6
photo||0.9.2342.19200300.100.1.7
userClass||0.9.2342.19200300.100.1.8
host||0.9.2342.19200300.100.1.9
manager||0.9.2342.19200300.100.1.10
documentIdentifier||0.9.2342.19200300.100.1.11
documentTitle||0.9.2342.19200300.100.1.12
documentVersion||0.9.2342.19200300.100.1.13
documentAuthor||0.9.2342.19200300.100.1.14
documentLocation||0.9.2342.19200300.100.1.15
homeTelephoneNumber||0.9.2342.19200300.100.1.20
secretary||0.9.2342.19200300.100.1.21
otherMailbox||0.9.2342.19200300.100.1.22
lastModifiedTime||0.9.2342.19200300.100.1.23
lastModifiedBy||0.9.2342.19200300.100.1.24
DC|domainComponent|0.9.2342.19200300.100.1.25
aRecord||0.9.2342.19200300.100.1.26
pilotAttributeType27||0.9.2342.19200300.100.1.27
mXRecord||0.9.2342.19200300.100.1.28
nSRecord||0.9.2342.19200300.100.1.29
sOARecord||0.9.2342.19200300.100.1.30
cNAMERecord||0.9.2342.19200300.100.1.31
associatedDomain||0.9.2342.19200300.100.1.37
associatedName||0.9.2342.19200300.100.1.38
homePostalAddress||0.9.2342.19200300.100.1.39
personalTitle||0.9.2342.19200300.100.1.40
mobileTelephoneNumber||0.9.2342.19200300.100.1.41
pagerTelephoneNumber||0.9.2342.19200300.100.1.42
friendlyCountryName||0.9.2342.19200300.100.1.43
uid|uniqueIdentifier|0.9.2342.19200300.100.1.44
organizationalStatus||0.9.2342.19200300.100.1.45
janetMailbox||0.9.2342.19200300.100.1.46
mailPreferenceOption||0.9.2342.19200300.100.1.47
buildingName||0.9.2342.19200300.100.1.48
dSAQuality||0.9.2342.19200300.100.1.49
singleLevelQuality||0.9.2342.19200300.100.1.50
subtreeMinimumQuality||0.9.2342.19200300.100.1.51
subtreeMaximumQuality||0.9.2342.19200300.100.1.52
personalSignature||0.9.2342.19200300.100.1.53
dITRedirect||0.9.2342.19200300.100.1.54
audio||0.9.2342.19200300.100.1.55
documentPublisher||0.9.2342.19200300.100.1.56
INN||1.2.643.3.131.1.1
OGRN||1.2.643.100.1
SNILS||1.2.643.100.3
OGRNIP||1.2.643.100.5
subjectSignTool|Signing Tool of Subject|1.2.643.100.111
issuerSignTool|Signing Tool of Issuer|1.2.643.100.112
classSignTool|Class of Signing Tool|1.2.643.100.113
classSignToolKC1|Class of Signing Tool KC1|1.2.643.100.113.1
classSignToolKC2|Class of Signing Tool KC2|1.2.643.100.113.2
classSignToolKC3|Class of Signing Tool KC3|1.2.643.100.113.3
classSignToolKB1|Class of Signing Tool KB1|1.2.643.100.113.4
classSignToolKB2|Class of Signing Tool KB2|1.2.643.100.113.5
classSignToolKA1|Class of Signing Tool KA1|1.2.643.100.113.6
id-ecPublicKey||1.2.840.10045.2.1
prime192v1||1.2.840.10045.3.1.1
prime192v2||1.2.840.10045.3.1.2
prime192v3||1.2.840.10045.3.1.3
prime239v1||1.2.840.10045.3.1.4
prime239v2||1.2.840.10045.3.1.5
prime239v3||1.2.840.10045.3.1.6
prime256v1||1.2.840.10045.3.1.7
ecdsa-with-SHA1||1.2.840.10045.4.1
ecdsa-with-Recommended||1.2.840.10045.4.2
ecdsa-with-Specified||1.2.840.10045.4.3
ecdsa-with-SHA224||1.2.840.10045.4.3.1
ecdsa-with-SHA256||1.2.840.10045.4.3.2
ecdsa-with-SHA384||1.2.840.10045.4.3.3
ecdsa-with-SHA512||1.2.840.10045.4.3.4
rsaEncryption||1.2.840.113549.1.1.1
RSA-MD2|md2WithRSAEncryption|1.2.840.113549.1.1.2
RSA-MD4|md4WithRSAEncryption|1.2.840.113549.1.1.3
RSA-MD5|md5WithRSAEncryption|1.2.840.113549.1.1.4
RSA-SHA1|sha1WithRSAEncryption|1.2.840.113549.1.1.5
rsaOAEPEncryptionSET||1.2.840.113549.1.1.6
RSAES-OAEP|rsaesOaep|1.2.840.113549.1.1.7
MGF1|mgf1|1.2.840.113549.1.1.8
PSPECIFIED|pSpecified|1.2.840.113549.1.1.9
RSASSA-PSS|rsassaPss|1.2.840.113549.1.1.10
RSA-SHA256|sha256WithRSAEncryption|1.2.840.113549.1.1.11
RSA-SHA384|sha384WithRSAEncryption|1.2.840.113549.1.1.12
RSA-SHA512|sha512WithRSAEncryption|1.2.840.113549.1.1.13
RSA-SHA224|sha224WithRSAEncryption|1.2.840.113549.1.1.14
RSA-SHA512/224|sha512-224WithRSAEncryption|1.2.840.113549.1.1.15
RSA-SHA512/256|sha512-256WithRSAEncryption|1.2.840.113549.1.1.16
emailAddress||1.2.840.113549.1.9.1
unstructuredName||1.2.840.113549.1.9.2
contentType||1.2.840.113549.1.9.3
messageDigest||1.2.840.113549.1.9.4
signingTime||1.2.840.113549.1.9.5
countersignature||1.2.840.113549.1.9.6
challengePassword||1.2.840.113549.1.9.7
unstructuredAddress||1.2.840.113549.1.9.8
extendedCertificateAttributes||1.2.840.113549.1.9.9
extReq|Extension Request|1.2.840.113549.1.9.14
SMIME-CAPS|S/MIME Capabilities|1.2.840.113549.1.9.15
SMIME|S/MIME|1.2.840.113549.1.9.16
id-ct-routeOriginAuthz||1.2.840.113549.1.9.16.1.24
id-ct-rpkiManifest||1.2.840.113549.1.9.16.1.26
id-ct-asciiTextWithCRLF||1.2.840.113549.1.9.16.1.27
id-ct-xml||1.2.840.113549.1.9.16.1.28
id-ct-rpkiGhostbusters||1.2.840.113549.1.9.16.1.35
id-ct-resourceTaggedAttest||1.2.840.113549.1.9.16.1.36
id-ct-geofeedCSVwithCRLF||1.2.840.113549.1.9.16.1.47
id-ct-signedChecklist||1.2.840.113549.1.9.16.1.48
ZLIB|zlib compression|1.2.840.113549.1.9.16.3.8
id-alg-PWRI-KEK||1.2.840.113549.1.9.16.3.9
friendlyName||1.2.840.113549.1.9.20
localKeyID||1.2.840.113549.1.9.21
x509Certificate||1.2.840.113549.1.9.22.1
sdsiCertificate||1.2.840.113549.1.9.22.2
x509Crl||1.2.840.113549.1.9.23.1
msExtReq|Microsoft Extension Request|1.3.6.1.4.1.311.2.1.14
msCodeInd|Microsoft Individual Code Signing|1.3.6.1.4.1.311.2.1.21
msCodeCom|Microsoft Commercial Code Signing|1.3.6.1.4.1.311.2.1.22
msCTLSign|Microsoft Trust List Signing|1.3.6.1.4.1.311.10.3.1
msSGC|Microsoft Server Gated Crypto|1.3.6.1.4.1.311.10.3.3
msEFS|Microsoft Encrypted File System|1.3.6.1.4.1.311.10.3.4
CSPName|Microsoft CSP Name|1.3.6.1.4.1.311.17.1
LocalKeySet|Microsoft Local Key set|1.3.6.1.4.1.311.17.2
msSmartcardLogin|Microsoft Smartcard Login|1.3.6.1.4.1.311.20.2.2
msUPN|Microsoft User Principal Name|1.3.6.1.4.1.311.20.2.3
jurisdictionL|jurisdictionLocalityName|1.3.6.1.4.1.311.60.2.1.1
jurisdictionST|jurisdictionStateOrProvinceName|1.3.6.1.4.1.311.60.2.1.2
jurisdictionC|jurisdictionCountryName|1.3.6.1.4.1.311.60.2.1.3
ct_precert_scts|CT Precertificate SCTs|1.3.6.1.4.1.11129.2.4.2
ct_precert_poison|CT Precertificate Poison|1.3.6.1.4.1.11129.2.4.3
ct_precert_signer|CT Precertificate Signer|1.3.6.1.4.1.11129.2.4.4
ct_cert_scts|CT Certificate SCTs|1.3.6.1.4.1.11129.2.4.5
pkInitClientAuth|PKINIT Client Auth|1.3.6.1.5.2.3.4
pkInitKDC|Signing KDC Response|1.3.6.1.5.2.3.5
authorityInfoAccess|Authority Information Access|1.3.6.1.5.5.7.1.1
biometricInfo|Biometric Info|1.3.6.1.5.5.7.1.2
qcStatements||1.3.6.1.5.5.7.1.3
ac-auditEntity||1.3.6.1.5.5.7.1.4
ac-targeting||1.3.6.1.5.5.7.1.5
aaControls||1.3.6.1.5.5.7.1.6
sbgp-ipAddrBlock||1.3.6.1.5.5.7.1.7
sbgp-autonomousSysNum||1.3.6.1.5.5.7.1.8
sbgp-routerIdentifier||1.3.6.1.5.5.7.1.9
ac-proxying||1.3.6.1.5.5.7.1.10
subjectInfoAccess|Subject Information Access|1.3.6.1.5.5.7.1.11
proxyCertInfo|Proxy Certificate Information|1.3.6.1.5.5.7.1.14
tlsfeature|TLS Feature|1.3.6.1.5.5.7.1.24
sbgp-ipAddrBlockv2||1.3.6.1.5.5.7.1.28
sbgp-autonomousSysNumv2||1.3.6.1.5.5.7.1.29
id-qt-cps|Policy Qualifier CPS|1.3.6.1.5.5.7.2.1
id-qt-unotice|Policy Qualifier User Notice|1.3.6.1.5.5.7.2.2
textNotice||1.3.6.1.5.5.7.2.3
serverAuth|TLS Web Server Authentication|1.3.6.1.5.5.7.3.1
clientAuth|TLS Web Client Authentication|1.3.6.1.5.5.7.3.2
codeSigning|Code Signing|1.3.6.1.5.5.7.3.3
emailProtection|E-mail Protection|1.3.6.1.5.5.7.3.4
ipsecEndSystem|IPSec End System|1.3.6.1.5.5.7.3.5
ipsecTunnel|IPSec Tunnel|1.3.6.1.5.5.7.3.6
ipsecUser|IPSec User|1.3.6.1.5.5.7.3.7
timeStamping|Time Stamping|1.3.6.1.5.5.7.3.8
OCSPSigning|OCSP Signing|1.3.6.1.5.5.7.3.9
DVCS|dvcs|1.3.6.1.5.5.7.3.10
ipsecIKE|ipsec Internet Key Exchange|1.3.6.1.5.5.7.3.17
capwapAC|Ctrl/provision WAP Access|1.3.6.1.5.5.7.3.18
capwapWTP|Ctrl/Provision WAP Termination|1.3.6.1.5.5.7.3.19
secureShellClient|SSH Client|1.3.6.1.5.5.7.3.21
secureShellServer|SSH Server|1.3.6.1.5.5.7.3.22
sendRouter|Send Router|1.3.6.1.5.5.7.3.23
sendProxiedRouter|Send Proxied Router|1.3.6.1.5.5.7.3.24
sendOwner|Send Owner|1.3.6.1.5.5.7.3.25
sendProxiedOwner|Send Proxied Owner|1.3.6.1.5.5.7.3.26
cmcCA|CMC Certificate Authority|1.3.6.1.5.5.7.3.27
cmcRA|CMC Registration Authority|1.3.6.1.5.5.7.3.28
cmcArchive|CMC Archive Server|1.3.6.1.5.5.7.3.29
id-kp-bgpsec-router|BGPsec Router|1.3.6.1.5.5.7.3.30
id-kp-BrandIndicatorforMessageIdentification|Brand Indicator for Message Identification|1.3.6.1.5.5.7.3.31
cmKGA|Certificate Management Key Generation Authority|1.3.6.1.5.5.7.3.32
id-it-caProtEncCert||1.3.6.1.5.5.7.4.1
id-it-signKeyPairTypes||1.3.6.1.5.5.7.4.2
id-it-encKeyPairTypes||1.3.6.1.5.5.7.4.3
id-it-preferredSymmAlg||1.3.6.1.5.5.7.4.4
id-it-caKeyUpdateInfo||1.3.6.1.5.5.7.4.5
id-it-currentCRL||1.3.6.1.5.5.7.4.6
id-it-unsupportedOIDs||1.3.6.1.5.5.7.4.7
id-it-subscriptionRequest||1.3.6.1.5.5.7.4.8
id-it-subscriptionResponse||1.3.6.1.5.5.7.4.9
id-it-keyPairParamReq||1.3.6.1.5.5.7.4.10
id-it-keyPairParamRep||1.3.6.1.5.5.7.4.11
id-it-revPassphrase||1.3.6.1.5.5.7.4.12
id-it-implicitConfirm||1.3.6.1.5.5.7.4.13
id-it-confirmWaitTime||1.3.6.1.5.5.7.4.14
id-it-origPKIMessage||1.3.6.1.5.5.7.4.15
id-it-suppLangTags||1.3.6.1.5.5.7.4.16
id-it-caCerts||1.3.6.1.5.5.7.4.17
id-it-rootCaKeyUpdate||1.3.6.1.5.5.7.4.18
id-it-certReqTemplate||1.3.6.1.5.5.7.4.19
id-on-personalData||1.3.6.1.5.5.7.8.1
id-on-permanentIdentifier|Permanent Identifier|1.3.6.1.5.5.7.8.3
id-on-xmppAddr|XmppAddr|1.3.6.1.5.5.7.8.5
id-on-dnsSRV|SRVName|1.3.6.1.5.5.7.8.7
id-on-NAIRealm|NAIRealm|1.3.6.1.5.5.7.8.8
id-on-SmtpUTF8Mailbox|Smtp UTF8 Mailbox|1.3.6.1.5.5.7.8.9
id-pda-dateOfBirth||1.3.6.1.5.5.7.9.1
id-pda-placeOfBirth||1.3.6.1.5.5.7.9.2
id-pda-gender||1.3.6.1.5.5.7.9.3
id-pda-countryOfCitizenship||1.3.6.1.5.5.7.9.4
id-pda-countryOfResidence||1.3.6.1.5.5.7.9.5
id-aca-authenticationInfo||1.3.6.1.5.5.7.10.1
id-aca-accessIdentity||1.3.6.1.5.5.7.10.2
id-aca-chargingIdentity||1.3.6.1.5.5.7.10.3
id-aca-group||1.3.6.1.5.5.7.10.4
id-aca-role||1.3.6.1.5.5.7.10.5
id-aca-encAttrs||1.3.6.1.5.5.7.10.6
id-qcs-pkixQCSyntax-v1||1.3.6.1.5.5.7.11.1
ipAddr-asNumber||1.3.6.1.5.5.7.14.2
ipAddr-asNumberv2||1.3.6.1.5.5.7.14.3
id-ppl-anyLanguage|Any language|1.3.6.1.5.5.7.21.0
id-ppl-inheritAll|Inherit all|1.3.6.1.5.5.7.21.1
id-ppl-independent|Independent|1.3.6.1.5.5.7.21.2
OCSP||1.3.6.1.5.5.7.48.1
basicOCSPResponse|Basic OCSP Response|1.3.6.1.5.5.7.48.1.1
Nonce|OCSP Nonce|1.3.6.1.5.5.7.48.1.2
CrlID|OCSP CRL ID|1.3.6.1.5.5.7.48.1.3
acceptableResponses|Acceptable OCSP Responses|1.3.6.1.5.5.7.48.1.4
noCheck|OCSP No Check|1.3.6.1.5.5.7.48.1.5
archiveCutoff|OCSP Archive Cutoff|1.3.6.1.5.5.7.48.1.6
serviceLocator|OCSP Service Locator|1.3.6.1.5.5.7.48.1.7
extendedStatus|Extended OCSP Status|1.3.6.1.5.5.7.48.1.8
valid||1.3.6.1.5.5.7.48.1.9
path||1.3.6.1.5.5.7.48.1.10
trustRoot|Trust Root|1.3.6.1.5.5.7.48.1.11
caIssuers|CA Issuers|1.3.6.1.5.5.7.48.2
ad_timestamping|AD Time Stamping|1.3.6.1.5.5.7.48.3
AD_DVCS|ad dvcs|1.3.6.1.5.5.7.48.4
caRepository|CA Repository|1.3.6.1.5.5.7.48.5
rpkiManifest|RPKI Manifest|1.3.6.1.5.5.7.48.10
signedObject|Signed Object|1.3.6.1.5.5.7.48.11
rpkiNotify|RPKI Notify|1.3.6.1.5.5.7.48.13
SXNetID|Strong Extranet ID|1.3.101.1.4.1
X25519||1.3.101.110
X448||1.3.101.111
ED25519||1.3.101.112
ED448||1.3.101.113
secp256k1||1.3.132.0.10
secp224k1||1.3.132.0.32
secp224r1||1.3.132.0.33
secp384r1||1.3.132.0.34
secp521r1||1.3.132.0.35
CN|commonName|2.5.4.3
SN|surname|2.5.4.4
serialNumber||2.5.4.5
C|countryName|2.5.4.6
L|localityName|2.5.4.7
ST|stateOrProvinceName|2.5.4.8
street|streetAddress|2.5.4.9
O|organizationName|2.5.4.10
OU|organizationalUnitName|2.5.4.11
title||2.5.4.12
description||2.5.4.13
searchGuide||2.5.4.14
businessCategory||2.5.4.15
postalAddress||2.5.4.16
postalCode||2.5.4.17
postOfficeBox||2.5.4.18
physicalDeliveryOfficeName||2.5.4.19
telephoneNumber||2.5.4.20
telexNumber||2.5.4.21
teletexTerminalIdentifier||2.5.4.22
facsimileTelephoneNumber||2.5.4.23
x121Address||2.5.4.24
internationaliSDNNumber||2.5.4.25
registeredAddress||2.5.4.26
destinationIndicator||2.5.4.27
preferredDeliveryMethod||2.5.4.28
presentationAddress||2.5.4.29
supportedApplicationContext||2.5.4.30
member||2.5.4.31
owner||2.5.4.32
roleOccupant||2.5.4.33
seeAlso||2.5.4.34
userPassword||2.5.4.35
userCertificate||2.5.4.36
cACertificate||2.5.4.37
authorityRevocationList||2.5.4.38
certificateRevocationList||2.5.4.39
crossCertificatePair||2.5.4.40
name||2.5.4.41
GN|givenName|2.5.4.42
initials||2.5.4.43
generationQualifier||2.5.4.44
x500UniqueIdentifier||2.5.4.45
dnQualifier||2.5.4.46
enhancedSearchGuide||2.5.4.47
protocolInformation||2.5.4.48
distinguishedName||2.5.4.49
uniqueMember||2.5.4.50
houseIdentifier||2.5.4.51
supportedAlgorithms||2.5.4.52
deltaRevocationList||2.5.4.53
dmdName||2.5.4.54
pseudonym||2.5.4.65
role||2.5.4.72
organizationIdentifier||2.5.4.97
c3|countryCode3c|2.5.4.98
n3|countryCode3n|2.5.4.99
dnsName||2.5.4.100
subjectDirectoryAttributes|X509v3 Subject Directory Attributes|2.5.29.9
subjectKeyIdentifier|X509v3 Subject Key Identifier|2.5.29.14
keyUsage|X509v3 Key Usage|2.5.29.15
privateKeyUsagePeriod|X509v3 Private Key Usage Period|2.5.29.16
subjectAltName|X509v3 Subject Alternative Name|2.5.29.17
issuerAltName|X509v3 Issuer Alternative Name|2.5.29.18
basicConstraints|X509v3 Basic Constraints|2.5.29.19
crlNumber|X509v3 CRL Number|2.5.29.20
CRLReason|X509v3 CRL Reason Code|2.5.29.21
holdInstructionCode|Hold Instruction Code|2.5.29.23
invalidityDate|Invalidity Date|2.5.29.24
deltaCRL|X509v3 Delta CRL Indicator|2.5.29.27
issuingDistributionPoint|X509v3 Issuing Distribution Point|2.5.29.28
certificateIssuer|X509v3 Certificate Issuer|2.5.29.29
nameConstraints|X509v3 Name Constraints|2.5.29.30
crlDistributionPoints|X509v3 CRL Distribution Points|2.5.29.31
certificatePolicies|X509v3 Certificate Policies|2.5.29.32
anyPolicy|X509v3 Any Policy|2.5.29.32.0
policyMappings|X509v3 Policy Mappings|2.5.29.33
authorityKeyIdentifier|X509v3 Authority Key Identifier|2.5.29.35
policyConstraints|X509v3 Policy Constraints|2.5.29.36
extendedKeyUsage|X509v3 Extended Key Usage|2.5.29.37
anyExtendedKeyUsage|Any Extended Key Usage|2.5.29.37.0
freshestCRL|X509v3 Freshest CRL|2.5.29.46
inhibitAnyPolicy|X509v3 Inhibit Any Policy|2.5.29.54
targetInformation|X509v3 AC Targeting|2.5.29.55
noRevAvail|X509v3 No Revocation Available|2.5.29.56
SHA256|sha256|2.16.840.1.101.3.4.2.1
SHA384|sha384|2.16.840.1.101.3.4.2.2
SHA512|sha512|2.16.840.1.101.3.4.2.3
SHA224|sha224|2.16.840.1.101.3.4.2.4
SHA512-224|sha512-224|2.16.840.1.101.3.4.2.5
SHA512-256|sha512-256|2.16.840.1.101.3.4.2.6
SHA3-224|sha3-224|2.16.840.1.101.3.4.2.7
SHA3-256|sha3-256|2.16.840.1.101.3.4.2.8
SHA3-384|sha3-384|2.16.840.1.101.3.4.2.9
SHA3-512|sha3-512|2.16.840.1.101.3.4.2.10
SHAKE128|shake128|2.16.840.1.101.3.4.2.11
SHAKE256|shake256|2.16.840.1.101.3.4.2.12
id-hmacWithSHA3-224|hmac-sha3-224|2.16.840.1.101.3.4.2.13
id-hmacWithSHA3-256|hmac-sha3-256|2.16.840.1.101.3.4.2.14
id-hmacWithSHA3-384|hmac-sha3-384|2.16.840.1.101.3.4.2.15
id-hmacWithSHA3-512|hmac-sha3-512|2.16.840.1.101.3.4.2.16
KMAC128|kmac128|2.16.840.1.101.3.4.2.19
KMAC256|kmac256|2.16.840.1.101.3.4.2.20
dsa_with_SHA224||2.16.840.1.101.3.4.3.1
dsa_with_SHA256||2.16.840.1.101.3.4.3.2
id-dsa-with-sha384|dsa_with_SHA384|2.16.840.1.101.3.4.3.3
id-dsa-with-sha512|dsa_with_SHA512|2.16.840.1.101.3.4.3.4
id-dsa-with-sha3-224|dsa_with_SHA3-224|2.16.840.1.101.3.4.3.5
id-dsa-with-sha3-256|dsa_with_SHA3-256|2.16.840.1.101.3.4.3.6
id-dsa-with-sha3-384|dsa_with_SHA3-384|2.16.840.1.101.3.4.3.7
id-dsa-with-sha3-512|dsa_with_SHA3-512|2.16.840.1.101.3.4.3.8
id-ecdsa-with-sha3-224|ecdsa_with_SHA3-224|2.16.840.1.101.3.4.3.9
id-ecdsa-with-sha3-256|ecdsa_with_SHA3-256|2.16.840.1.101.3.4.3.10
id-ecdsa-with-sha3-384|ecdsa_with_SHA3-384|2.16.840.1.101.3.4.3.11
id-ecdsa-with-sha3-512|ecdsa_with_SHA3-512|2.16.840.1.101.3.4.3.12
id-rsassa-pkcs1-v1_5-with-sha3-224|RSA-SHA3-224|2.16.840.1.101.3.4.3.13
id-rsassa-pkcs1-v1_5-with-sha3-256|RSA-SHA3-256|2.16.840.1.101.3.4.3.14
id-rsassa-pkcs1-v1_5-with-sha3-384|RSA-SHA3-384|2.16.840.1.101.3.4.3.15
id-rsassa-pkcs1-v1_5-with-sha3-512|RSA-SHA3-512|2.16.840.1.101.3.4.3.16
nsCertExt|Netscape Certificate Extension|2.16.840.1.113730.1
nsCertType|Netscape Cert Type|2.16.840.1.113730.1.1
nsBaseUrl|Netscape Base Url|2.16.840.1.113730.1.2
nsRevocationUrl|Netscape Revocation Url|2.16.840.1.113730.1.3
nsCaRevocationUrl|Netscape CA Revocation Url|2.16.840.1.113730.1.4
nsRenewalUrl|Netscape Renewal Url|2.16.840.1.113730.1.7
nsCaPolicyUrl|Netscape CA Policy Url|2.16.840.1.113730.1.8
nsSslServerName|Netscape SSL Server Name|2.16.840.1.113730.1.12
nsComment|Netscape Comment|2.16.840.1.113730.1.13
nsDataType|Netscape Data Type|2.16.840.1.113730.2
nsCertSequence|Netscape Certificate Sequence|2.16.840.1.113730.2.5
nsSGC|Netscape Server Gated Crypto|2.16.840.1.113730.4.1
"""

SHORT: Final[dict[str, str]] = {}
"""OID by short name."""
LONG: Final[dict[str, str]] = {}
"""OID by long name."""
for _line in _NAMES.split("\n")[1:-1]:
    _short, _long, _oid = _line.split("|")
    SHORT[_short] = _oid
    LONG[_long or _short] = _oid
