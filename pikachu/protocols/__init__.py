"""What devices speak: EST, SCEP, OCSP and downloads."""
